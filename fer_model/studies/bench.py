"""How fast answers are, in turn with what they are compared to: so what disturbs the machine disturbs both."""

import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from fer_model.data.dataset import FERData
from fer_model.images import open_image
from fer_model.inference.crop import crop_face
from fer_model.inference.detector import FaceDetector
from fer_model.inference.pipeline import FERPipeline
from fer_model.labels import EMOTIONS
from fer_model.model import export
from fer_model.model.engine import Engine, Session
from fer_model.model.gradcam import GRAD_CAM, explain, shown_method
from fer_model.model.network import FERModel
from fer_model.model.preprocess import preprocess, to_face
from fer_model.runs import ROOT, Run

PHOTO = ROOT / "examples" / "astronaut.jpg"
VISITORS = 8
BATCH = 32

Side = Callable[[], object]


def measure(runs: list[Run], train: FERData, test: FERData, rounds: int) -> dict[str, Any]:
    """Each comparison of every version, and the exported files of the last.

    Args:
        test: whose first face is asked about, and which the accuracies of exported files are of.
    """
    found: dict[str, Any] = {}
    for run in runs:
        for name, measured in measure_version(run, test.images[:1], rounds).items():
            found.setdefault(name, {})[run.folder.name] = measured
    exports = {runs[-1].folder.name: measure_exports(runs[-1], train, test, rounds)}
    return {**found, "test_images": len(test), "exports": exports}


