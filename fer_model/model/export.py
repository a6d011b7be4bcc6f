"""The network as an ONNX file, for ONNX Runtime and other tools; needs the packages onnx and onnxruntime.

`python -m fer_model export` writes such files; `engine` runs them inside the pipeline.
"""

import tempfile
import threading
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from fer_model.model.folded import Folded
from fer_model.model.network import FERModel

OPSET = 18
INPUT, LOGITS, MAPS, PROBABILITIES = "images", "logits", "maps", "probabilities"

_exporting = threading.Lock()  # torch's exporter keeps its state in global variables


class _Logits(nn.Module):
    def __init__(self, network: Folded):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network.logits(images)


class _Answer(nn.Module):
    """Calibrated probabilities, and heat maps if asked for."""

    def __init__(self, model: FERModel, heat_maps: bool):
        super().__init__()
        self.network, self.temperature, self.heat_maps = Folded(model), model.temperature, heat_maps

    def forward(self, images: Tensor) -> "Tensor | tuple[Tensor, Tensor]":
        if not self.heat_maps:
            return (self.network.logits(images) / self.temperature).softmax(dim=1)
        logits, maps = self.network(images)
        return (logits / self.temperature).softmax(dim=1), maps


def for_use(model: FERModel, heat_maps: bool) -> bytes:
    """What anybody can run: images -> calibrated probabilities, and heat maps (batch, classes, S, S) if asked for."""
    return _onnx(_Answer(model, heat_maps), model.input_size, [PROBABILITIES, MAPS] if heat_maps else [PROBABILITIES])


def for_engine(model: FERModel, heat_maps: bool) -> bytes:
    """What the pipeline runs: images -> logits, and heat maps if asked for."""
    network = Folded(model)
    if heat_maps:
        return _onnx(network, model.input_size, [LOGITS, MAPS])
    return _onnx(_Logits(network), model.input_size, [LOGITS])


def _onnx(module: nn.Module, size: int, outputs: list[str]) -> bytes:
    """A module of images float32 (batch, 3, size, size) as an ONNX file, for any batch."""
    with (
        tempfile.TemporaryDirectory() as folder,
        _exporting,
        warnings.catch_warnings(),
        torch.inference_mode(False),
        torch.no_grad(),
    ):
        file = Path(folder) / "model.onnx"
        # the newer exporter takes 3 to 11 s for these networks, this one less than 1: a first answer waits for it
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        torch.onnx.export(
            module.eval(),
            (torch.zeros(2, 3, size, size),),
            file,
            input_names=[INPUT],
            output_names=outputs,
            dynamic_axes={name: {0: "batch"} for name in (INPUT, *outputs)},
            opset_version=OPSET,
            dynamo=False,
        )
        return file.read_bytes()
