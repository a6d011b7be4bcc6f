"""Temperature, threshold and views: fitted where they should be, and applied wherever probabilities are shown."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms.functional import ten_crop

from fer_model.errors import ModelError
from fer_model.evaluation.metrics import calibration_error, coverage_curve
from fer_model.inference.pipeline import FERPipeline
from fer_model.model import tta
from fer_model.model.calibration import TEMPERATURES, Opinions, calibrate, fit_temperature, unsure_threshold
from fer_model.model.network import FERModel
from fer_model.model.preprocess import preprocess
from helpers.synthetic import draw_faces


def sampled(temperature: float, count: int = 20_000) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are `temperature` times too large, and labels drawn from the true probabilities."""
    generator = torch.Generator().manual_seed(0)
    true = 2 * torch.randn(count, 6, generator=generator)
    return true * temperature, torch.multinomial(true.softmax(dim=1), 1, generator=generator)[:, 0]


@pytest.mark.parametrize("true", [0.4, 1.0, 2.5])
def test_the_temperature_undoes_over_and_underconfidence(true):
    logits, labels = sampled(true)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(true, rel=0.03)
    for other in (found * 0.9, found * 1.1):
        assert F.cross_entropy(logits / found, labels) < F.cross_entropy(logits / other, labels)
    confidence, predicted = (logits / found).softmax(dim=1).max(dim=1)
    assert calibration_error(confidence.numpy(), (predicted == labels).numpy()) < 0.02


def test_the_temperature_of_a_network_that_learned_nothing_changes_no_answer():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(60, 6, generator=generator)
    labels = logits.argmin(dim=1)  # worse than chance: the best temperature would be infinite
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(TEMPERATURES[1])
    assert torch.equal((logits / temperature).softmax(dim=1).argmax(dim=1), logits.argmax(dim=1))
    assert fit_temperature(logits * 1e-3, logits.argmax(dim=1)) == pytest.approx(TEMPERATURES[0])


def test_the_threshold_withholds_what_would_more_often_be_wrong():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.2, 1.0, 50_000)
    correct = rng.uniform(size=50_000) < confidence  # calibrated, so a half it must be
    assert unsure_threshold(confidence, correct) == pytest.approx(0.5, abs=0.05)
    shy = rng.uniform(size=50_000) < np.clip(confidence + 0.2, 0, 1)
    assert unsure_threshold(confidence, shy) == pytest.approx(0.3, abs=0.05)


def test_the_threshold_at_its_ends():
    assert unsure_threshold(np.array([0.9, 0.4]), np.array([True, True])) < 0.4
    assert unsure_threshold(np.array([0.9, 0.4]), np.array([False, False])) == 1.0
    # no threshold gives one of two equals and withholds the other
    assert unsure_threshold(np.array([0.9, 0.9]), np.array([True, False])) == 1.0
    assert 0.5 < unsure_threshold(np.array([0.9, 0.9, 0.9, 0.5]), np.array([True, False, True, False])) < 0.9


def test_the_curve_falls_in_coverage_and_begins_with_every_answer():
    confidence = np.array([0.3, 0.5, 0.7, 0.9])
    curve = coverage_curve(confidence, np.array([False, True, False, True]), steps=10)
    assert curve[0] == {"threshold": 0.0, "coverage": 1.0, "accuracy": 0.5}
    assert curve[-1] == {"threshold": pytest.approx(0.9), "coverage": 0.25, "accuracy": 1.0}
    assert all(a["coverage"] >= b["coverage"] for a, b in zip(curve, curve[1:], strict=False))


def test_calibration_travels_with_the_model(tmp_path):
    model = FERModel(version="v1", seed=1)
    plain = model.digest()
    calibrate(model, *sampled(2.5))
    model.save_pretrained(tmp_path)
    loaded = FERModel.from_pretrained(tmp_path)
    assert loaded.temperature == model.temperature == pytest.approx(2.5, rel=0.03)
    assert loaded.unsure_below == model.unsure_below
    assert loaded.digest() == model.digest() != plain
    logits = torch.randn(3, 6)
    torch.testing.assert_close(loaded.probabilities(logits), (logits / loaded.temperature).softmax(dim=1))


