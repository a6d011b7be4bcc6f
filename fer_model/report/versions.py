"""What was trained and measured, as Markdown for the README."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fer_model.configs import CONFIGS, folder_name, title
from fer_model.errors import FERError
from fer_model.labels import COUNTS, EMOTIONS
from fer_model.model.network import FERModel
from fer_model.model_facts import weights_digest
from fer_model.runs import all_epochs, length, lineage, unrecorded

QUICK = "v3-quick"
"""Of results/: the history of a short training of V3 on V2's own validation split, for time to accuracy."""


class Effort(NamedTuple):
    """What one epoch of training took."""

    images: int
    size: int  # pixels a side
    flops: float


def results_table(results: Path) -> str:
    """One row a version that has a `metrics.json`, in Markdown; those of seven classes last."""
    columns = ("parameters", "epochs (best)", "accuracy (95 %)", "ten crops", "PrivateTest", "without twins")
    columns += ("macro recall", "ECE", "recall " + " · ".join(EMOTIONS))
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (1 + len(columns)) + "|"]
    for folder, metrics in _measured(results):
        model = FERModel.from_pretrained(folder / "models")
        if metrics["model_sha256"] != weights_digest(model):
            raise FERError(
                f"{folder / 'metrics.json'} is of another model than the one beside it: run evaluate.py anew."
            )
        if not (folder / "history.json").is_file():
            raise FERError(f"{folder / 'history.json'} is not there: put the history of the run back, or train anew.")
        history = json.loads((folder / "history.json").read_text(encoding="utf-8"))
        lines.append(_row(model, metrics, history))
    missed = [_missed(metrics) for _, metrics in _measured(results) if metrics["expectations"]]
    if missed:
        lines.append("\nOf the five expectations " + "; ".join(missed) + ".")
    return "\n".join(lines)


def _missed(metrics: dict) -> str:
    missed = [item["expected"] for item in metrics["expectations"].values() if item["met"] is False]
    return f"{_title(metrics)} " + ("misses " + ", and ".join(missed) if missed else "meets all")


def _row(model: FERModel, metrics: dict, history: dict) -> str:
    low, high = (_percent(value) for value in metrics["accuracy_ci"])
    recalls = [f"{100 * scores['recall']:.0f}" for scores in metrics["per_class"].values()]
    recalls[len(EMOTIONS) :] = [f"neutral {recall}" for recall in recalls[len(EMOTIONS) :]]  # the head names six
    cells = (
        _title(metrics),
        f"{model.parameter_count:,}",
        f"{length(history)} ({history['best_epoch']})",
        f"**{_percent(metrics['accuracy'])}** ({low}–{high})",
        *(
            _percent(part["accuracy"]) if part else "–"
            for part in (_ten_crops(metrics), metrics["private_test"], metrics.get("without_twins"))
        ),
        _percent(metrics["macro_recall"]),
        f"{metrics['ece']:.3f}",
        " · ".join(recalls),
    )
    return "| " + " | ".join(cells) + " |"


def _ten_crops(metrics: dict) -> dict | None:
    tta = metrics.get("tta")
    return tta if tta and tta["views"] == "ten-crop" else None


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def unsure_table(results: Path) -> str:
    """What each version's temperature and threshold do on the test images, in Markdown."""
    columns = ("temperature", "ECE before", "and after", "unsure below", "answered", "of these right")
    columns += ("of the withheld would be right",)
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (1 + len(columns)) + "|"]
    for _, metrics in _measured(results):
        found = metrics["calibration"]
        shares = (found[key] for key in ("unsure_below", "coverage", "accuracy_when_sure", "accuracy_when_unsure"))
        cells = [f"{found['temperature']:.2f}", f"{found['ece_before']:.3f}", f"{found['ece_after']:.3f}"]
        cells += ["–" if share is None else f"{share:.0%}".replace("%", " %") for share in shares]
        lines.append("| " + " | ".join([_title(metrics), *cells]) + " |")
    return "\n".join(lines)


def heat_maps_sentence(results: Path) -> str:
    """How often the map of a recognised test image's own class is empty, in Markdown."""
    parts = []
    for _, metrics in _measured(results):
        if "heat_maps" in metrics:
            recognised, empty = metrics["heat_maps"]["recognised"], metrics["heat_maps"]["empty"]
            if not any(empty.values()):
                parts.append(f"{_title(metrics)} none")
                continue
            shares = {emotion: empty[emotion] / count for emotion, count in recognised.items() if count}
            most = max(shares, key=shares.get)
            share = sum(empty.values()) / sum(recognised.values())
            parts.append(f"{_title(metrics)} {_percent(share)} % (most of all {most}, {_percent(shares[most])} %)")
    if not parts:
        return "How often heat maps are empty has not been measured: `python evaluate.py` does."
    return "Empty heat maps for the class itself, among the test images that are recognised: " + "; ".join(parts) + "."


