"""What the studies of `ablation` found, as Markdown for the README."""

import json
import math
from pathlib import Path

from fer_model.ablation import STUDIES, output_file
from fer_model.labels import EMOTIONS

ONE_ANSWER = 1 / len(EMOTIONS) + 0.005
"""Up to this macro recall a network gives one answer to all but a few images: alone it would be 1 / 6."""


def study_table(name: str, results: Path) -> str:
    """One row a training, with the epoch of its best validation accuracy, in Markdown."""
    file = results.parent / output_file(name)
    if not file.is_file():
        return f"Not measured yet: `python -m fer_model.ablation {name}` does."
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
    images = study["rows"][-1]["images"]
    lines.append(
        f"\nPercent of {images['validation']:,} validation images, in the best of {study['epochs']} epochs over "
        f"{images['train']:,} training images; one training a row, so differences below {_noise(study['rows'])} points "
        f"may be chance. From `{output_file(name)}`, which `{study['command']}` writes."
        + (f" {missing} more rows are still to be trained." if missing else "")
    )
    return "\n".join(lines)


def _noise(rows: list[dict]) -> str:
    """Two standard errors of the difference of two accuracies over different images; over the same ones it is less."""
    accuracy, images = rows[-1]["validation_accuracy"], rows[-1]["images"]["validation"]
    return f"{200 * math.sqrt(2 * accuracy * (1 - accuracy) / images):.1f}"
