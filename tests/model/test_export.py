"""Exported files, run in ONNX Runtime, give what PyTorch gives."""

import json

import numpy as np
import pytest
import torch

from fer_model.__main__ import main
from fer_model.errors import ModelError
from fer_model.model import export
from fer_model.model.engine import has_onnx_runtime
from fer_model.model.gradcam import explain
from fer_model.model.network import FERModel
from fer_model.model.preprocess import preprocess
from helpers import ROOT
from helpers.synthetic import draw_faces

pytestmark = pytest.mark.skipif(not has_onnx_runtime(), reason="onnx and onnxruntime are not installed")

RUN = ROOT / "results" / "v3"


@pytest.fixture(scope="module")
def model() -> FERModel:
    return FERModel.from_pretrained(RUN / "models")


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return preprocess(torch.tensor(np.stack([pixels for _, pixels in draw_faces(2)]))[:, None], 48)


def answers(content, images: torch.Tensor) -> dict[str, np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"images": images.numpy()}), strict=True))


def test_the_command_writes_a_file_that_answers_as_pytorch_does(model, images, tmp_path):
    import onnx

    file = tmp_path / "new" / "model.onnx"
    main(["export", str(RUN), "--heat-maps", "--output", str(file)])
    logits, maps = explain(model, images)
    for batch in (images, images[:1]):
        found = answers(file, batch)
        assert set(found) == {"probabilities", "maps"}
        np.testing.assert_allclose(found["probabilities"], model.probabilities(logits)[: len(batch)], atol=1e-4)
        np.testing.assert_allclose(found["maps"], maps[: len(batch)], atol=1e-3)
    properties = {entry.key: json.loads(entry.value) for entry in onnx.load(file).metadata_props}
    assert list(properties["id2label"].values()) == list(model.class_names)
    assert properties["unsure_below"] == model.unsure_below


@pytest.mark.slow
def test_rounded_files_are_smaller_and_nearly_answer_the_same(model, images):
    full = export.for_use(model, heat_maps=False)
    half, int8 = export.half(full), export.int8(full, images)
    assert len(half) < 0.55 * len(full)
    assert len(int8) < 0.35 * len(full)
    expected = model.probabilities(model(images)).detach().numpy()
    np.testing.assert_allclose(answers(half, images)["probabilities"], expected, atol=5e-3)
    found = answers(int8, images)["probabilities"]
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert np.abs(found - expected).max() < 0.15


def test_int8_without_a_dataset_says_what_is_missing():
    with pytest.raises(ModelError, match="--dataset"):
        main(["export", str(RUN), "--int8"])
