"""A network and a test set -> predictions, scores and pictures."""

from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm.auto import tqdm

from fer_model import plots
from fer_model.augment import enlarge, preprocess
from fer_model.calibration import coverage_curve
from fer_model.data import FERData, batches
from fer_model.expectations import check_expectations
from fer_model.gradcam import grad_cam
from fer_model.metrics import FERMetric, calibration_bins, calibration_error
from fer_model.modeling import FERModel
from fer_model.training import EVALUATION_BATCH, predict


def predict_all(
    model: FERModel, test: FERData, accelerator: Accelerator, views: str = "plain"
) -> tuple[Tensor, Tensor]:
    """Logits (N, classes) and labels (N,) on the CPU, each image once, whatever the number of processes."""
    model, loader = accelerator.prepare(model, batches(test, EVALUATION_BATCH))
    return predict(model, loader, accelerator, f"testing, {views} views", views=views)


def calibration(model: FERModel, logits: Tensor, labels: Tensor) -> dict:
    """What the fitted temperature and threshold do on test images: errors before and after, and what is answered."""

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
    history: dict | None,
    twins: Tensor | None = None,
) -> dict:
    """`FERMetric`'s scores, the same for parts of the test set, and the expectations of six classes.

    Args:
        probabilities: float (N, classes), calibrated.
        usage: tells which rows are PrivateTest, for "private_test".
        twins: bool (N,), which images have a copy in the training set; the others are "without_twins".
    """

    def scores(rows: Tensor) -> dict | None:
        return FERMetric().compute(predictions=probabilities[rows], references=labels[rows]) if rows.any() else None

    metrics = scores(torch.ones(len(labels), dtype=torch.bool))
    private = [name.strip().lower() == "privatetest" for name in usage or [""] * len(labels)]
    metrics["private_test"] = scores(torch.tensor(private))
    metrics["without_twins"] = None if twins is None else scores(~twins)
    metrics["expectations"] = check_expectations(metrics, history)
    return metrics


def draw(model: FERModel, test: FERData, logits: Tensor, metrics: dict, history: dict | None, folder: Path) -> None:
    """All pictures of a measurement, and the training curves if there is a history."""
    confidence, predicted = model.probabilities(logits).max(dim=1)
    correct = predicted == test.labels
    plots.confusion(metrics, folder / "confusion_matrix.png")
    plots.class_bars(metrics, folder / "class_scores.png")
    plots.reliability(calibration_bins(confidence.numpy(), correct.numpy()), metrics["ece"], folder / "reliability.png")
    plots.mean_grad_cams(*mean_grad_cams(model, test.subset(correct.nonzero().flatten())), folder / "mean_grad_cam.png")
    plots.coverage(metrics["calibration"], folder / "coverage.png")
    if history:
        plots.training_curves(history, folder / "training_curves.png")


def mean_grad_cams(
    model: FERModel, faces: FERData
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, int]]:
    """Mean face and mean Grad-CAM for the true class, by class, (S, S) in [0, 1], and the counts."""
    device = next(model.parameters()).device
    means, maps, counts = {}, {}, {}
    with tqdm(total=len(faces), desc="Grad-CAM", unit="image", leave=False) as bar:
        for label, emotion in enumerate(model.class_names):
            members = faces.images[faces.labels == label]
            counts[emotion] = len(members)
            face_sum, map_sum = torch.zeros(1), torch.zeros(1)
            for images in members.split(EVALUATION_BATCH):
                face_sum = face_sum + enlarge(images, model.input_size).sum(dim=(0, 1))
                map_sum = (
                    map_sum + grad_cam(model, preprocess(images.to(device), model.input_size), label).sum(dim=0).cpu()
                )
                bar.update(len(images))
            means[emotion] = (face_sum / max(len(members), 1)).numpy()
            maps[emotion] = (map_sum / max(len(members), 1)).numpy()
    return means, maps, counts
