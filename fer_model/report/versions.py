"""The numbers that were measured of every version."""

from pathlib import Path
from typing import Any

from fer_model.errors import FERError
from fer_model.hub.card import hardest
from fer_model.labels import EMOTIONS
from fer_model.model.network import FERModel
from fer_model.records import Figure, History, Metrics, Scores, ScoresByPart, SixOfSeven, VoteMetrics
from fer_model.report.markdown import percent, table
from fer_model.runs import Run, length, read_json, title, versions
from fer_model.studies.faithfulness import RANDOM


def summary(results: Path) -> dict[str, Any]:
    """The README's table: parameters, accuracy with its interval, PrivateTest, macro recall, the crowd's majority.

    A model of seven classes has a second row, asked for the best of six.
    """
    head = ("", "parameters", "accuracy (95 %)", "PrivateTest", "macro recall", "crowd's majority")
    rows = []
    for run, metrics in _measured(results):
        model, _ = _belonging(run, metrics)
        for part, name in ((metrics, _title(metrics)), (metrics.get("six_classes"), "— its best of six")):
            if part:
                figures = (_accuracy(part), _accuracy_of(part["private_test"]), percent(part["macro_recall"]))
                rows.append(
                    (name, f"{model.parameter_count:,}" if part is metrics else "", *figures, _with_majority(part))
                )
    return {"table": table(head, rows), "people": _in_plain_words(results)}


def crowd_table(results: Path) -> dict[str, Any]:
    """How each version agrees with ten people; one of seven classes also by the best of six."""
    head = ["", "crowd's majority (95 %)", "label, where both agree", "label, where the favourite is another"]
    head += ["cross-entropy with the votes", "total variation"]
    rows, benchmark = [], []
    for _, metrics in _measured(results):
        six = metrics.get("six_classes", {})
        named = [(_title(metrics), metrics.get("votes")), (f"{_title(metrics)}, best of six", six.get("votes"))]
        rows += [_crowd_row(name, votes) for name, votes in named if votes]
        if found := metrics.get("ferplus"):
            shares = {"share": percent(found["accuracy"]["value"]), "n": found["accuracy"]["n"]}
            without = {"contempt": found["contempt"], "without": percent(found["without_contempt"]["value"])}
            benchmark.append((_title(metrics), shares | without))
    if rows:
        rows += _guesses(results)
    return {"table": rows and table(head, rows), "benchmark": benchmark}


def _crowd_row(name: str, votes: VoteMetrics) -> tuple[str, ...]:
    majority = votes["majority_agreement"]
    low, high = (percent(value) for value in majority["ci"]) if majority else ("–", "–")
    found = votes["distribution"]["model"]
    return (
        name,
        f"**{_value(majority)}** ({low}–{high})",
        _value(votes["clean_accuracy"]),
        _value(votes["disputed_accuracy"]),
        f"{found['cross_entropy']:.3f}",
        f"{found['total_variation']:.3f}",
    )


def _guesses(results: Path) -> list[tuple[str, ...]]:
    """The best guesses of the votes without a network, over the images of six classes."""
    for _, metrics in _measured(results):
        if "votes" in metrics and len(metrics["per_class"]) == len(EMOTIONS):
            found = metrics["votes"]["distribution"]
            named = {"the label's mean votes, six classes": "label", "one constant guess, six classes": "constant"}
            return [
                (name, "", "", "", f"{found[key]['cross_entropy']:.3f}", f"{found[key]['total_variation']:.3f}")
                for name, key in named.items()
            ]
    return []


def _with_majority(metrics: Metrics | SixOfSeven) -> str:
    return _value(metrics["votes"]["majority_agreement"]) if "votes" in metrics else "–"


def _value(figure: Figure | None) -> str:
    return percent(figure["value"] if figure else None)


def _in_plain_words(results: Path) -> str | None:
    """How often ten people agree with the labels, and the newest version of six classes does."""
    six = [m for _, m in _measured(results) if "votes" in m and len(m["per_class"]) == len(EMOTIONS)]
    if not six or not (crowd := six[-1]["votes"]["crowd_accuracy"]):
        return None
    found = (
        f"Ten people agree with the label in {percent(crowd['value'], 0)} of 100 images without neutral, "
        f"{_title(six[-1])} in {percent(six[-1]['accuracy'], 0)}."
    )
    for _, m in _measured(results):
        if "people" in m.get("votes", {}) and "votes" in m.get("six_classes", {}):
            ours, theirs = (_value(part["votes"]["majority_agreement"]) for part in (m["six_classes"], six[-1]))
            found += (
                f" {m['version'].upper()}, which learned from such votes, answers as their majority does in {ours} %, "
            )
            found += f"{_title(six[-1])} in {theirs} %."
    return found


