"""The numbers on copies of photos in FER2013, and on what they do to accuracies."""

from pathlib import Path
from typing import Any

from fer_model.errors import FERError
from fer_model.report.markdown import percent, table
from fer_model.report.versions import lost_without_twins
from fer_model.runs import read_json

PARTS_PAIRED = (
    ("Training, Training",),
    ("Training, PublicTest", "Training, PrivateTest"),
    ("PublicTest, PublicTest", "PublicTest, PrivateTest", "PrivateTest, PrivateTest"),
)
"""For each column, the keys in data.json of the parts that its pairs join."""


def data_table(results: Path) -> dict[str, Any]:
    """One row a threshold; and the accuracy that versions lose without the leaked test images."""
    data = read_json(results / "data.json")
    if data is None:
        raise FERError(f"{results / 'data.json'} is not there: python -m fer_model duplicates writes it.")
    head = ["copies", "pairs", "mirrored", "within Training", "Training with PublicTest · PrivateTest"]
    head += ["within PublicTest · between the two · within PrivateTest", "with two labels"]
    head += ["test images with one in training", "of the six classes"]
    near = {f"correlation ≥ {threshold}": counts for threshold, counts in data["near"].items()}
    twins = data["near"][f"{data['twin_threshold']:.2f}"]
    return {
        "table": table(head, [_row(name, counts) for name, counts in {"exact": data["exact"], **near}.items()]),
        "exact": data["exact"],
        "images": sum(data["images"].values()),
        "blank": sum(data["blank"].values()),
        "leaked": twins["test_images_with_one_in_train_six_classes"],
        "threshold": data["twin_threshold"],
        "lost": lost_without_twins(results),
    }


def _row(name: str, counts: dict[str, Any]) -> tuple[str, ...]:
    training, across, inside = (
        " · ".join(f"{counts['pairs_between'].get(parts, 0):,}" for parts in column) for column in PARTS_PAIRED
    )
    return (
        name,
        f"{counts['pairs']:,}",
        f"{counts['mirrored']:,}",
        training,
        across,
        inside,
        f"{percent(counts['different_label'] / counts['pairs'])} %",
        f"{counts['test_images_with_one_in_train']:,}",
        f"{counts['test_images_with_one_in_train_six_classes']:,}",
    )