def measure_version(run: Run, face: Tensor, rounds: int) -> dict[str, dict]:
    """Of one version each comparison's `ratio`, by its name.

    Args:
        face: a stored one, uint8 (1, 1, 48, 48).
    """
    model = FERModel.from_pretrained(run.models)
    images = preprocess(face, model.input_size)
    batch = images.repeat(BATCH, 1, 1, 1)
    engine, eager, pipeline = Engine(model), _Eager(model), FERPipeline(model, "cpu")
    photo = open_image(PHOTO)
    few = max(2, rounds // 8)  # of what takes long
    comparisons: dict[str, tuple[Side, Side, int]] = {
        "predict_vs_eager_fp32": (lambda: explain(model, images), lambda: engine.explain(images), rounds),
        "probabilities_vs_eager_fp32": (lambda: eager.logits(images), lambda: engine(images), rounds),
        "batch_of_32_vs_eager_fp32": (lambda: explain(model, batch), lambda: engine.explain(batch), few),
        "shown_maps_vs_grad_cam_before": (
            lambda: explain(model, images, GRAD_CAM),
            lambda: engine.explain(images),
            rounds,
        ),
        "gradcam_vs_package": (lambda: _package(model, images), lambda: engine.explain(images), rounds),
        "photo_vs_before": (lambda: eager.photo(photo), lambda: pipeline.search(photo), rounds),
        "eight_visitors_vs_before": (
            lambda: _crowd(lambda: eager.photo(photo)),
            lambda: _crowd(lambda: pipeline.search(photo)),
            few,
        ),
    }
    bar = tqdm(comparisons.items(), desc=run.folder.name, unit="comparison", leave=False)
    return {name: ratio(*sides) for name, sides in bar}


def ratio(before: Side, now: Side, rounds: int) -> dict:
    """How many times as long the first takes as the second, in turn: {"median", "low", "high": of the middle 80 % of
    the rounds, "before_ms", "now_ms": medians}."""
    seconds: dict[str, list[float]] = {"before": [], "now": []}
    for number in range(rounds + 1):
        sides = [("before", before), ("now", now)]
        for name, side in sides if number % 2 else sides[::-1]:
            started = time.perf_counter()
            side()
            if number:  # the first round loads and allocates
                seconds[name].append(time.perf_counter() - started)
    ratios = np.array(seconds["before"]) / np.array(seconds["now"])
    low, middle, high = np.quantile(ratios, (0.1, 0.5, 0.9)).round(3).tolist()
    times = {f"{name}_ms": round(1000 * statistics.median(values), 2) for name, values in seconds.items()}
    return {"median": middle, "low": low, "high": high, **times}


class _Eager:
    """As it was before: PyTorch without ONNX Runtime, CenterFace in OpenCV behind a lock, maps by autograd."""

    def __init__(self, model: FERModel):
        self.model, self.detector = model, FaceDetector(onnx_runtime=False)

    def logits(self, images: Tensor) -> Tensor:
        with torch.inference_mode():
            return self.model(images)

    def photo(self, photo: Image.Image) -> Tensor:
        found = self.detector.detect(photo)
        faces = torch.stack([to_face(crop_face(photo, face.box, face.tilt)) for face in found])
        return explain(self.model, preprocess(faces, self.model.input_size))[1]


def _package(model: FERModel, images: Tensor) -> np.ndarray:
    """The same method's maps of all classes from the package grad-cam, in one call of a repeated image."""
    from pytorch_grad_cam import GradCAM, LayerCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    method, classes = shown_method(model), len(model.class_names)
    shown = method != GRAD_CAM  # LayerCAM, before the pooling of the last block but one
    kind = LayerCAM if shown else GradCAM
    layer = model.get_submodule(f"block{model.depth - 1}.spatial") if shown else model.grad_cam_layer
    with kind(model=model, target_layers=[layer]) as cam:
        return cam(images.repeat(classes, 1, 1, 1), [ClassifierOutputTarget(index) for index in range(classes)])


def _crowd(ask: Side) -> None:
    """Eight visitors' photos, on as many threads as the demo has by default: one a core."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for answer in [pool.submit(ask) for _ in range(VISITORS)]:
            answer.result()


def measure_exports(run: Run, train: FERData, test: FERData, rounds: int) -> list[dict]:
    """Of each kind of exported file its size, time for a face, and accuracy on the test images: the best of six.

    Args:
        train: some of its images set the ranges of int8.
    """
    model = FERModel.from_pretrained(run.models)
    full = export.for_use(model, heat_maps=False)
    kinds = {
        "float32": full,
        "--half": export.half(full),
        "--int8": export.int8(full, export.for_ranges(train.images, model.input_size)),
    }
    sessions = {name: Session(partial(kinds.__getitem__, name)) for name in kinds}
    face = preprocess(test.images[:1], model.input_size).numpy()
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(rounds + 1):
        for name, session in sessions.items():
            started = time.perf_counter()
            session.run(face)
            if number:
                seconds[name].append(time.perf_counter() - started)
    return [
        {
            "kind": name,
            "mb": round(len(content) / 1e6, 1),
            "ms": round(1000 * statistics.median(seconds[name]), 2),
            "accuracy": _accuracy(sessions[name], test, model.input_size, f"{run.folder.name} {name}"),
        }
        for name, content in kinds.items()
    ]


def _accuracy(session: Session, test: FERData, size: int, description: str) -> float:
    right = 0
    parts = zip(test.images.split(BATCH), test.labels.split(BATCH), strict=True)
    for images, labels in tqdm(parts, desc=description, unit="batch", total=-(-len(test) // BATCH), leave=False):
        (probabilities,) = session.run(preprocess(images, size).numpy())
        right += int((probabilities[:, : len(EMOTIONS)].argmax(axis=1) == labels.numpy()).sum())
    return right / len(test)


def summary(found: dict) -> str:
    """What the command prints: a line for each comparison, a column for each version."""
    rows = {name: of for name, of in found.items() if name.partition("_vs_")[1]}
    versions = next(iter(rows.values()))
    lines = [f"{'times as fast':<30}" + "".join(f"{version:>22}" for version in versions)]
    for name, of in rows.items():
        cells = (f"{c['median']:>8.2f} ({c['low']:.2f}–{c['high']:.2f})" for c in of.values())
        lines.append(f"{name:<30}" + "".join(f"{cell:>22}" for cell in cells))
    for version, kinds in found["exports"].items():
        lines += [f"{version} {k['kind']:<10} {k['mb']:>6} MB {k['ms']:>8} ms {k['accuracy']:>8.2%}" for k in kinds]
    return "\n".join(lines)
