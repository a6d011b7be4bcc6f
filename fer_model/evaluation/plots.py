"""Plots of a training run, of a measurement and of a study, as PNG files."""

from collections.abc import Mapping, Sequence
from itertools import accumulate, cycle
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from fer_model.records import History, Scores, Settings, VoteMetrics
from fer_model.runs import all_epochs, title

_BLUE, _ORANGE, _GREEN, _GREY = "#3b6fb6", "#e08b2c", "#3a9d5d", "#8a8a8a"

MIN_FACES_IN_MEAN = 20
"""A mean over fewer faces is not drawn, because it could show a recognisable person."""

MAX_CURVES = 12
"""More curves in one panel hide each other."""


def training_curves(history: History, path: Path) -> None:
    """Loss and accuracy by epoch, training and validation, with the best epoch marked.

    Epochs over smaller images than the largest are shaded. The runs that led to its first weights come first, and
    a line follows each of them.

    Args:
        history: with at least one epoch.
    """
    rows: Sequence[Mapping[str, Any]] = all_epochs(history)
    epochs = range(1, len(rows) + 1)
    starts = list(accumulate(len(run["epochs"]) for run in history["earlier"]))
    best = (starts or [0])[-1] + history["best_epoch"]
    sizes = [row["size"] for row in rows]
    labels = {("loss", "train"): _train_loss_label(history["run"])}
    if _mixes(history["run"]):
        labels["accuracy", "train"] = "train, of mixed images the first label"
    figure = Figure(figsize=(10, 5), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, name, scale in zip(panels, ("loss", "accuracy"), (1, 100), strict=True):
        for part, colour in (("train", _BLUE), ("validation", _ORANGE)):
            values, label = [scale * row[f"{part}_{name}"] for row in rows], labels.get((name, part), part)
            axes.plot(epochs, values, "o-", ms=3, color=colour, label=label)
        axes.axvline(best, color=_GREY, ls=":", label=f"best epoch ({best})")
        for size in sorted(set(sizes) - {max(sizes)}):
            smaller = [epoch for epoch, other in zip(epochs, sizes, strict=True) if other == size]
            spans = [(epoch - 0.5, 1) for epoch in smaller]
            # as high as the panel, whatever the limits of its axis become
            where = axes.get_xaxis_transform()
            axes.broken_barh(
                spans, (0, 1), color=_GREY, alpha=0.15, lw=0, transform=where, label=f"training at {size} pixels"
            )
        for start in starts:
            axes.axvline(start + 0.5, color=_GREY, lw=0.8)
        axes.set(xlabel="epoch", ylabel="accuracy, %" if name == "accuracy" else "weighted cross-entropy")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    panels[1].plot(
        epochs,
        [100 * row["validation_macro_recall"] for row in rows],
        "--",
        color=_ORANGE,
        label="validation, macro recall",
    )
    for axes in panels:  # below, since the curves may be anywhere
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, fontsize=8, frameon=False)
    run = history["run"]
    figure.suptitle(f"{title(run['version'], run['classes'])}, seed {run['seed']}")
    save(figure, path)


def _train_loss_label(run: Settings) -> str:
    """Names what the training loss has besides the weighted cross-entropy, which is the validation loss."""
    recipe = run["recipe"]
    words = ["label smoothing"] if recipe["label_smoothing"] else []
    words += ["focal factor"] if recipe["focal"] else []
    words += ["mixed images"] if _mixes(run) else []
    words += ["teachers"] if run.get("teachers") else []
    words += ["votes"] if run.get("votes") else []
    return f"train, with {' and '.join(words)}" if words else "train"


def _mixes(run: Settings) -> bool:
    return bool(run["recipe"]["augmentation"]["mixup"] or run["recipe"]["augmentation"]["cutmix"])


def confusion(metrics: Scores, path: Path) -> None:
    """The confusion matrix: colour and percentage by row (true class), counts below."""
    counts = np.array(metrics["confusion_matrix"])
    names = list(metrics["per_class"])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row in range(len(names)):
        for column in range(len(names)):
            axes.text(
                column,
                row,
                f"{shares[row, column]:.0%}\n{counts[row, column]:,}",
                ha="center",
                va="center",
                fontsize=9,
                color="white" if shares[row, column] > 0.55 else "black",
            )
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set(
        xlabel="predicted", ylabel="true", title=f"{metrics['n']:,} test images, accuracy {metrics['accuracy']:.1%}"
    )
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    save(figure, path)