def results_table(results: Path) -> dict[str, Any]:
    """One row a version, those of seven classes last; and which expectations of V2's design each one misses."""
    head = ["", "parameters", "epochs (best)", "accuracy (95 %)", "ten crops", "PrivateTest", "without near-duplicates"]
    head += ["macro recall", "ECE", "recall " + " · ".join(EMOTIONS)]
    rows, expectations = [], []
    for run, metrics in _measured(results):
        model, history = _belonging(run, metrics)
        rows.append(_row(model, metrics, history))
        if metrics["expectations"]:
            missed = [item["expected"] for item in metrics["expectations"].values() if item["met"] is False]
            expectations.append((_title(metrics), missed))
    return {"table": table(head, rows), "expectations": expectations}


def unsure_table(results: Path) -> dict[str, Any]:
    """What each version's temperature and threshold do on the test images."""
    head = ["", "temperature", "ECE before", "and after", "unsure below", "answered", "of these right"]
    head += ["of the withheld would be right"]
    rows = []
    for _, metrics in _measured(results):
        found = metrics["calibration"]
        shares = (found[key] for key in ("unsure_below", "coverage", "accuracy_when_sure", "accuracy_when_unsure"))
        rows.append(
            (
                _title(metrics),
                f"{found['temperature']:.2f}",
                f"{found['ece_before']:.3f}",
                f"{found['ece_after']:.3f}",
                *("–" if share is None else f"{percent(share, 0)} %" for share in shares),
            )
        )
    return {"table": table(head, rows)}


def empty_heat_maps(results: Path) -> dict[str, Any]:
    """How often the heat map of a recognised test image is empty, for each version and its worst class."""
    found = []
    for _, metrics in _measured(results):
        if "heat_maps" in metrics:
            recognised, empty = metrics["heat_maps"]["recognised"], metrics["heat_maps"]["empty"]
            shares = {emotion: empty[emotion] / count for emotion, count in recognised.items() if count}
            most = max(shares, key=shares.__getitem__)
            share = sum(empty.values()) / sum(recognised.values())
            found.append((_title(metrics), any(empty.values()), percent(share), most, percent(shares[most])))
    return {"versions": found}


def heat_map_tests(results: Path) -> dict[str, Any]:
    """What the study of heat maps found on test images: every kind of map, a column a version; and those shown."""
    found = read_json(results / "faithfulness.json")
    if found is None:
        return {"table": None}
    names = sorted(found)
    rows = []
    for method in found[names[0]]["test"]["methods"]:
        cells = [method]
        for name in names:
            figures = found[name]["test"]["methods"][method]
            cell = f"{figures['insertion']['value']:.2f} · {figures['deletion']['value']:.2f}"
            cells.append(f"**{cell}**" if found[name]["shown"] == method else cell)
        rows.append(cells)
    head = [name.upper() for name in names]
    of_shown = [_shown_map(found[name]) for name in names]
    return {
        "table": table(("insertion · deletion", *head), rows),
        "images": [(name.upper(), found[name]["test"]["images"]) for name in names],
        "commands": [found[name]["command"] for name in names],
        "shown": table(("the map that is shown", *head), [(row, *(of[row] for of in of_shown)) for row in of_shown[0]]),
    }


def _shown_map(found: dict[str, Any]) -> dict[str, str]:
    """Of one version's shown map: by the name of a row what was found."""
    methods = found["test"]["methods"]
    shown, random = methods[found["shown"]], methods[RANDOM]

    def lead(measure: str) -> str:
        if "lead" not in shown:  # a study from before this was measured
            return "–"
        value, (low, high) = shown["lead"][measure]["value"], shown["lead"][measure]["ci"]
        return f"{value:.2f} ({low:.2f} to {high:.2f})"

    def share(place: str) -> str:
        return f"{percent(shown[place], 0)} % ({percent(random[place], 0)} %)"

    return {
        "method": found["shown"],
        "insertion above the stronger baseline's (95 %)": lead("insertion"),
        "deletion below the stronger baseline's (95 %)": lead("deletion"),
        "correlation with the map of the face one pixel aside": f"{shown['shifted']:.2f}",
        "correlation with the map of the mirrored face": f"{shown['flipped']:.2f}",
        "correlation with the map of random weights": f"{shown['with_random_weights']:.2f}",
        "evidence outside the face (random map)": share("outside_the_face"),
        "evidence in the corners (random map)": share("in_corners"),
        "time for all classes, times Grad-CAM's": f"{shown['times_grad_cam']:.1f}",
    }


