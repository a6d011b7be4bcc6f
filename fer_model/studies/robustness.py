"""How answers change when photos get worse: accuracy and calibration under fourteen changes, each at five strengths.

In the manner of Hendrycks & Dietterich 2019, https://arxiv.org/abs/1903.12261, on faces as they are stored: grey uint8
(N, 1, 48, 48). A face of 96 pixels is no change, because every face is stored at 48 (`preprocess.to_face`).
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F
from tqdm.auto import tqdm

from fer_model.data.dataset import FERData
from fer_model.data.splits import stratified_split
from fer_model.evaluation.metrics import bootstrap_interval, calibration_error, mean_with_interval
from fer_model.evaluation.predict import EVALUATION_BATCH
from fer_model.model.network import FERModel
from fer_model.model.tta import logits_over_views

EYES, MOUTH = 17, 38
"""The rows, in pixels from the top, of eyes and mouth in the mean of FER2013's faces."""

BLUR_WINDOW = 19
"""Pixels; three standard deviations of the strongest blur to either side."""


Way = TypeVar("Way")


@dataclass(frozen=True)
class Change:
    """One way in which photos get worse.

    unit: what an amount is. neutral: the amount that changes nothing, or next to nothing (JPEG, blur).
    amounts: five strengths, the weakest first.
    apply: of faces uint8 (N, 1, 48, 48) and an amount, the changed faces, in the same form; the same at every call.
    """

    name: str
    unit: str
    neutral: float
    amounts: tuple[float, float, float, float, float]
    apply: Callable[[Tensor, float], Tensor]


def _each_way(faces: Tensor, ways: Sequence[Way], change: Callable[[Tensor, Way], Tensor]) -> Tensor:
    """Faces in turn changed one way and the other, so that no direction is preferred."""
    changed = faces.clone()
    for start, way in enumerate(ways):
        changed[start :: len(ways)] = change(faces[start :: len(ways)], way)
    return changed


def _gamma(faces: Tensor, amount: float) -> Tensor:
    return _each_way(faces, (amount, 1 / amount), F.adjust_gamma)


def _blur(faces: Tensor, amount: float) -> Tensor:
    return F.gaussian_blur(faces, [BLUR_WINDOW, BLUR_WINDOW], [amount, amount])


def _noise(faces: Tensor, amount: float, seed: int = 0) -> Tensor:
    noise = torch.randn(faces.shape, generator=torch.Generator().manual_seed(seed))
    return (faces + amount * noise).round().clamp(0, 255).to(torch.uint8)


def _jpeg(faces: Tensor, amount: float) -> Tensor:
    changed = []
    for face in faces[:, 0].numpy():
        file = io.BytesIO()
        Image.fromarray(face).save(file, "JPEG", quality=int(amount))
        changed.append(np.asarray(Image.open(file)))
    return torch.from_numpy(np.stack(changed))[:, None]


def _resolution(faces: Tensor, amount: float) -> Tensor:
    """Shrunk, and enlarged as `preprocess.to_face` does."""
    return F.resize(F.resize(faces, [int(amount)]), [faces.shape[-1]])


def _moved(faces: Tensor, turn: float = 0.0, shift: tuple[float, float] = (0.0, 0.0), zoom: float = 1.0) -> Tensor:
    """Turned clockwise by degrees, shifted right and down by pixels, enlarged. Edge pixels are repeated, as
    `crop.crop_face` does at the edge of a photo."""
    side = faces.shape[-1]
    padded = F.pad(faces, [side], padding_mode="edge")
    moved = F.affine(padded, turn, list(shift), zoom, [0.0, 0.0], interpolation=InterpolationMode.BILINEAR)
    return F.center_crop(moved, [side])


def _rotation(faces: Tensor, amount: float) -> Tensor:
    return _each_way(faces, (amount, -amount), lambda some, turn: _moved(some, turn=turn))


def _shift(faces: Tensor, amount: float) -> Tensor:
    step = amount * faces.shape[-1]
    ways = ((step, 0.0), (-step, 0.0), (0.0, step), (0.0, -step))
    return _each_way(faces, ways, lambda some, shift: _moved(some, shift=shift))


def _crop(faces: Tensor, amount: float) -> Tensor:
    return _moved(faces, zoom=1 / amount)


def _covered(faces: Tensor, amount: float, row: int) -> Tensor:
    """A band across the face, in the face's mean grey, as sunglasses or a mask cover it."""
    top, bottom = round(row - amount / 2), round(row + amount / 2)
    covered = faces.clone()
    covered[..., top:bottom, :] = faces.float().mean(dim=(-2, -1), keepdim=True).round().to(torch.uint8)
    return covered


