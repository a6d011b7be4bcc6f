"""Do heat maps show what the network goes by? Each method against two baselines that know nothing of the network.

Insertion and deletion (Petsiuk et al. 2018, https://arxiv.org/abs/1806.07421, section 4.2): pixels are uncovered in a
blurred face, or blurred in the face, in the order of a map; the area under the probability of the class tells how soon
that matters. A good map has a high insertion and a low deletion. The sanity check is Adebayo et al. 2018,
https://arxiv.org/abs/1810.03292: a map must change where the weights are random.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from fer_model.configs import DATA_SIZE
from fer_model.data.dataset import FERData
from fer_model.data.splits import validation_images
from fer_model.evaluation.metrics import mean_with_interval
from fer_model.machine import keep_freed_memory
from fer_model.model.gradcam import GRAD_CAM, Method, explain, grad_cam, shown_method
from fer_model.model.network import FERModel
from fer_model.model.preprocess import preprocess
from fer_model.runs import Run

METHODS = (
    GRAD_CAM,
    Method("convolution", "positive"),
    Method("last", "mean"),
    Method("last", "product"),
    Method("previous", "product"),
    Method("previous", "positive"),
    Method("earlier", "positive"),
)

FUSED = (Method("previous", "positive"), Method("last", "mean"))
FUSION = "mean of LayerCAM (previous block) and Grad-CAM (last block)"
OCCLUSION = "occlusion, 100 passes"
RANDOM, BLOB = "baseline: random smooth map", "baseline: blob in the centre"
BASELINES = (RANDOM, BLOB)

STEPS = 13
"""Points of each curve, from no pixel to all."""

BLUR = 15
"""Pixels, of the window that blurs; its standard deviation is a third of that."""

PATCH, STRIDE = 12, 4
"""Pixels: side of the grey square that occludes, and its step."""

BUDGET = 3.0
"""Of Grad-CAM's time for all maps of a face: slower methods are measured, and not chosen."""

Maps = Callable[[FERModel, Tensor, Tensor], Tensor]
"""Of a network, a stored face uint8 (1, 1, 48, 48) and a class (1,), the map, float32 (48, 48) in [0, 1]."""


def measure_version(run: Run, train: FERData, test: FERData, images: int) -> dict:
    """A study on `images` test images; before it one on half as many validation images, by which a method is chosen.

    Raises:
        FERError: the run has no history, which says what its validation images are.
    """
    settings = run.required_history()["run"]
    keep_freed_memory()
    model = FERModel.from_pretrained(run.models)
    validation = study(model, validation_images(settings, train), images // 2, "validation images")
    return {
        "shown": str(shown_method(model)),
        "best_on_validation": best(validation),
        "model_sha256": model.digest(),
        "validation": validation,
        "test": study(model, test, images, "test images"),
    }


def summary(found: dict) -> str:
    """What the command prints of a version."""
    lines = [f"{'insertion':>9} {'deletion':>9} {'time':>5}   on {found['test']['images']} test images"]
    for name, figures in sorted(found["test"]["methods"].items(), key=lambda item: -item[1]["insertion"]["value"]):
        cost = figures["times_grad_cam"]
        note = " (shown)" if name == found["shown"] else ""
        note += "" if figures["beats_baselines"] or name in BASELINES else ", not better than the baselines"
        lines.append(
            f"{figures['insertion']['value']:>9.3f} {figures['deletion']['value']:>9.3f} "
            f"{f'{cost:.1f}' if cost else '':>5}   {name}{note}"
        )
    best_of_all = found["best_on_validation"] or "none beats both baselines"
    return "\n".join([*lines, f"the best on validation images: {best_of_all}"])


def study(model: FERModel, faces: FERData, count: int, description: str) -> dict:
    """The figures of every method and baseline on `count` recognised faces, chosen at random (seed 0).

    Returns:
        {"images", "methods": {name: {"insertion", "deletion": {"value", "ci"}, "lead": by how much each of these two is
        better than the stronger baseline's on the same images, likewise, "beats_baselines": whether both leads are
        above 0, "with_random_weights", "shifted", "flipped": correlation with the map itself, "outside_the_face",
        "in_corners": share of the evidence, "times_grad_cam": time for all classes of a face}}}; what does not apply is
        None.
    """
    chosen = _recognised(model, faces, count)
    candidates = _candidates()
    strangers = FERModel(version=model.version, seed=1, classes=len(model.class_names)).eval()
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in candidates}
    for index in tqdm(chosen, desc=description, unit="image", leave=False):
        face, label = faces.images[index : index + 1], faces.labels[index : index + 1]
        for name, make in candidates.items():
            heat = make(model, face, label)
            insertion, deletion = areas(model, face, label, heat)
            row = {"insertion": insertion, "deletion": deletion, **_places(heat)}
            if name not in (*BASELINES, OCCLUSION):
                row |= _stability(make, model, strangers, face, label, heat)
            rows[name].append(row)
    cost = _costs(model, faces.images[chosen[0] : chosen[0] + 1])
    found = {}
    for name, of_name in rows.items():
        lead = None if name in BASELINES else _lead(of_name, [rows[baseline] for baseline in BASELINES])
        found[name] = {
            **_summary(of_name),
            "lead": lead,
            "beats_baselines": lead is not None and all(part["value"] > 0 for part in lead.values()),
            "times_grad_cam": cost.get(name),
        }
    return {"images": len(chosen), "methods": found}