def test_a_model_that_learned_from_votes_is_unsure_where_people_disagree_and_tells_their_shares(tmp_path):
    logits, labels = sampled(2.0)
    shares = (logits.double() / 0.5).softmax(dim=1).float()
    disputed = (logits / 2).softmax(dim=1).max(dim=1).values < 0.7
    model, plain = FERModel(version="v1", seed=1), FERModel(version="v1", seed=1)
    calibrate(plain, logits, labels)
    calibrate(model, logits, labels, Opinions(shares, torch.where(disputed, -1, labels)))
    assert model.temperature == plain.temperature
    assert plain.unsure_below < 0.6
    assert model.unsure_below == pytest.approx(0.7, abs=0.01)  # below it nobody agrees with anybody
    assert model.crowd_temperature == pytest.approx(0.5, rel=1e-3)
    assert model.digest() != plain.digest()
    assert plain.crowd_shares(logits) is None
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(FERModel.from_pretrained(tmp_path).crowd_shares(logits), shares, atol=1e-4, rtol=1e-3)
    assert model.for_release().crowd_temperature == model.crowd_temperature


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("temperature", 0),
        ("temperature", "1"),
        ("unsure_below", 1.5),
        ("unsure_below", True),
        ("crowd_temperature", -1),
    ],
)
def test_a_calibration_that_makes_no_sense_is_refused(tmp_path, key, value):
    FERModel(version="v1").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(ModelError, match=key):
        FERModel.from_pretrained(tmp_path)


def test_models_from_before_calibration_still_load(tmp_path):
    FERModel(version="v1").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["temperature"], config["unsure_below"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = FERModel.from_pretrained(tmp_path)
    assert (model.temperature, model.unsure_below) == (1.0, 0.5)


def test_the_pipeline_uses_temperature_threshold_and_views():
    model = FERModel(version="v1", seed=2)
    face = draw_faces(1)[0][1]
    before = FERPipeline(model)(face, whole_picture=True).faces[0]
    model.set_calibration(temperature=0.05, unsure_below=0.0)
    after = FERPipeline(model)(face, whole_picture=True).faces[0]
    assert after.label == before.label
    assert after.probabilities[after.label] > before.probabilities[before.label]
    assert before.unsure
    assert not after.unsure
    flipped = FERPipeline(model, views="flip")
    mirror = np.ascontiguousarray(face[:, ::-1])
    answers = [flipped(picture, whole_picture=True).faces[0].probabilities for picture in (face, mirror)]
    assert answers[0] == pytest.approx(answers[1], abs=1e-5), "a face and its mirror image get the same answer"
    with pytest.raises(ValueError, match="ten-crop"):
        FERPipeline(model, views="all")


def test_the_ten_crops_are_torchvisions():
    faces = torch.randint(0, 256, (3, 1, 48, 48), dtype=torch.uint8)
    ours = tta.views(faces, "ten-crop")
    assert len(ours) == tta.VIEWS["ten-crop"] == 10
    key = lambda crop: crop.numpy().tobytes()  # noqa: E731
    assert sorted(map(key, ours)) == sorted(map(key, ten_crop(faces, tta.CROP)))


@pytest.mark.parametrize("kind", tta.VIEWS)
def test_views_are_averaged(kind):
    model = FERModel(version="v1", seed=3).eval()
    faces = torch.randint(0, 256, (2, 1, 48, 48), dtype=torch.uint8)
    with torch.no_grad():
        found = tta.logits_over_views(model, faces, 64, kind)
        parts = [model(preprocess(view, 64)) for view in tta.views(faces, kind)]
    torch.testing.assert_close(found, sum(parts) / len(parts))
    if kind == "plain":
        assert torch.equal(found, parts[0])
