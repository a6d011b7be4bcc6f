"""The network as an ONNX file, for ONNX Runtime and other tools; needs the packages onnx and onnxruntime.

`python -m fer_model export` writes such files; `engine` runs them inside the pipeline.
"""

import io
import json
import os
import tempfile
import threading
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fer_model.model.folded import Folded
from fer_model.model.network import FERModel
from fer_model.model.preprocess import preprocess
from fer_model.model.pretrained import describe

# ONNX Runtime (1.32) tells Microsoft of each start, unless this is set before it is imported
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

OPSET = 18
RANGE_IMAGES = 200
"""How many images set the range of each layer of an int8 network."""

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
    """What anybody can run: images -> calibrated probabilities, and heat maps (batch, classes, S, S) if asked for.

    The file's metadata hold what `config.json` does, each value as JSON.
    """
    import onnx

    outputs = [PROBABILITIES, MAPS] if heat_maps else [PROBABILITIES]
    file = onnx.load_from_string(_onnx(_Answer(model, heat_maps), model.input_size, outputs))
    config = describe(model.version, model.class_names) | {"unsure_below": model.unsure_below}
    onnx.helper.set_model_props(file, {key: json.dumps(value) for key, value in config.items()})
    return file.SerializeToString()


def for_engine(model: FERModel, heat_maps: bool) -> bytes:
    """What the pipeline runs: images -> logits, and heat maps if asked for."""
    network = Folded(model)
    if heat_maps:
        return _onnx(network, model.input_size, [LOGITS, MAPS])
    return _onnx(_Logits(network), model.input_size, [LOGITS])


def _onnx(module: nn.Module, size: int, outputs: list[str]) -> bytes:
    """A module of images float32 (batch, 3, size, size) as an ONNX file, for any batch."""
    with (
        _exporting,
        warnings.catch_warnings(),
        torch.inference_mode(False),
        torch.no_grad(),
        torch.autocast("cpu", enabled=False),
    ):
        file = io.BytesIO()  # not every machine has a temporary folder
        # the newer exporter takes 3 to 11 s for these networks, this one less than 1: a first answer waits for it
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        torch.onnx.export(
            module.eval(),
            (torch.zeros(2, 3, size, size, dtype=torch.float32, device="cpu"),),
            file,  # type: ignore[arg-type]  # the older exporter writes to memory, too
            input_names=[INPUT],
            output_names=outputs,
            dynamic_axes={name: {0: "batch"} for name in (INPUT, *outputs)},
            opset_version=OPSET,
            dynamo=False,
        )
        return file.getvalue()


def half(content: bytes) -> bytes:
    """The same file with its weights in float16: half the size. It computes in float32, as fast as before.

    ONNX Runtime casts the weights once, when it loads them. No usual processor multiplies float16 any faster.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load_from_string(content)
    casts = []
    for weight in model.graph.initializer:
        if weight.data_type == TensorProto.FLOAT:
            name = weight.name
            rounded = numpy_helper.to_array(weight).astype(np.float16)
            weight.CopyFrom(numpy_helper.from_array(rounded, f"{name}_half"))
            casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model.SerializeToString()


def for_ranges(faces: Tensor, size: int) -> Tensor:
    """`RANGE_IMAGES` stored training faces, uint8 (N, 1, 48, 48), drawn with seed 0, as `int8` takes them."""
    chosen = torch.randperm(len(faces), generator=torch.Generator().manual_seed(0))[:RANGE_IMAGES]
    return preprocess(faces[chosen], size)


def int8(content: bytes, images: Tensor) -> bytes:
    """The same file with int8 convolutions: a quarter of the size.

    Args:
        images: float32 (N, 3, S, S), training images, which say how large the values between the layers become.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.rest = iter(images.split(1))

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self.rest, None)
            return None if image is None else {INPUT: image.numpy()}

    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        before.write_bytes(content)
        quantize_static(
            before,
            after,
            Reader(),
            op_types_to_quantize=["Conv"],
            per_channel=True,
            reduce_range=True,  # weights in 7 bits: sums of 8 overflow on processors without VNNI instructions
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return after.read_bytes()
