"""The numbers that a study found, for its table and the sentences below it."""

import math
from collections import defaultdict
from pathlib import Path
from typing import Any

from fer_model.ablation.studies import STUDIES, output_file
from fer_model.labels import EMOTIONS
from fer_model.runs import read_json

ONE_ANSWER = 1 / len(EMOTIONS) + 0.005
"""Up to this macro recall a network gives almost all images one answer. With one for all it would be 1 / 6."""

HEAD = ("", "accuracy", "macro recall", "epochs with one answer for all", "FLOPs", "minutes")
HEAD_WITH_VOTES = ("", "accuracy", "macro recall", "the crowd's majority", "cross-entropy to the votes")
"""Of a study whose trainings are judged by votes too."""
HEAD_TEN_CROPS = ("accuracy, ten crops", "the crowd's majority, ten crops")


def found(name: str, results: Path) -> dict[str, Any]:
    """One row a training, in the epoch of its best validation accuracy, and the numbers for the sentences below.

    Args:
        results: the folder results/ of a clone.
    """
    study = read_json(results.parent / output_file(name))
    if study is None:
        options = "--dataset ../shared/data/fer2013 --mixed-precision bf16"
        return {"rows": None, "command": f"python -m fer_model ablation {name} {options}"}
    rows = study["rows"]
    judged = all("majority_agreement" in row for row in rows)
    head = HEAD_WITH_VOTES if judged else HEAD
    return {
        "head": (*head, *HEAD_TEN_CROPS) if STUDIES[name].ten_crops else head,
        "rows": [_row(row) for row in rows],
        "validation": _span([row["images"]["validation"] for row in rows]),
        "train": _span([row["images"]["train"] for row in rows]),
        "epochs": study["epochs"],
        "one_answer": f"{100 * ONE_ANSWER:.1f}",
        "chance": f"{100 / len(EMOTIONS):.1f}",
        "judged": judged,
        "one_split": any(word.startswith("split_seed=") for word in STUDIES[name].arguments),
        "errors": _two_standard_errors(min(row["images"]["validation"] for row in rows)),
        "repeated": _apart(name, rows),
        "devices": sorted({row.get("device", "cpu") for row in rows}),
        "file": str(output_file(name)),
        "command": study["command"],
        "missing": len(STUDIES[name].rows) - len(rows),
    }


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    shown = row["name"], f"{100 * row['validation_accuracy']:.1f}", f"{100 * row['validation_macro_recall']:.1f}"
    if "majority_agreement" in row:
        crops = [_percent(row[key]) for key in ("ten_crop_accuracy", "ten_crop_majority_agreement") if key in row]
        return (*shown, _percent(row["majority_agreement"]), f"{row['cross_entropy']:.2f}", *crops)
    recalls = row["macro_recall_by_epoch"]
    return (
        *shown,
        f"{sum(recall <= ONE_ANSWER for recall in recalls)} of {len(recalls)}",
        f"{row['training_flops'] / 1e15:.2f} · 10¹⁵",
        f"{row['seconds'] / 60:.0f}",
    )


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def _two_standard_errors(images: int) -> str:
    """Two standard errors of the difference between two accuracies of 50 %, in points, for so many images."""
    return f"{200 * math.sqrt(2 * 0.25 / images):.1f}"


def _apart(name: str, rows: list[dict[str, Any]]) -> str | None:
    """The largest difference, in points, between trainings that differ only in their seed; None without such."""
    same = defaultdict(list)
    arguments = {row.name: row.arguments for row in STUDIES[name].rows}
    for row in rows:
        same[_without_seed(arguments[row["name"]])].append(100 * row["validation_accuracy"])
    repeated = [max(accuracies) - min(accuracies) for accuracies in same.values() if len(accuracies) > 1]
    return f"{max(repeated):.1f}" if repeated else None


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
