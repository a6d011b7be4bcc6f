"""The numbers on FER2013: its copies of photos and what they do to accuracies, and what ten people say of it."""

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


def votes_table(results: Path) -> dict[str, Any]:
    """One row a class of the test images: how often the favourite of ten people is the label."""
    found = read_json(results / "votes.json")
    if found is None:
        raise FERError(f"{results / 'votes.json'} is not there: python -m fer_model votes writes it.")
    test = found["test"]
    six, seven = test["six_classes"], test["seven_classes"]
    head = ["label", "test images with votes", "favourite of six is the label (95 %)", "favourite of seven"]
    head += ["neutral is the favourite of all"]
    rows = []
    for name, part in seven["per_class"].items():
        of_six = six["per_class"][name]["crowd_accuracy"] if name in six["per_class"] else None
        of_seven = part["crowd_accuracy"]
        neutral = f"{part['looks_neutral']:,}"
        rows.append((name, f"{of_seven['n']:,}", _interval(of_six), percent(of_seven["value"]), neutral))
    rows.append(("all six", f"{six['crowd_accuracy']['n']:,}", _interval(six["crowd_accuracy"]), "", ""))
    rows.append(("all seven", f"{seven['crowd_accuracy']['n']:,}", "", percent(seven["crowd_accuracy"]["value"]), ""))
    matched = ["", "images", "of a known hash", "of one nearby", "of none", "of a single grey", "with votes"]
    matched += ["shared with copies", "six classes: two favourites", "and nobody chose one"]
    keys = ("images", "exact_hash", "near_hash", "no_hash_near", "single_grey", "with_votes", "sharing_their_votes")
    parts = []
    for name, part in (("training", found["train"]), ("test", test)):
        counts = [part[key] for key in keys]
        counts += [part["six_classes"]["tied"], part["six_classes"]["none_of_the_classes"]]
        parts.append([name, *(f"{count:,}" for count in counts)])
    return {"table": table(head, rows), "matched": table(matched, parts)}


def _interval(figure: dict[str, Any] | None) -> str:
    if figure is None:
        return "–"
    low, high = (percent(value) for value in figure["ci"])
    return f"{percent(figure['value'])} ({low}–{high})"


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
