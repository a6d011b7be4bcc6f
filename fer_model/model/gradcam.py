"""Grad-CAM: where in the image the evidence for a class lies."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer_model.model.network import FERModel


def grad_cam(model: FERModel, images: Tensor, target: "int | Sequence[int] | Tensor | None" = None) -> Tensor:
    """Grad-CAM maps of the model's last convolution, one per image, at input size.

    Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391, equations 1 and 2. Each map is scaled by itself: its
    lowest value becomes 0 and its highest 1. So maps show where the evidence is, not how strong. A map without any
    positive evidence is 0 everywhere.

    The model keeps its training or evaluation mode, its gradients and its buffers.

    Args:
        images: (B, 3, H, W), normalised as for the network.
        target: class index, or one per image; None takes each image's predicted class.

    Returns:
        float32 (B, H, W), values in [0, 1].

    Raises:
        ValueError: a target is not a class index, or there is not one per image.
    """
    return _scaled(class_activation_maps(model, images, target)[:, None], images.shape[-2:])[:, 0]


def explain(model: FERModel, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and every class's Grad-CAM, in one pass through the network.

    Only the layers behind the last convolution are differentiated, once per class. Threads may share a model that is
    in evaluation mode.

    Returns:
        Logits float32 (B, classes), and maps float32 (B, classes, H, W) in [0, 1], each scaled as in `grad_cam`.
    """
    with _last_convolution(model, images) as (activations, logits):
        maps = [_weighted_sum(activations, score.sum(), retain_graph=True) for score in logits.unbind(dim=1)]
    return logits.detach().float(), _scaled(torch.stack(maps, dim=1), images.shape[-2:])


def class_activation_maps(
    model: FERModel, images: Tensor, target: "int | Sequence[int] | Tensor | None" = None
) -> Tensor:
    """Unscaled maps at the resolution of the last convolution, float32 (B, h, w), values >= 0.

    ReLU(sum_k w_k A_k), where A_k is channel k of the layer's output and w_k the mean over positions
    of the derivative of the class's logit with respect to A_k.
    """
    with _last_convolution(model, images) as (activations, logits):
        classes = _class_indices(target, logits)
        return _weighted_sum(activations, logits.gather(1, classes[:, None]).sum())


@contextmanager
def _last_convolution(model: FERModel, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The output of the model's last convolution, where the graph starts, and the logits, where it ends."""
    captured: list[Tensor] = []
    this_thread = threading.get_ident()

    def start_graph_here(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor | None:
        if threading.get_ident() != this_thread:  # another thread is using the same network
            return None
        # everything before this layer ran without a graph: only what comes after is differentiated
        torch.set_grad_enabled(True)
        captured.append(output.detach().requires_grad_())
        return captured[0]

    # a caller may be inside torch.inference_mode(), where no graph can be built
    with torch.inference_mode(False), _evaluation_mode(model), torch.no_grad():
        hook = model.grad_cam_layer.register_forward_hook(start_graph_here)
        try:
            logits = model(images.clone() if images.is_inference() else images)
        finally:
            hook.remove()
        yield captured[0], logits


def _weighted_sum(activations: Tensor, score: Tensor, retain_graph: bool = False) -> Tensor:
    """ReLU(sum_k w_k A_k) of the summed scores of all images, which in evaluation mode do not influence each other."""
    (gradients,) = torch.autograd.grad(score, activations, retain_graph=retain_graph)
    weights = gradients.mean(dim=(2, 3), keepdim=True)  # (B, K, 1, 1)
    return (weights * activations.detach()).sum(dim=1).relu().float()


def _scaled(maps: Tensor, size: torch.Size) -> Tensor:
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
