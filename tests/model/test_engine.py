"""Folded networks and ONNX Runtime give what the network and autograd give, on drawn faces."""

import multiprocessing
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from fer_model.model.engine import Engine, has_onnx_runtime
from fer_model.model.folded import Folded
from fer_model.model.gradcam import LAYERS, WEIGHTINGS, Method, explain
from fer_model.model.network import FERModel
from fer_model.model.preprocess import preprocess
from helpers import ROOT
from helpers.synthetic import draw_faces

TOLERANCE = 1e-3
"""Of logits and of heat maps in [0, 1]. What is measured is 1e-5."""

needs_onnx = pytest.mark.skipif(not has_onnx_runtime(), reason="onnx and onnxruntime are not installed")


@pytest.fixture(scope="module", params=["v1", "v2", "v3", "v3-7"])
def model(request) -> FERModel:
    return FERModel.from_pretrained(ROOT / "results" / request.param / "models")


def faces(model: FERModel, count: int = 3) -> torch.Tensor:
    """Drawn faces, and a grey image, whose neighbouring values are equal in every layer."""
    drawn = [pixels for _, pixels in draw_faces(1)[:count]] + [np.full((48, 48), 128, np.uint8)]
    return preprocess(torch.tensor(np.stack(drawn))[:, None], model.input_size)


def assert_alike(ours: tuple, theirs: tuple) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        assert torch.allclose(one, other, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(("layer", "weighting"), zip(LAYERS, [*WEIGHTINGS, "positive"], strict=True))
def test_every_layer_and_weighting_need_no_autograd(layer, weighting):
    model = FERModel.from_pretrained(ROOT / "results" / "v3" / "models")
    method, images, before = Method(layer, weighting), faces(model, 2), model.digest()
    assert_alike(Folded(model, method)(images), explain(model, images, method))
    assert model.digest() == before


@pytest.mark.parametrize("onnx_runtime", [False, pytest.param(True, marks=needs_onnx)])
def test_an_engine_answers_as_the_network_does(model, onnx_runtime):
    engine = Engine(model, onnx_runtime)
    images = faces(model)
    logits, maps = explain(model, images)
    assert maps.amax(dim=(2, 3)).min() == 1, "an empty map shows nothing"
    assert_alike(engine.explain(images), (logits, maps))
    assert_alike((engine(images),), (logits,))
    assert_alike(engine.explain(images[1:2]), (logits[1:2], maps[1:2]))  # another batch, in the same session


@needs_onnx
def test_many_faces_have_the_same_maps(monkeypatch):
    model = FERModel.from_pretrained(ROOT / "results" / "v3" / "models")
    engine, images = Engine(model, True), faces(model, 1)
    few = engine.explain(images)
    monkeypatch.setattr("fer_model.model.engine.MANY", 2)
    monkeypatch.setattr(engine, "_sessions", {})
    assert_alike(engine.explain(images), few)


def test_without_onnx_runtime_pytorch_answers(monkeypatch):
    monkeypatch.setattr("fer_model.model.engine.find_spec", lambda name: None)
    engine = Engine(FERModel(version="v1").eval())
    assert not engine.onnx_runtime
    assert engine.explain(torch.zeros(1, 3, 64, 64))[1].shape == (1, 6, 64, 64)


@needs_onnx
def test_a_forked_process_answers_too():
    model = FERModel(version="v1").eval()
    engine, images = Engine(model, True), faces(model, 1)
    expected = engine(images)  # the session is loaded before the fork
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=lambda: sender.send(engine(images).tolist()))
    process.start()
    assert receiver.poll(60), "the forked process waits for threads that it does not have"
    assert receiver.recv() == expected.tolist()
    process.join()


@needs_onnx
def test_onnx_runtime_tells_nobody_that_it_runs(tmp_path):
    # before it sends anything it writes a session's number into this folder
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    code = "from fer_model import FERPipeline, FERModel; FERPipeline(FERModel('v1', seed=0))(sys.argv[1])"
    command = [sys.executable, "-c", f"import sys; {code}", str(ROOT / "examples" / "two_faces.jpg")]
    subprocess.run(command, env=environment | {"TMPDIR": str(tmp_path)}, cwd=ROOT, check=True, timeout=120)
    assert not list(tmp_path.iterdir())
