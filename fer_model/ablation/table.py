"""What the studies of `ablation` found, as Markdown for the README."""

import json
import math
from collections import defaultdict
from pathlib import Path

from fer_model.ablation.runner import STUDIES, output_file
from fer_model.labels import EMOTIONS

ONE_ANSWER = 1 / len(EMOTIONS) + 0.005
"""Up to this macro recall a network gives one answer to all but a few images: alone it would be 1 / 6."""


def study_table(name: str, results: Path) -> str:
    """One row a training, with the epoch of its best validation accuracy, in Markdown."""
    file = results.parent / output_file(name)
    if not file.is_file():
        command = f"python -m fer_model.ablation {name} --dataset ../shared/data/fer2013 --mixed-precision bf16"
        return f"Not measured yet: `{command}` does."
    study = json.loads(file.read_text(encoding="utf-8"))
    lines = [
        "| | accuracy | macro recall | epochs with one answer for all | FLOPs | minutes |",
        "|---|---|---|---|---|---|",
    ]
    for row in study["rows"]:
        same = sum(recall <= ONE_ANSWER for recall in row["macro_recall_by_epoch"])
        cells = (
            row["name"],
            f"{100 * row['validation_accuracy']:.1f}",
            f"{100 * row['validation_macro_recall']:.1f}",
            f"{same} of {len(row['macro_recall_by_epoch'])}",
            f"{row['training_flops'] / 1e15:.2f} · 10¹⁵",
            f"{row['seconds'] / 60:.0f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    missing = len(STUDIES[name].rows) - len(study["rows"])
    validation, train = (_span([row["images"][part] for row in study["rows"]]) for part in ("validation", "train"))
    lines.append(
        f"\nPercent of {validation} validation images, in the best of {study['epochs']} epochs over "
        f"{train} training images. One answer for all: a macro recall of {100 * ONE_ANSWER:.1f} % at most, "
        f"where a single answer scores {100 / len(EMOTIONS):.1f}. {_noise(name, study['rows'])} "
        f"{_where(study['rows'])}From `{output_file(name)}`, which `{study['command']}` writes."
        + (f" {missing} more rows are still to be trained." if missing else "")
    )
    return "\n".join(lines)


def _noise(name: str, rows: list[dict]) -> str:
    """How far two rows may differ by chance: from the choice of images, and as trainings with other seeds did."""
    images = min(row["images"]["validation"] for row in rows)
    errors = 200 * math.sqrt(2 * 0.25 / images)  # two standard errors, at 50 %
    same = defaultdict(list)
    arguments = {row.name: row.arguments for row in STUDIES[name].rows}
    for row in rows:
        same[_without_seed(arguments[row["name"]])].append(100 * row["validation_accuracy"])
    repeated = [max(accuracies) - min(accuracies) for accuracies in same.values() if len(accuracies) > 1]
    text = f"Differences below {errors:.1f} points may come from the choice of the validation images alone"
    if not repeated:
        return f"{text}; how much trainings differ by their seeds was not measured here."
    return (
        f"{text}; trainings that differ in nothing but their seeds, which also choose the validation images, are up to "
        f"{max(repeated):.1f} points apart here."
    )


def _where(rows: list[dict]) -> str:
    """A sentence about what trained the rows; none where they all ran on processors."""
    devices = {row.get("device", "cpu") for row in rows}
    if devices == {"cpu"}:
        return ""
    return f"Trained on {' and '.join(sorted(devices)).replace('cpu', 'a CPU')}. "


def _span(counts: list[int]) -> str:
    """A number, or the smallest and the largest of several."""
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _without_seed(arguments: tuple[str, ...]) -> tuple[str, ...]:
    words = list(arguments)
    if "--seed" in words:
        at = words.index("--seed")
        del words[at : at + 2]
    return tuple(words)