def class_bars(metrics: Scores, path: Path) -> None:
    """Precision, recall and F1 of every class."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    per_class = metrics["per_class"]
    positions = np.arange(len(per_class))
    for offset, (name, colour) in enumerate((("precision", _BLUE), ("recall", _ORANGE), ("f1", _GREY))):
        values = [100 * scores[name] for scores in per_class.values()]
        bars = axes.bar(positions + (offset - 1) * 0.27, values, 0.25, color=colour, label=name.replace("f1", "F1"))
        axes.bar_label(bars, fmt="%.0f", fontsize=8, padding=2)
    labels = [f"{emotion}\n({scores['support']:,})" for emotion, scores in per_class.items()]
    axes.set_xticks(positions, labels)
    axes.set(ylabel="%", ylim=(0, 108), title="Scores by class (test images in brackets)")
    axes.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False)
    save(figure, path)


def reliability(bins: list[dict], ece: float, path: Path) -> None:
    """Reliability diagram: accuracy against confidence, and how many images each bin holds.

    Args:
        bins: from `metrics.calibration_bins`.
    """
    figure = Figure(figsize=(5.5, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    left = [item["low"] for item in bins]
    width = [item["high"] - item["low"] for item in bins]
    upper.bar(left, [item["accuracy"] for item in bins], width, align="edge", color=_BLUE, ec="white", label="accuracy")
    upper.plot([0, 1], [0, 1], "--", color=_GREY, label="perfect calibration")
    upper.plot([item["confidence"] for item in bins], [item["accuracy"] for item in bins], "o", ms=4, color=_ORANGE)
    upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), title=f"Expected calibration error {ece:.3f}")
    upper.legend(loc="upper left")
    lower.bar(left, [item["count"] for item in bins], width, align="edge", color=_GREY, ec="white")
    lower.set(xlabel="confidence (highest probability)", ylabel="images")
    save(figure, path)


def coverage(calibration: dict, path: Path) -> None:
    """Accuracy of the answers that are given, against how many are given, with the model's threshold marked.

    Args:
        calibration: from `measure.calibration`.
    """
    figure = Figure(figsize=(5.5, 4), layout="constrained")
    axes = figure.subplots()
    curve = calibration["curve"]
    axes.plot([100 * row["coverage"] for row in curve], [100 * row["accuracy"] for row in curve], color=_BLUE)
    if calibration["accuracy_when_sure"] is not None:
        x, y = 100 * calibration["coverage"], 100 * calibration["accuracy_when_sure"]
        axes.plot(
            x, y, "o", color=_ORANGE, label=f"sure from {calibration['unsure_below']:.0%}: {y:.0f} % of {x:.0f} %"
        )
        axes.legend(loc="lower left")
    axes.set(xlabel="answers given, %", ylabel="of these right, %", xlim=(0, 102), ylim=(0, 102))
    axes.set_title("Answering only when sure")
    save(figure, path)


def mean_maps(
    faces: dict[str, np.ndarray], maps: dict[str, np.ndarray], counts: dict[str, int], method: str, path: Path
) -> None:
    """For every class the mean heat map of its correctly predicted images, over their mean face.

    Args:
        faces: mean face by class, (H, W) in [0, 1].
        maps: mean map by class, (H, W) in [0, 1].
        counts: images in each mean, by class. Classes with fewer than 20 are left blank.
        method: how the maps were made, for the title.
    """
    figure = Figure(figsize=(2 * len(counts), 4.6), layout="constrained")
    panels = figure.subplots(2, len(counts))
    for (top, bottom), emotion in zip(panels.T, counts, strict=True):
        top.set_title(f"{emotion}\n{counts[emotion]:,} images", fontsize=10)
        for axes in (top, bottom):
            axes.axis("off")
        if counts[emotion] < MIN_FACES_IN_MEAN:
            bottom.text(0.5, 0.5, "too few\nto average", ha="center", va="center")
            continue
        top.imshow(faces[emotion], cmap="gray", vmin=0, vmax=1)
        bottom.imshow(faces[emotion], cmap="gray", vmin=0, vmax=1)
        image = bottom.imshow(maps[emotion], cmap="jet", alpha=0.45, vmin=0, vmax=1)
    if any(count >= MIN_FACES_IN_MEAN for count in counts.values()):
        figure.colorbar(image, ax=panels, label="mean heat map", shrink=0.7)
    figure.suptitle(f"Mean face of the correctly predicted test images, and their mean heat map\n{method}", fontsize=11)
    save(figure, path)


def study(result: dict, path: Path) -> None:
    """Validation accuracy and macro recall of every training of a study, by epoch.

    Of more than `MAX_CURVES` trainings, of one epoch, or judged by votes too, only the best epochs are shown.

    Args:
        result: from `ablation.runner.run_study`.
    """
    rows = result["rows"]
    if len(rows) > MAX_CURVES or result["epochs"] == 1 or "majority_agreement" in rows[0]:
        _study_of_many(result, path)
        return
    figure = Figure(figsize=(10, 4.5 + 0.11 * len(rows)), layout="constrained")
    panels = figure.subplots(1, 2)
    colours = colormaps["viridis"](np.linspace(0, 0.92, len(rows)))
    for axes, key, label in zip(
        panels, ("validation_accuracy_by_epoch", "macro_recall_by_epoch"), ("accuracy", "macro recall"), strict=True
    ):
        for row, colour, marker in zip(rows, colours, cycle("os^vDPX*"), strict=False):
            values = [100 * value for value in row[key]]
            axes.plot(range(1, len(values) + 1), values, marker + "-", ms=5, color=colour, label=row["name"])
        axes.set(xlabel="epoch", ylabel=f"validation {label}, %")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9)
    figure.suptitle(result["question"], fontsize=10)
    save(figure, path)


def _study_of_many(result: dict, path: Path) -> None:
    rows = result["rows"]
    figure = Figure(figsize=(10, 1.5 + 0.3 * len(rows)), layout="constrained")
    axes = figure.subplots()
    places = range(len(rows), 0, -1)  # the first row on top
    for key, label, colour, marker in (
        ("validation_accuracy", "validation accuracy", _BLUE, "o"),
        ("validation_macro_recall", "validation macro recall", _ORANGE, "D"),
        ("majority_agreement", "agreement with the crowd's majority", _GREEN, "s"),
    ):
        if key in rows[0]:
            axes.plot([100 * row[key] for row in rows], places, marker, color=colour, label=label)
    axes.set_yticks(places, [row["name"] for row in rows], fontsize=9)
    epochs = result["epochs"]
    axes.set(xlabel="percent" + (f", in the most accurate of {epochs} epochs" if epochs > 1 else ""))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, fontsize=9)
    figure.suptitle(result["question"], fontsize=10)
    save(figure, path)


def certainty(found: VoteMetrics, path: Path) -> None:
    """Accuracies by how many of ten people agreed, over the number of images."""
    rows = found["by_certainty"]
    votes = [row["votes"] for row in rows]
    figure = Figure(figsize=(6.5, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for key, label, colour, marker in (
        ("agreement", "network and crowd's favourite", "#3b6fb6", "o"),
        ("accuracy", "network and label", "#e08b2c", "s"),
        ("crowd_accuracy", "crowd's favourite and label", "#8a8a8a", "^"),
    ):
        upper.plot(votes, [100 * row[key] for row in rows], marker + "-", color=colour, label=label)
    upper.set(ylabel="agree, %", ylim=(0, 102), title="Agreement by how sure the crowd was")
    upper.grid(alpha=0.3)
    upper.legend(loc="lower right")
    lower.bar(votes, [row["n"] for row in rows], color="#8a8a8a")
    lower.set(xlabel="of ten people, so many chose the favourite", ylabel="images", xticks=range(1, 11))
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, in a folder that need not exist yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # no software version or date in the file, so that the same figures give the same bytes
    figure.savefig(path, dpi=110, metadata={"Software": None})
