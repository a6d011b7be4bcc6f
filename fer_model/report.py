"""The README's results table and the model cards, filled from results/.

python -m fer_model.report           # rewrites the table in README.md and the generated sections of the cards
python -m fer_model.report --check   # exits with 1 if one of them is out of date
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from fer_model import card
from fer_model.configs import CONFIGS, folder_name, title
from fer_model.errors import FERError
from fer_model.histories import length
from fer_model.hub import ROOT, model_card, weights_digest
from fer_model.labels import COUNTS, EMOTIONS
from fer_model.modeling import FERModel

BEGIN, END = "<!-- results: python -m fer_model.report -->", "<!-- /results -->"
DATA_BEGIN, DATA_END = "<!-- data: python -m fer_model.duplicates -->", "<!-- /data -->"
COLD_BEGIN, COLD_END = "<!-- cold start: python docs/cold_start.py -->", "<!-- /cold start -->"
DEMO_BEGIN, DEMO_END = "<!-- demo: python docs/demo_speed.py -->", "<!-- /demo -->"


def results_table(results: Path) -> str:
    """One row a version that has a `metrics.json`, in Markdown; those of seven classes last."""
    lines = [
        "| | parameters | epochs (best) | accuracy (95 %) | PrivateTest | without twins | macro recall | ECE | recall "
        + " · ".join(EMOTIONS)
        + " |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for folder in (results / folder_name(version, classes) for classes in COUNTS for version in CONFIGS):
        file = folder / "metrics.json"
        if file.is_file():
            metrics = json.loads(file.read_text(encoding="utf-8"))
            model = FERModel.from_pretrained(folder / "models")
            if metrics["model_sha256"] != weights_digest(model):
                raise FERError(f"{file} is of another model than the one beside it: run evaluate.py anew.")
            history = json.loads((folder / "history.json").read_text(encoding="utf-8"))
            lines.append(_row(model, metrics, history))
    return "\n".join(lines)


def filled(readme: str, results: Path) -> str:
    """`readme` with the text between its markers replaced: the results, the data's copies, the demo's cold start
    and speed.

    Raises:
        FERError: a marker is missing.
    """
    readme = _between(readme, BEGIN, END, results_table(results))
    readme = _between(readme, DATA_BEGIN, DATA_END, data_table(results))
    readme = _between(readme, COLD_BEGIN, COLD_END, cold_start_sentence(results))
    return _between(readme, DEMO_BEGIN, DEMO_END, demo_table(results))


def data_table(results: Path) -> str:
    """Copies of photos in FER2013, one row a threshold, in Markdown."""
    data = json.loads((results / "data.json").read_text(encoding="utf-8"))
    lines = [
        "| copies | pairs | mirrored | within training | training–test | within test | with two labels | test images "
        "with one in training | of the six classes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    near = {f"correlation ≥ {threshold}": counts for threshold, counts in data["near"].items()}
    for name, counts in {"exact": data["exact"], **near}.items():
        between = {tuple(key.split(", ")): count for key, count in counts["pairs_between"].items()}
        inside = between.get(("Training", "Training"), 0)
        across = sum(count for (a, b), count in between.items() if a == "Training" != b)
        cells = (
            name,
            counts["pairs"],
            counts["mirrored"],
            inside,
            across,
            counts["pairs"] - inside - across,
            f"{counts['different_label'] / counts['pairs']:.1%}".replace("%", " %"),
            counts["test_images_with_one_in_train"],
            counts["test_images_with_one_in_train_six_classes"],
        )
        lines.append("| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else cell for cell in cells) + " |")
    exact = data["exact"]
    lines.append(
        f"\n{exact['extra_copies']:,} of the {sum(data['images'].values()):,} images are exact copies of another "
        f"({exact['groups']:,} photos); {sum(data['blank'].values())} are of a single grey."
    )
    return "\n".join(lines)


def cold_start_sentence(results: Path) -> str:
    """How long the demo takes from its start, in Markdown."""
    measured = json.loads((results / "cold_start.json").read_text(encoding="utf-8"))
    return (
        f"From a standing start the page is there after {measured['seconds_to_page']:.1f} s and the first photo is "
        f"answered after {measured['seconds_to_first_answer']:.1f} s (median of {measured['rounds']} starts on "
        f"{measured['cores']} cores; `{measured['command']}`)."
    )


def demo_table(results: Path) -> str:
    """How fast the demo answers, in Markdown: a row for each thing that was measured."""
    file = results / "demo.json"
    if not file.is_file():
        return "The demo's speed has not been measured: `python docs/demo_speed.py` does."
    parts = json.loads(file.read_text(encoding="utf-8"))
    rows = {"photo": _photo_rows, "load": _load_rows, "live": _live_rows, "film": _film_rows, "memory": _memory_rows}
    lines = ["| asked | answered |", "|---|---|"]
    for name, measured in parts.items():
        lines += [f"| {what} | {figure} |" for what, figure in rows[name](measured)]
    machines = {f"{part['cores']} cores ({part['environment']['processor']})" for part in parts.values()}
    lines.append(
        f"\nMedians, and in brackets what 95 % stay below; who asks runs on the same {' and '.join(sorted(machines))}. "
        "From `results/demo.json`, which `python docs/demo_speed.py` writes."
    )
    return "\n".join(lines)


def _photo_rows(photo: dict) -> Iterator[tuple[str, str]]:
    yield "a photo, by one visitor", _latency(photo)


def _load_rows(load: dict) -> Iterator[tuple[str, str]]:
    for choice in load["choices"]:
        options = f"`--workers {choice['workers']} --threads {choice['threads']}`"
        default = ", the default here" if choice["default"] else ""
        yield (
            f"photos, by {load['visitors']} visitors at once, {options}{default}",
            f"{choice['answers_a_second']:.1f} a second, each after {_latency(choice)}",
        )


def _live_rows(live: dict) -> Iterator[tuple[str, str]]:
    names = {False: "", True: ", with heat maps"}
    for way in live["over_http"]:
        rate = f"{way['answers_a_second']:.1f} a second, each after {_latency(way)}"
        yield f"live frames of 640 × 480 over HTTP{names[way['heat_maps']]}", rate
    browser = "the same in Chromium on the same cores"
    if "skipped" in live["in_browser"]:
        yield browser, f"not measured: {live['in_browser']['skipped']}"
    for way in live["in_browser"].get("rates", ()):
        yield browser + names[way["heat_maps"]], f"{way['answers_a_second']:.1f} a second"


def _film_rows(film: dict) -> Iterator[tuple[str, str]]:
    yield "a second of film, 640 × 480 at 25 frames a second", f"{film['seconds_per_second_of_film']:.2f} s"


def _memory_rows(memory: dict) -> Iterator[tuple[str, str]]:
    if "skipped" in memory:
        yield "memory", f"not measured: {memory['skipped']}"
        return
    sizes = ", ".join(
        f"{size:,.0f} MB after {count:,}" for size, count in zip(memory["mb"], memory["requests"], strict=True)
    )
    yield "memory of the server over many photos", sizes


def _latency(measured: dict) -> str:
    return f"{measured['median_ms']:,.0f} ms ({measured['p95_ms']:,.0f} ms)"


def _between(text: str, begin: str, end: str, content: str) -> str:
    if text.count(begin) != 1 or text.count(end) != 1:
        raise FERError(f"README.md must hold the markers {begin} and {end} once each.")
    before, rest = text.split(begin)
    return f"{before}{begin}\n{content}\n{end}{rest.split(end)[1]}"


def _row(model: FERModel, metrics: dict, history: dict) -> str:
    low, high = (_percent(value) for value in metrics["accuracy_ci"])
    recalls = [f"{100 * scores['recall']:.0f}" for scores in metrics["per_class"].values()]
    recalls[len(EMOTIONS) :] = [f"neutral {recall}" for recall in recalls[len(EMOTIONS) :]]  # the head names six
    cells = (
        title(model.version, len(model.class_names)),
        f"{model.parameter_count:,}",
        f"{length(history)} ({history['best_epoch']})",
        f"**{_percent(metrics['accuracy'])}** ({low}–{high})",
        *(
            _percent(metrics[part]["accuracy"]) if metrics.get(part) else "–"
            for part in ("private_test", "without_twins")
        ),
        _percent(metrics["macro_recall"]),
        f"{metrics['ece']:.3f}",
        " · ".join(recalls),
    )
    return "| " + " | ".join(cells) + " |"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m fer_model.report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if the table is out of date")
    args = parser.parse_args(argv)
    changed = []
    for path, new in _fresh_texts():
        if path.read_text(encoding="utf-8") != new:
            changed.append(path.relative_to(ROOT).as_posix())
            if not args.check:
                path.write_text(new, encoding="utf-8")
    if changed and args.check:
        print(f"not as in results/: {', '.join(changed)}; run python -m fer_model.report", file=sys.stderr)
        return 1
    print(f"rewritten: {', '.join(changed)}" if changed else "all is as in results/")
    return 0


def _fresh_texts() -> Iterator[tuple[Path, str]]:
    """Every file that shows results, and its text brought up to date."""
    readme = ROOT / "README.md"
    yield readme, filled(readme.read_text(encoding="utf-8"), ROOT / "results")
    for path in sorted(ROOT.glob("results/*/models/README.md")):
        yield path, card.merged(path.read_text(encoding="utf-8"), model_card(path.parent.parent))


if __name__ == "__main__":
    sys.exit(main())