def _measured(results: Path) -> Iterator[tuple[Path, dict]]:
    """Folder and metrics of every version that has been measured; those of seven classes last."""
    return _published(results, "metrics.json")


def _published(results: Path, name: str) -> Iterator[tuple[Path, dict]]:
    """Folder and content of every version's JSON file of this name, where there is one; those of seven classes last."""
    for folder in (results / folder_name(version, classes) for classes in COUNTS for version in CONFIGS):
        file = folder / name
        if file.is_file():
            yield folder, json.loads(file.read_text(encoding="utf-8"))


def _title(metrics: dict) -> str:
    return title(metrics["version"], len(metrics["per_class"]))


def effort_table(results: Path) -> str:
    """What the training of every version took, in Markdown, and how soon V3 was as good as V2 became.

    Each run on the way to a version, which it began at or learned from, has a row of its own, unless it is itself a
    version that stands here.
    """
    lines = ["| | images shown | FLOPs | minutes | precision | processor |", "|---|---|---|---|---|---|"]
    histories = {_run_title(history): history for _, history in _published(results, "history.json")}
    shown = [history["run"] for history in histories.values()]
    for name, history in histories.items():
        lines.append(_effort_row(name, history))
        runs = {json.dumps(run["run"]): run for run in lineage(history)}.values()  # each once
        for run in runs:
            if run["run"] not in shown:
                shown.append(run["run"])
                lines.append(_effort_row(f"on the way to {name}: {_run_title(run)}, {len(run['epochs'])} epochs", run))
        if len(runs) > 1:
            flops = sum(epoch["training_flops"] for run in runs for epoch in run["epochs"])
            lines.append(f"| {name} and all {len(runs) - 1} on its way | | {flops / 1e15:.2f} · 10¹⁵ | | | |")
    if "V2" in histories and "V3" in histories:
        file = results / "training_speed.json"
        speed = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
        sentences = [_overtaking(histories["V2"], histories["V3"], "V3", speed)]
        short = results / QUICK / "history.json"
        if short.is_file():
            history = json.loads(short.read_text(encoding="utf-8"))
            name = f"A training of V3 over {len(history['epochs'])} epochs (`results/{QUICK}/history.json`)"
            sentences.append(_overtaking(histories["V2"], history, name, speed))
        if speed:
            compiled = "compiled" if speed["compile"] else "not compiled"
            sentences.append(f"Time: at the pace of each, {compiled}, side by side (`results/training_speed.json`).")
        lines.append("\n" + " ".join(sentences))
    return "\n".join(lines)


def _effort_row(name: str, history: dict) -> str:
    """Of one run alone, without those before it."""
    run, epochs = history["run"], history["epochs"]
    shown = len(epochs) * run["images"]["train"]
    flops, seconds = (sum(epoch[part] for epoch in epochs) for part in ("training_flops", "seconds"))
    machine = run["environment"]
    where = f"{machine['processor']}, {machine['threads']} threads" if machine["device"] == "cpu" else machine["device"]
    precision = {"no": "float32", "bf16": "bfloat16"}.get(run["mixed_precision"], run["mixed_precision"])
    precision += ", compiled" if run["compile"] else ""
    return (
        f"| {name} | {shown / 1000:,.0f} thousand | {flops / 1e15:.2f} · 10¹⁵ | {seconds / 60:,.0f} "
        f"| {precision} | {where} |"
    )


def _run_title(history: dict) -> str:
    return title(history["run"]["version"], history["run"]["classes"])


def _efforts(history: dict) -> list[Effort]:
    """Of all epochs of all runs, in order."""
    return [
        Effort(run["run"]["images"]["train"], epoch["size"], epoch["training_flops"])
        for run in (*history["earlier"], history)
        for epoch in run["epochs"]
    ]


