"""The tab about the models: what was measured, and what they cannot do. All figures come from results/."""

from html import escape

import gradio as gr

from fer_model.demo import render
from fer_model.demo.guard import for_visitors
from fer_model.demo.privacy import PRIVACY
from fer_model.demo.versions import Versions
from fer_model.labels import COUNTS, NEUTRAL, known_by_any
from fer_model.records import Figure, Metrics, Scores
from fer_model.runs import Run

LIMITS = f"""
- **An expression is not an emotion.** People smile without being happy and are angry without showing it
  ([Barrett et al. 2019](https://doi.org/10.1177/1529100619832930)).
- It learned from small grey photos found on the web. Many are posed, and people dispute their labels: FER2013's
  organisers found that people get 65 ± 5% of them right. So the model errs often, also when it sounds sure.
- Nobody recorded who is shown in the training photos. Whether the model is fair between groups has not been measured.
- **Not for employment, education or policing.** In the EU, inferring emotions of people at work or in education is
  prohibited (AI Act, Art. 5(1)(f)).

{PRIVACY}
"""


def about_tab(versions: Versions, classes: tuple[str, ...]) -> None:
    """Build the tab, inside a `gr.Tab`.

    Args:
        classes: what the default version can answer.
    """
    runs = {name: run for name in versions.names if (run := Run.beside(versions.source(name)))}
    measured = {name: figures for name, run in runs.items() if (figures := run.metrics())}
    if measured:
        gr.Markdown(
            "## What was measured\nOn FER2013's test set, which played no part in any choice. Neutral is left out for "
            "versions that do not know it. In brackets: the 95 % interval (bootstrap). Near-duplicates: test images "
            "of which the training set holds a near copy. ECE: the expected calibration error. "
            "Ten people were asked what each image shows (FER+)."
        )
        gr.HTML(render.scrolling(scores_table(measured), "Scores of every version"), elem_id="scores")
        chosen = gr.Radio(list(measured), value=next(iter(measured)), label="Version", visible=len(measured) > 1)
        first = next(iter(measured))
        pictures = gr.HTML(pictures_of(first, runs[first], measured[first]), elem_id="figures")
        chosen.input(
            for_visitors(lambda name: pictures_of(name, runs[name], measured[name])),
            chosen,
            pictures,
            api_visibility="private",
        )
    else:
        gr.Markdown("## What was measured\nNothing yet: these weights have no `metrics.json` beside them.")
    knows = f"- It knows **{COUNTS[len(classes)]} expressions**: {', '.join(classes)}."
    if NEUTRAL not in classes:
        knows += " *Neutral is not among them*, so a resting face must be given one of these, and that answer is wrong."
    gr.Markdown(f"## What it cannot do\n\n{knows}{LIMITS}")


def scores_table(measured: dict[str, Metrics]) -> str:
    """One column a version, so that the table fits on a phone."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in measured)
    people = [figures.get("votes") for figures in measured.values()]
    rows = [
        ("accuracy, all test images", [_with_interval(figures) for figures in measured.values()]),
        ("accuracy, PrivateTest", [_accuracy(figures.get("private_test")) for figures in measured.values()]),
        (
            "accuracy, without near-duplicates",
            [_accuracy(figures.get("without_twins")) for figures in measured.values()],
        ),
        ("macro recall", [f"{figures['macro_recall']:.1%}" for figures in measured.values()]),
        ("ECE", [f"{figures['ece']:.3f}" for figures in measured.values()]),
        ("ten people agree with the label", [_of_people(votes and votes["crowd_accuracy"]) for votes in people]),
        ("the answer is their majority's", [_of_people(votes and votes["majority_agreement"]) for votes in people]),
    ]
    for emotion in known_by_any(figures["per_class"] for figures in measured.values()):
        recalls = [figures["per_class"].get(emotion) for figures in measured.values()]
        rows.append((f"recall, {emotion}", [f"{scores['recall']:.0%}" if scores else "–" for scores in recalls]))
    body = "".join(
        f'<tr><th scope="row">{what}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>' for what, cells in rows
    )
    return f'<table class="fer-table"><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table>'


def _with_interval(figures: Metrics) -> str:
    low, high = figures["accuracy_ci"]
    return f"<strong>{figures['accuracy']:.1%}</strong> ({low:.1%} to {high:.1%})"


def _accuracy(scores: Scores | None) -> str:
    """Of a part of the test set, where it was measured."""
    return f"{scores['accuracy']:.1%}" if scores else "–"


def _of_people(found: Figure | None) -> str:
    return f"{found['value']:.1%}" if found else "–"


def pictures_of(name: str, run: Run, figures: Metrics) -> str:
    """Confusion matrix, reliability, coverage and mean heat maps of one version."""
    folder = run.visualizations
    by_class = ", ".join(f"{emotion} {scores['recall']:.0%}" for emotion, scores in figures["per_class"].items())
    calibration = figures["calibration"]
    captions = {
        "confusion_matrix.png": f"Confusion matrix of {name}; right are {by_class}.",
        "reliability.png": f"Reliability of {name}: accuracy against confidence; the mean gap is {figures['ece']:.3f}.",
        "coverage.png": f"Answering only when sure: {name} answers {calibration['coverage']:.0%} of the test images"
        + (
            f", {calibration['accuracy_when_sure']:.0%} of these rightly."
            if calibration["accuracy_when_sure"] is not None
            else "."
        ),
        "mean_grad_cam.png": f"Where {name} looks: the mean heat map of each class, on its mean face.",
        "training_curves.png": f"The training of {name}: loss and accuracy by epoch.",
    }
    parts = []
    for file, caption in captions.items():
        if (folder / file).is_file():
            wide = ' class="fer-wide"' if file in ("mean_grad_cam.png", "training_curves.png") else ""
            address = f"/gradio_api/file={(folder / file).as_posix()}"
            parts.append(f'<figure{wide}><img src="{escape(address)}" alt="{escape(caption)}" loading="lazy"></figure>')
    return f'<div class="fer-pictures">{"".join(parts)}</div>'


def picture_folders(versions: Versions) -> list[str]:
    """The folders whose pictures the tab shows; the server must be allowed to hand them out."""
    runs = [run for name in versions.names if (run := Run.beside(versions.source(name)))]
    return [str(run.visualizations) for run in runs if run.visualizations.is_dir()]