CHANGES = (
    Change("darker", "factor", 1, (0.8, 0.6, 0.4, 0.2, 0.1), F.adjust_brightness),
    Change("brighter", "factor, clipped at white", 1, (1.25, 1.5, 2, 2.5, 3), F.adjust_brightness),
    Change("less contrast", "factor", 1, (0.8, 0.6, 0.4, 0.2, 0.1), F.adjust_contrast),
    Change("gamma", "exponent; its inverse for every other face", 1, (1.25, 1.5, 2, 3, 4), _gamma),
    Change("blur", "standard deviation, pixels", 1e-3, (0.5, 1, 1.5, 2, 3), _blur),
    Change("noise", "standard deviation, grey values", 0, (5, 10, 20, 30, 45), _noise),
    Change("JPEG", "quality", 100, (60, 30, 15, 8, 4), _jpeg),
    Change("resolution", "pixels a side", 48, (32, 24, 16, 12, 8), _resolution),
    Change("rotation", "degrees, to either side", 0, (10, 20, 30, 45, 60), _rotation),
    Change("shift", "share of the side, four ways", 0, (0.05, 0.1, 0.15, 0.2, 0.3), _shift),
    Change("looser crop", "side, relative to FER2013's", 1, (1.1, 1.2, 1.32, 1.5, 2), _crop),
    Change("tighter crop", "side, relative to FER2013's", 1, (0.95, 0.9, 0.85, 0.75, 0.65), _crop),
    Change("covered eyes", "height of the band, pixels", 0, (4, 8, 12, 16, 20), partial(_covered, row=EYES)),
    Change("covered mouth", "height of the band, pixels", 0, (4, 8, 12, 16, 20), partial(_covered, row=MOUTH)),
)


def measure_version(model: FERModel, test: FERData, images: int) -> dict:
    """The scores of unchanged and changed faces, on about `images` test images (seed 0).

    Of each class as large a share is taken, rounded to whole images.

    Returns:
        {"model_sha256", "classes", "images", "unchanged": scores, "changes": {name: {"unit", "levels": [scores]}}}.
        Scores are {"accuracy": {"value", "ci"}, "ece", "confidence": the mean one}; those of changed faces also have
        "amount" and "lost": {"value", "ci"}, the accuracy lost against the same faces unchanged.
    """
    sample = test
    if images < len(test):
        sample = test.subset(stratified_split(test.labels, images / len(test), seed=0)[1])
    # a third less time for V1 and V2 on a CPU
    model = model.eval().to(memory_format=torch.channels_last)
    with tqdm(total=1 + sum(len(change.amounts) for change in CHANGES), unit="set", leave=False) as bar:
        bar.set_description("unchanged")
        before, confidence = answers(model, sample.images, sample.labels)
        unchanged = scores(before, confidence)
        bar.update()
        changes: dict[str, dict] = {}
        for change in CHANGES:
            bar.set_description(change.name)
            levels = []
            for amount in change.amounts:
                after, confidence = answers(model, change.apply(sample.images, amount), sample.labels)
                levels.append({"amount": amount, **scores(after, confidence), "lost": lost(before, after)})
                bar.update()
            changes[change.name] = {"unit": change.unit, "levels": levels}
    found = {"model_sha256": model.digest(), "classes": len(model.class_names), "images": len(sample)}
    return {**found, "unchanged": unchanged, "changes": changes}


def summary(found: dict) -> str:
    """What the command prints of a version."""
    first = found["unchanged"]
    low, high = first["accuracy"]["ci"]
    lines = [
        f"{found['images']} test images of {found['classes']} classes; unchanged: accuracy "
        f"{first['accuracy']['value']:.1%} (95 % {low:.1%} to {high:.1%}), ECE {first['ece']:.3f}",
        f"\n{'accuracy, %; ECE':<16} {'weakest':>12} {'':>12} {'':>12} {'':>12} {'strongest':>12}   amounts",
    ]
    for name, change in found["changes"].items():
        cells = " ".join(f"{100 * row['accuracy']['value']:>5.1f}; {row['ece']:.3f}" for row in change["levels"])
        amounts = ", ".join(f"{row['amount']:g}" for row in change["levels"])
        lines.append(f"{name:<16} {cells}   {amounts} ({change['unit']})")
    return "\n".join(lines)


@torch.inference_mode()
def answers(model: FERModel, faces: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Which answers to faces uint8 (N, 1, 48, 48) are right, bool (N,), and their calibrated probabilities (N,)."""
    parts = [
        logits_over_views(model, some, model.input_size, memory_format=torch.channels_last)
        for some in faces.split(EVALUATION_BATCH)
    ]
    confidence, predicted = model.probabilities(torch.cat(parts)).max(dim=1)
    return (predicted == labels).numpy(), confidence.numpy()


def scores(correct: np.ndarray, confidence: np.ndarray) -> dict:
    """Accuracy with its bootstrap 95 % interval, ECE, and the mean probability of the answers."""
    interval = bootstrap_interval(int(correct.sum()), len(correct))
    return {
        "accuracy": {"value": float(correct.mean()), "ci": interval},
        "ece": calibration_error(confidence, correct),
        "confidence": float(confidence.mean()),
    }


def lost(before: np.ndarray, after: np.ndarray) -> dict:
    """Accuracy lost, with a bootstrap 95 % interval over the faces, each drawn with both of its answers."""
    return mean_with_interval(before.astype(float) - after)