def _overtaking(v2: dict, v3: dict, name: str, speed: dict | None) -> str:
    """How soon the training `v3`, called `name`, was as good as `v2` became, by scripts/training_speed.py."""
    if any(run["run"]["version"] != "v3" for run in v3["earlier"]):
        return (
            f"{name} began at another version's weights, so this run does not show how soon it would be as good as V2."
        )
    if any(run["run"].get("teachers") for run in lineage(v3)):
        return f"{name} learned from a network trained before, so it does not show how soon it would be as good as V2."
    if unrecorded([*v3["earlier"], v3]):
        return f"{name} began at weights of unknown origin, so it does not show how soon it would be as good as V2."
    accuracies = {
        version: [row["validation_accuracy"] for row in all_epochs(run)] for version, run in (("v2", v2), ("v3", v3))
    }
    best = max(accuracies["v2"])
    reached = next((index for index, value in enumerate(accuracies["v3"], start=1) if value >= best), None)
    epochs_taken = {"v2": accuracies["v2"].index(best) + 1, "v3": reached or len(accuracies["v3"])}
    taken = {"v2": _efforts(v2)[: epochs_taken["v2"]], "v3": _efforts(v3)[: epochs_taken["v3"]]}
    flops = {version: sum(effort.flops for effort in epochs) for version, epochs in taken.items()}
    share = f"{100 * flops['v3'] / flops['v2']:.0f} % of the FLOPs"
    if speed:
        pace = {(row["version"], row["size"]): row["seconds_per_image"] for row in speed["rows"]}
        missing = {(version, effort.size) for version, epochs in taken.items() for effort in epochs} - set(pace)
        if missing:
            kinds = ", ".join(f"{version} at {size} pixels" for version, size in sorted(missing))
            raise FERError(f"training_speed.json does not hold {kinds}: run scripts/training_speed.py anew.")
        time = {
            version: sum(effort.images * pace[version, effort.size] for effort in epochs)
            for version, epochs in taken.items()
        }
        share += f" and {100 * time['v3'] / time['v2']:.0f} % of the time"
    did = f"reached V2's best validation accuracy, {_percent(best)} %, in its epoch {reached}"
    if reached is None:
        own = _percent(max(accuracies["v3"]))
        did = f"came to a validation accuracy of {own} %, not to V2's best, {_percent(best)} %"
    return f"{name} {did}, with {share} V2 had needed.{_validated(v2, v3)}"


def _validated(v2: dict, v3: dict) -> str:
    """How the two runs' validation images differ, in words."""
    if v2["run"]["validation_sha256"] == v3["run"]["validation_sha256"]:
        return " Both were validated on the same images."
    words = " The two were validated on different images"
    if v3["run"]["recipe"]["together"] and not v2["run"]["recipe"]["together"]:
        words += (
            ": V3 on photos that occur once, V2 also on copies of photos that it learned, which are the easier ones"
        )
    return f"{words}."


PARTS_PAIRED = (
    ("Training, Training",),
    ("Training, PublicTest", "Training, PrivateTest"),
    ("PublicTest, PublicTest", "PublicTest, PrivateTest", "PrivateTest, PrivateTest"),
)
"""By column, the names that data.json gives to the parts that a pair joins."""


def data_table(results: Path) -> str:
    """Copies of photos in FER2013, one row a threshold, in Markdown."""
    file = results / "data.json"
    if not file.is_file():
        raise FERError(f"{file} is not there: python -m fer_model.duplicates writes it.")
    data = json.loads(file.read_text(encoding="utf-8"))
    columns = ("pairs", "mirrored", "within Training", "Training with PublicTest · PrivateTest")
    columns += ("within PublicTest · between the two · within PrivateTest", "with two labels")
    columns += ("test images with one in training", "of the six classes")
    lines = ["| copies | " + " | ".join(columns) + " |", "|---" * (1 + len(columns)) + "|"]
    near = {f"correlation ≥ {threshold}": counts for threshold, counts in data["near"].items()}
    for name, counts in {"exact": data["exact"], **near}.items():
        training, across, inside = (
            " · ".join(f"{counts['pairs_between'].get(parts, 0):,}" for parts in column) for column in PARTS_PAIRED
        )
        cells = (
            name,
            counts["pairs"],
            counts["mirrored"],
            training,
            across,
            inside,
            f"{counts['different_label'] / counts['pairs']:.1%}".replace("%", " %"),
            counts["test_images_with_one_in_train"],
            counts["test_images_with_one_in_train_six_classes"],
        )
        lines.append("| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else cell for cell in cells) + " |")
    exact, blank = data["exact"], sum(data["blank"].values())
    lines.append(
        f"\n{exact['groups']:,} pictures occur more than once, equal in every pixel: without these copies the "
        f"{sum(data['images'].values()):,} images would be {exact['extra_copies']:,} fewer. {blank} more are of a "
        "single grey and counted as nobody's copies."
    )
    lost = [
        f"{_title(metrics)} loses {100 * (metrics['accuracy'] - metrics['without_twins']['accuracy']):.1f} points"
        for _, metrics in _measured(results)
        if metrics.get("without_twins") and len(metrics["per_class"]) == len(EMOTIONS)
    ]
    if lost:
        leaked = data["near"][f"{data['twin_threshold']:.2f}"]["test_images_with_one_in_train_six_classes"]
        lines.append(
            f"\nWithout the {leaked} test images that have a copy in Training (at {data['twin_threshold']}), "
            + ", ".join(lost)
            + "."
        )
    return "\n".join(lines)