def best(found: dict) -> str | None:
    """Of a study the method with the highest insertion less deletion that beats both baselines within `BUDGET`."""
    allowed = {
        name: figures["insertion"]["value"] - figures["deletion"]["value"]
        for name, figures in found["methods"].items()
        if figures["beats_baselines"] and figures["times_grad_cam"] <= BUDGET
    }
    return max(allowed, key=allowed.__getitem__, default=None)


@torch.no_grad()
def areas(model: FERModel, face: Tensor, label: Tensor, heat: Tensor) -> tuple[float, float]:
    """Insertion and deletion of one map: areas in [0, 1] under the calibrated probability of the class.

    Args:
        face: uint8 (1, 1, 48, 48). label: int64 (1,). heat: float (48, 48); the highest pixels go first.
    """
    rank = torch.empty(heat.numel(), dtype=torch.long)
    rank[heat.flatten().argsort(descending=True, stable=True)] = torch.arange(heat.numel())
    counts = torch.linspace(0, heat.numel(), STEPS).round()[1:-1]
    first = rank.view(1, 1, *heat.shape) < counts[:, None, None, None]  # (STEPS - 2, 1, 48, 48)
    sharp, soft = face.float(), blurred(face)
    images = torch.cat([sharp, soft, torch.where(first, sharp, soft), torch.where(first, soft, sharp)])
    shares = model.probabilities(model(preprocess(images, model.input_size)))[:, int(label)]
    whole, none, inserted, deleted = shares.split((1, 1, STEPS - 2, STEPS - 2))
    curves = torch.stack((torch.cat((none, inserted, whole)), torch.cat((whole, deleted, none))))
    insertion, deletion = torch.trapezoid(curves, dx=1 / (STEPS - 1)).tolist()
    return insertion, deletion