def robustness(results: Path) -> dict[str, Any]:
    """Accuracy on changed photos at the weakest, middle and strongest amounts; bold is what is surely lost."""
    found = read_json(results / "robustness.json") or {}
    names = [run.folder.name for run in versions(results) if run.folder.name in found]
    if not names:
        return {"table": None}
    tested = [found[name] for name in names]
    titles = [title(name.partition("-")[0], part["classes"]) for name, part in zip(names, tested, strict=True)]
    rows = [("unchanged", *(_accuracy_of_sample(part["unchanged"]) for part in tested))]
    for change, first in tested[0]["changes"].items():
        amounts = " · ".join(f"{level['amount']:g}" for level in first["levels"][::2])
        cells = (" · ".join(map(_after_change, part["changes"][change]["levels"][::2])) for part in tested)
        rows.append((f"{change}: {amounts} ({first['unit']})", *cells))
    return {
        "table": table(("accuracy, %", *titles), rows),
        "commands": [part["command"] for part in tested],
        "versions": [
            (name, part, hardest(part), max(part["changes"].items(), key=lambda item: _too_sure(item[1]["levels"][-1])))
            for name, part in zip(titles, tested, strict=True)
        ],
    }


def _accuracy_of_sample(scores: dict) -> str:
    low, high = (percent(value, 0) for value in scores["accuracy"]["ci"])
    return f"{percent(scores['accuracy']['value'], 0)} ({low}–{high})"


def _after_change(level: dict) -> str:
    share = percent(level["accuracy"]["value"], 0)
    return f"**{share}**" if level["lost"]["ci"][0] > 0 else share


def _too_sure(level: dict) -> float:
    return level["confidence"] - level["accuracy"]["value"]


def lost_without_twins(results: Path) -> list[tuple[str, str]]:
    """Points of accuracy that versions of six classes lose without the leaked test images."""
    return [
        (_title(metrics), percent(metrics["accuracy"] - without["accuracy"]))
        for _, metrics in _measured(results)
        if (without := metrics.get("without_twins")) and len(metrics["per_class"]) == len(EMOTIONS)
    ]


def _measured(results: Path) -> list[tuple[Run, Metrics]]:
    return [(run, metrics) for run in versions(results) if (metrics := run.metrics())]


def _belonging(run: Run, metrics: Metrics) -> tuple[FERModel, History]:
    """The model and the history that the metrics are of.

    Raises:
        FERError: the model is another one, or there is no history.
    """
    model = FERModel.from_pretrained(run.models)
    if metrics["model_sha256"] != model.digest():
        raise FERError(f"{run.metrics_file} is of another model than the one beside it: run evaluate.py anew.")
    history = run.history()
    if history is None:
        raise FERError(f"{run.history_file} is not there: put the history of the run back, or train anew.")
    return model, history


def _row(model: FERModel, metrics: Metrics, history: History) -> tuple[str, ...]:
    tta = metrics.get("tta")
    recalls = [percent(scores["recall"], 0) for scores in metrics["per_class"].values()]
    recalls[len(EMOTIONS) :] = [f"neutral {recall}" for recall in recalls[len(EMOTIONS) :]]  # the head names six
    return (
        _title(metrics),
        f"{model.parameter_count:,}",
        f"{length(history)} ({history['best_epoch']})",
        _accuracy(metrics),
        percent(tta["accuracy"] if tta and tta["views"] == "ten-crop" else None),
        _accuracy_of(metrics["private_test"]),
        _accuracy_of(metrics.get("without_twins")),
        percent(metrics["macro_recall"]),
        f"{metrics['ece']:.3f}",
        " · ".join(recalls),
    )


def _accuracy(metrics: ScoresByPart) -> str:
    low, high = (percent(value) for value in metrics["accuracy_ci"])
    return f"**{percent(metrics['accuracy'])}** ({low}–{high})"


def _accuracy_of(part: Scores | None) -> str:
    return percent(part["accuracy"] if part else None)


def _title(metrics: Metrics) -> str:
    return title(metrics["version"], len(metrics["per_class"]))
