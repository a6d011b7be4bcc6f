"""Class activation maps: where in the image the evidence for a class lies.

`python -m fer_model faithfulness` chooses a method on validation images. What it is worth on test images stands in
results/faithfulness.json and docs/results.md.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer_model.model.network import FERModel

LAYERS = {
    "convolution": "the last convolution",
    "last": "the last block, before its pooling",
    "previous": "the block before the last one, before its pooling",
    "earlier": "the block before these two, before its pooling",
}
"""Whose output a map weights. Attention and skip connection come after a block's convolutions, before its pooling."""

WEIGHTINGS = {"mean": "Grad-CAM", "product": "HiResCAM", "positive": "LayerCAM"}
"""How A_k, channel k of the layer's output, is weighted by G_k, the derivative of the class's logit with respect to it.

mean: by the mean of G_k over positions (Grad-CAM, Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391, equations 1
and 2). product: by G_k, position by position (HiResCAM, Draelos & Carin 2020, https://arxiv.org/abs/2011.08891).
positive: by max(G_k, 0), position by position (LayerCAM, Jiang et al. 2021, https://doi.org/10.1109/TIP.2021.3089943).
"""


@dataclass(frozen=True)
class Method:
    """How a heat map is made: a name in `LAYERS` and one in `WEIGHTINGS`."""

    layer: str
    weighting: str

    def __str__(self) -> str:
        return f"{WEIGHTINGS[self.weighting]} at {LAYERS[self.layer]}"


GRAD_CAM = Method("convolution", "mean")
"""The specified one of V1 and V2."""

SHOWN = dict.fromkeys(("v3", "v4"), Method("previous", "positive"))
"""What the pipeline, the demo and the cards show of a version, where that is not `GRAD_CAM`."""

TESTED = ("v1", "v2", "v3", "v4")
"""Versions whose shown maps beat both baselines on test images: results/faithfulness.json."""


def shown_method(model: FERModel) -> Method:
    """The method whose maps people see of this model."""
    return SHOWN.get(model.version, GRAD_CAM)


def grad_cam(
    model: FERModel,
    images: Tensor,
    target: "int | Sequence[int] | Tensor | None" = None,
    method: Method = GRAD_CAM,
) -> Tensor:
    """A map per image, at input size; by default Grad-CAM of the model's last convolution.

    Each map is scaled by itself: its lowest value becomes 0 and its highest 1. So maps show where the evidence is, not
    how strong. A map without any positive evidence is 0 everywhere.

    The model keeps its training or evaluation mode, its gradients and its buffers.

    Args:
        images: (B, 3, H, W), normalised as for the network.
        target: class index, or one per image; None takes each image's predicted class.

    Returns:
        float32 (B, H, W), values in [0, 1].

    Raises:
        ValueError: a target is not a class index, or there is not one per image.
    """
    return scaled(class_activation_maps(model, images, target, method)[:, None], images.shape[-2:])[:, 0]


def explain(model: FERModel, images: Tensor, method: Method | None = None) -> tuple[Tensor, Tensor]:
    """Logits and every class's map, in one pass through the network.

    Only the layers behind the method's layer are differentiated, once per class. Threads may share a model that is in
    evaluation mode.

    Args:
        method: by default the one that is shown of this model.

    Returns:
        Logits float32 (B, classes), and maps float32 (B, classes, H, W) in [0, 1], each scaled as in `grad_cam`.
    """
    method = method or shown_method(model)
    with _graph_from(model, images, method.layer) as (activations, logits):
        maps = [_weighted(activations, score.sum(), method, retain_graph=True) for score in logits.unbind(dim=1)]
    return logits.detach().float(), scaled(torch.stack(maps, dim=1), images.shape[-2:])


def class_activation_maps(
    model: FERModel,
    images: Tensor,
    target: "int | Sequence[int] | Tensor | None" = None,
    method: Method = GRAD_CAM,
) -> Tensor:
    """Unscaled maps at the resolution of the method's layer, float32 (B, h, w), values >= 0."""
    with _graph_from(model, images, method.layer) as (activations, logits):
        classes = _class_indices(target, logits)
        return _weighted(activations, logits.gather(1, classes[:, None]).sum(), method)


@contextmanager
def _graph_from(model: FERModel, images: Tensor, layer: str) -> Iterator[tuple[Tensor, Tensor]]:
    """The output of a layer, where the graph starts, and the logits, where it ends."""
    captured: list[Tensor] = []
    this_thread = threading.get_ident()

    def start_graph(output: Tensor) -> Tensor | None:
        if threading.get_ident() != this_thread:  # another thread is using the same network
            return None
        # everything before this layer ran without a graph: only what comes after is differentiated
        torch.set_grad_enabled(True)
        captured.append(output.detach().requires_grad_())
        return captured[0]

    # a caller may be inside torch.inference_mode(), where no graph can be built
    with torch.inference_mode(False), _evaluation_mode(model), torch.no_grad():
        if layer == "convolution":
            hook = model.grad_cam_layer.register_forward_hook(lambda module, inputs, output: start_graph(output))
        else:
            depth = model.depth - ("last", "previous", "earlier").index(layer)
            pool = model.get_submodule(f"block{depth}.pool")
            hook = pool.register_forward_pre_hook(lambda module, inputs: start_graph(inputs[0]))
        try:
            logits = model(images.clone() if images.is_inference() else images)
        finally:
            hook.remove()
        yield captured[0], logits


def _weighted(activations: Tensor, score: Tensor, method: Method, retain_graph: bool = False) -> Tensor:
    """ReLU(sum_k w_k A_k) of the summed scores of all images, which in evaluation mode do not influence each other."""
    (weights,) = torch.autograd.grad(score, activations, retain_graph=retain_graph)  # (B, K, h, w)
    if method.weighting == "mean":
        weights = weights.mean(dim=(2, 3), keepdim=True)
    elif method.weighting == "positive":
        weights = weights.relu()
    return (weights * activations.detach()).sum(dim=1).relu().float()


def scaled(maps: Tensor, size: torch.Size) -> Tensor:
    """(B, C, h, w) -> (B, C, *size), each map's lowest value 0 and its highest 1; a constant map is 0."""
    maps = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    low, high = maps.amin(dim=(2, 3), keepdim=True), maps.amax(dim=(2, 3), keepdim=True)
    spread = high - low
    return torch.where(spread > 0, (maps - low) / spread.where(spread > 0, torch.ones_like(spread)), 0.0)


def _class_indices(target, logits: Tensor) -> Tensor:
    if target is None:
        return logits.argmax(dim=1)
    classes = torch.as_tensor(target, device=logits.device)
    if classes.dtype in (torch.bool, torch.float32, torch.float64) or classes.ndim > 1:
        raise ValueError(f"target must be a class index, or one per image, not {target!r}")
    classes = classes.long().expand(len(logits)) if classes.ndim == 0 else classes.long()
    if len(classes) != len(logits):
        raise ValueError(f"{len(classes)} targets were given for {len(logits)} images")
    if any(not 0 <= index < logits.shape[1] for index in classes.tolist()):
        raise ValueError(f"target {target!r} is not a class index from 0 to {logits.shape[1] - 1}")
    return classes


@contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, each submodule's own mode again afterwards."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