def blurred(faces: Tensor) -> Tensor:
    """Faces (B, 1, H, W) after a Gaussian blur that leaves little of an expression, float32."""
    offsets = torch.arange(BLUR) - BLUR // 2
    kernel = torch.exp(-0.5 * (offsets / (BLUR / 3)) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(faces.float(), (BLUR // 2,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))


def _candidates() -> dict[str, Maps]:
    smooth, blob = torch.Generator().manual_seed(0), _blob()
    found: dict[str, Maps] = {str(method): _by(method) for method in METHODS}
    layer, grad = (_by(method) for method in FUSED)
    found[FUSION] = lambda model, face, label: (layer(model, face, label) + grad(model, face, label)) / 2
    found[OCCLUSION] = occlusion
    found[RANDOM] = lambda model, face, label: _enlarged(torch.rand(1, 1, 6, 6, generator=smooth))
    found[BLOB] = lambda model, face, label: blob
    return found


def _by(method: Method) -> Maps:
    def make(model: FERModel, face: Tensor, label: Tensor) -> Tensor:
        return _enlarged(grad_cam(model, preprocess(face, model.input_size), label, method)[:, None])

    return make


@torch.no_grad()
def occlusion(model: FERModel, face: Tensor, label: Tensor) -> Tensor:
    """How much the probability of the class falls where a grey square lies: slow, and without a gradient."""
    corners = range(0, DATA_SIZE - PATCH + 1, STRIDE)
    places = [(top, left) for top in corners for left in corners]
    covered = face.repeat(len(places), 1, 1, 1)
    for image, (top, left) in zip(covered, places, strict=True):
        image[:, top : top + PATCH, left : left + PATCH] = 128
    shares = model.probabilities(model(preprocess(torch.cat([face, covered]), model.input_size)))[:, int(label)]
    falls = (shares[0] - shares[1:]).relu()
    return _enlarged(falls.view(1, 1, len(corners), len(corners)))


def _blob() -> Tensor:
    line = torch.linspace(-1, 1, DATA_SIZE) ** 2
    return torch.exp(-2 * (line[:, None] + line[None, :]))


def _enlarged(maps: Tensor) -> Tensor:
    return F.interpolate(maps, size=(DATA_SIZE, DATA_SIZE), mode="bilinear", align_corners=False)[0, 0]


def _recognised(model: FERModel, faces: FERData, count: int) -> list[int]:
    """Places of `count` faces at random whose answer is right."""
    found: list[int] = []
    for part in torch.randperm(len(faces), generator=torch.Generator().manual_seed(0)).split(128):
        with torch.no_grad():
            answers = model(preprocess(faces.images[part], model.input_size)).argmax(dim=1)
        found += part[answers == faces.labels[part]].tolist()
        if len(found) >= count:
            break
    return found[:count]


def _places(heat: Tensor) -> dict[str, float]:
    """Share of a map outside the ellipse that a face fills in FER2013's crops, and in the four corners of 10 pixels."""
    rows, columns = torch.meshgrid(*(2 * [torch.arange(DATA_SIZE) + 0.5]), indexing="ij")
    outside = ((columns - 24) / 17) ** 2 + ((rows - 25) / 22) ** 2 > 1
    edge = (torch.stack((rows, columns)) - DATA_SIZE / 2).abs() > DATA_SIZE / 2 - 10
    total = float(heat.sum()) or 1.0
    return {
        "outside_the_face": float(heat[outside].sum()) / total,
        "in_corners": float(heat[edge[0] & edge[1]].sum()) / total,
    }


def _stability(
    make: Maps, model: FERModel, stranger: FERModel, face: Tensor, label: Tensor, heat: Tensor
) -> dict[str, float]:
    shifted = torch.cat((face[..., :1], face[..., :-1]), dim=-1)  # one pixel to the right; the edge is repeated
    return {
        "with_random_weights": _correlation(heat, make(stranger, face, label)),
        "shifted": _correlation(heat[:, :-1], make(model, shifted, label)[:, 1:]),
        "flipped": _correlation(heat, make(model, face.flip(-1), label).flip(-1)),
    }


def _correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's; 0 where a map is the same everywhere."""
    a, b = a.flatten() - a.mean(), b.flatten() - b.mean()
    return float(a @ b / (a.norm() * b.norm()).clamp(min=1e-12))


def _costs(model: FERModel, face: Tensor) -> dict[str, float]:
    """Time for the maps of all classes of one face, in turns with Grad-CAM's: the ratio of the medians."""
    images, label = preprocess(face, model.input_size), torch.tensor([0])
    ways: dict[str, Callable[[], object]] = {str(method): partial(explain, model, images, method) for method in METHODS}
    ways[FUSION] = lambda: [explain(model, images, method) for method in FUSED]
    ways[OCCLUSION] = lambda: occlusion(model, face, label)
    found = {}
    for name, way in ways.items():
        seconds: tuple[list[float], list[float]] = ([], [])
        for _ in range(3 if name == OCCLUSION else 15):
            for run, taken in zip((way, ways[str(GRAD_CAM)]), seconds, strict=True):
                started = time.perf_counter()
                run()
                taken.append(time.perf_counter() - started)
        found[name] = statistics.median(seconds[0]) / statistics.median(seconds[1])
    return found


def _summary(rows: list[dict[str, float]]) -> dict:
    """Means over images, of insertion and deletion with an interval."""
    found: dict = {"with_random_weights": None, "shifted": None, "flipped": None}
    for key in rows[0]:
        values = _values(rows, key)
        found[key] = mean_with_interval(values) if key in ("insertion", "deletion") else float(values.mean())
    return found


def _lead(rows: list[dict[str, float]], baselines: list[list[dict[str, float]]]) -> dict[str, dict]:
    """By how much insertion is higher, and deletion lower, than the stronger baseline's, image by image."""
    found = {}
    for key, sign in (("insertion", 1), ("deletion", -1)):
        leads = [sign * (_values(rows, key) - _values(baseline, key)) for baseline in baselines]
        found[key] = mean_with_interval(min(leads, key=np.mean))
    return found


def _values(rows: list[dict[str, float]], key: str) -> np.ndarray:
    return np.array([row[key] for row in rows])
