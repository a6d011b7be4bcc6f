"""A network and a test set -> predictions, scores, plots, and the printed summary."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm.auto import tqdm

from fer_model.data.dataset import FERData, batches
from fer_model.data.duplicates import leaked_rows
from fer_model.evaluation import plots
from fer_model.evaluation.metrics import FERMetric, calibration_bins, calibration_error, coverage_curve
from fer_model.evaluation.predict import EVALUATION_BATCH, predict
from fer_model.labels import DROPPED, EMOTIONS
from fer_model.model.gradcam import grad_cam, shown_method
from fer_model.model.network import FERModel
from fer_model.model.preprocess import preprocess, resize
from fer_model.model.tta import VIEWS
from fer_model.records import History, Metrics, Scores, ScoresByPart, ViewScores
from fer_model.runs import RESULTS


def predict_all(
    model: FERModel, test: FERData, accelerator: Accelerator, views: str = "plain"
) -> tuple[Tensor, Tensor]:
    """Logits (N, classes) and labels (N,) on the CPU, each image once, whatever the number of processes."""
    model, loader = accelerator.prepare(model, batches(test, EVALUATION_BATCH))
    return predict(model, loader, accelerator, f"testing, {views} views", views=views)


def calibration(model: FERModel, logits: Tensor, labels: Tensor) -> dict:
    """What temperature and threshold do on test images: the ECE before and after, and how many answers are given."""

    def error_and_hits(probabilities: Tensor) -> tuple[float, np.ndarray, np.ndarray]:
        confidence, predicted = probabilities.max(dim=1)
        correct = (predicted == labels).numpy()
        return calibration_error(confidence.numpy(), correct), confidence.numpy(), correct

    before, _, _ = error_and_hits(logits.softmax(dim=1))
    after, confidence, correct = error_and_hits(model.probabilities(logits))
    given = confidence >= model.unsure_below
    return {
        "temperature": model.temperature,
        "ece_before": before,
        "ece_after": after,
        "unsure_below": model.unsure_below,
        "coverage": float(given.mean()),
        "accuracy_when_sure": float(correct[given].mean()) if given.any() else None,
        "accuracy_when_unsure": float(correct[~given].mean()) if not given.all() else None,
        "curve": coverage_curve(confidence, correct),
    }


def measure(
    probabilities: Tensor,
    labels: Tensor,
    usage: tuple[str, ...] | None,
    leaked: Tensor | None = None,
) -> ScoresByPart:
    """`FERMetric`'s scores, and the same for parts of the test set; None for a part without images.

    Args:
        probabilities: float (N, classes), calibrated.
        usage: tells which rows are PrivateTest, for "private_test".
        leaked: bool (N,), which images have a near-duplicate in the training set. The others are "without_twins".
    """

    def part(rows: Tensor) -> Scores | None:
        return FERMetric().compute(predictions=probabilities[rows], references=labels[rows]) if rows.any() else None

    whole: Scores = FERMetric().compute(predictions=probabilities, references=labels)
    private = [name.strip().lower() == "privatetest" for name in usage or [""] * len(labels)]
    return {
        **whole,
        "private_test": part(torch.tensor(private)),
        "without_twins": None if leaked is None else part(~leaked),
    }


@dataclass(frozen=True)
class MeanHeatMaps:
    """Of each class's correctly recognised images, by the class's name."""

    faces: dict[str, np.ndarray]  # mean face, (S, S) in [0, 1]
    maps: dict[str, np.ndarray]  # mean heat map for the class, (S, S) in [0, 1]
    images: dict[str, int]  # how many these are
    empty: dict[str, int]  # how many of the maps hold no positive evidence


def draw(
    model: FERModel,
    test: FERData,
    logits: Tensor,
    metrics: Metrics,
    heat_maps: MeanHeatMaps,
    history: History | None,
    folder: Path,
) -> None:
    """All plots of a measurement, and the training curves if there is a history."""
    confidence, predicted = model.probabilities(logits).max(dim=1)
    correct = predicted == test.labels
    plots.confusion(metrics, folder / "confusion_matrix.png")
    plots.class_bars(metrics, folder / "class_scores.png")
    plots.reliability(calibration_bins(confidence.numpy(), correct.numpy()), metrics["ece"], folder / "reliability.png")
    method = str(shown_method(model))
    plots.mean_maps(heat_maps.faces, heat_maps.maps, heat_maps.images, method, folder / "mean_grad_cam.png")
    plots.coverage(metrics["calibration"], folder / "coverage.png")
    if history:
        plots.training_curves(history, folder / "training_curves.png")


def mean_heat_maps(model: FERModel, faces: FERData, logits: Tensor) -> MeanHeatMaps:
    """The mean heat map of each class over its correctly recognised images, by the method that is shown of the model.

    Args:
        logits: (N, classes), the model's answers to `faces`.
    """
    device, method = next(model.parameters()).device, shown_method(model)
    recognised = faces.subset((logits.argmax(dim=1) == faces.labels).nonzero().flatten())
    found = MeanHeatMaps({}, {}, {}, {})
    with tqdm(total=len(recognised), desc="heat maps", unit="image", leave=False) as bar:
        for label, emotion in enumerate(model.class_names):
            members = recognised.images[recognised.labels == label]
            face_sum, map_sum, empty = torch.zeros(1), torch.zeros(1), 0
            for images in members.split(EVALUATION_BATCH):
                shown = preprocess(images.to(device), model.input_size)
                maps = grad_cam(model, shown, label, method).cpu()
                face_sum = face_sum + resize(images, model.input_size).sum(dim=(0, 1))
                map_sum = map_sum + maps.sum(dim=0)
                empty += int((maps.amax(dim=(1, 2)) == 0).sum())
                bar.update(len(images))
            found.images[emotion], found.empty[emotion] = len(members), empty
            found.faces[emotion] = (face_sum / max(len(members), 1)).numpy()
            found.maps[emotion] = (map_sum / max(len(members), 1)).numpy()
    return found


def coverage(scores: Scores, test: FERData) -> dict:
    """What metrics.json says of the classes: those present, where some are missing; what was left out, by name."""
    present = [name for name, of_class in scores["per_class"].items() if of_class["support"]]
    found: dict = {"classes_present": present} if len(present) < len(scores["per_class"]) else {}
    # neutral and contempt alone are no news: a model of six classes never knows them
    return found | ({"skipped": test.left_out} if set(test.left_out) - set(DROPPED) else {})


def over_views(
    model: FERModel,
    test: FERData,
    accelerator: Accelerator,
    views: str,
    plain_seconds: float,
    leaked: Tensor | None,
) -> ViewScores:
    """The scores of the average over several views of each face, and what it cost."""
    started = time.perf_counter()
    logits, labels = predict_all(model, test, accelerator, views)
    cost = (time.perf_counter() - started) / plain_seconds
    scores = measure(model.probabilities(logits), labels, test.usage, leaked)
    found: ViewScores = {"views": views, "passes": VIEWS[views], "times_the_seconds_of_plain": cost, **scores}
    if len(model.class_names) > len(EMOTIONS):
        found["six_classes"] = best_of_six(model, logits, test)
    return found


def best_of_six(model: FERModel, logits: Tensor, test: FERData) -> ScoresByPart:
    """The scores of a model of seven classes that is asked for the best of six, on the images of these six.

    So it compares with models of six classes.

    Args:
        logits: (N, 7), the model's answers to `test`.
    """
    rows = (test.labels < len(EMOTIONS)).nonzero().flatten()
    six = test.subset(rows)
    probabilities = model.probabilities(logits[rows, : len(EMOTIONS)])
    return measure(probabilities, six.labels, six.usage, leaked_rows(RESULTS / "data.json", six))


def summary(metrics: Metrics) -> str:
    """What evaluate.py prints of a measurement."""
    tta = metrics["tta"]
    parts: list[tuple[str, Scores | None]] = [
        ("test set", metrics),
        ("PrivateTest alone", metrics["private_test"]),
        ("without photos that are in train", metrics["without_twins"]),
        (f"test set, {tta['views']} views" if tta else "", tta),
    ]
    lines = []
    for name, part in parts:
        if part:
            low, high = part["accuracy_ci"]
            lines.append(
                f"{name}: {part['n']:,} images, accuracy {part['accuracy']:.2%} (95 % {low:.2%} to {high:.2%}), "
                f"macro recall {part['macro_recall']:.2%}, macro F1 {part['macro_f1']:.2%}, ECE {part['ece']:.3f}"
            )
    if "classes_present" in metrics:
        lines.append(f"classes present: {', '.join(metrics['classes_present'])}; the means are over these")
    if "skipped" in metrics:
        lines.append("left out: " + ", ".join(f"{count:,} {name}" for name, count in metrics["skipped"].items()))
    columns = " ".join(emotion[:4] for emotion in metrics["per_class"])
    lines.append(f"\n{'':<10} {'precision':>9} {'recall':>9} {'F1':>9} {'support':>9}   predicted: {columns}")
    for row, (emotion, scores) in zip(metrics["confusion_matrix"], metrics["per_class"].items(), strict=True):
        lines.append(
            f"{emotion:<10} {scores['precision']:>9.2%} {scores['recall']:>9.2%} {scores['f1']:>9.2%} "
            f"{scores['support']:>9,}              {' '.join(f'{count:>4}' for count in row)}"
        )
    if metrics["expectations"] is None:
        reason = (
            "images of all classes and do not apply"
            if "classes_present" in metrics
            else "six classes and do not apply to seven"
        )
        lines.append(f"\nthe five expectations of V2's design are about {reason}")
        return "\n".join(lines)
    lines.append("\nthe five expectations of V2's design:")
    for expectation in metrics["expectations"].values():
        value = expectation["value"]
        figure = "no history" if value is None else f"{value:.4g}"
        lines.append(f"  {'met    ' if expectation['met'] else 'NOT met'}  {expectation['expected']}: {figure}")
    return "\n".join(lines)
