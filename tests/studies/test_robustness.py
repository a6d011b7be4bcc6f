"""Tests of changed faces: what each change does, and what is counted."""

import numpy as np
import pytest
import torch

from fer_model.data.dataset import FERData
from fer_model.model.network import FERModel
from fer_model.model.preprocess import preprocess
from fer_model.studies import robustness
from fer_model.studies.robustness import CHANGES
from helpers.synthetic import draw_faces

BY_NAME = {change.name: change for change in CHANGES}
every_change = pytest.mark.parametrize("change", CHANGES, ids=BY_NAME)


@pytest.fixture(scope="module")
def faces() -> torch.Tensor:
    return torch.from_numpy(np.stack([pixels for _, pixels in draw_faces(per_class=2)]))[:, None]


def size(changed: torch.Tensor, faces: torch.Tensor) -> float:
    return float((changed.float() - faces.float()).abs().mean())


@every_change
def test_the_neutral_amount_changes_nothing(change, faces):
    changed = change.apply(faces, change.neutral)
    assert (changed.dtype, changed.shape) == (torch.uint8, faces.shape)
    if change.name == "JPEG":  # its best quality rounds, too
        assert size(changed, faces) < 1
    else:
        assert torch.equal(changed, faces)


@every_change
def test_a_stronger_change_changes_more_and_leaves_its_input_alone(change, faces):
    before = faces.clone()
    sizes = [size(change.apply(faces, amount), before) for amount in (change.neutral, *change.amounts)]
    assert sizes == sorted(set(sizes))
    assert torch.equal(faces, before)


@every_change
def test_a_change_is_the_same_at_every_call(change, faces):
    torch.manual_seed(1)
    first = change.apply(faces, change.amounts[-1])
    torch.manual_seed(2)
    assert torch.equal(change.apply(faces, change.amounts[-1]), first)


def test_noise_is_another_one_with_another_seed(faces):
    assert not torch.equal(robustness._noise(faces, 20, seed=0), robustness._noise(faces, 20, seed=1))


def test_rotation_and_shift_go_all_ways():
    faces = torch.zeros(4, 1, 48, 48, dtype=torch.uint8)
    faces[..., 20:28, 20:28] = 200
    rows, columns = (where.float() for where in torch.meshgrid(torch.arange(48), torch.arange(48), indexing="ij"))
    shifted = BY_NAME["shift"].apply(faces, 0.25)[:, 0].float()
    places = [(float((face * rows).sum() / face.sum()), float((face * columns).sum() / face.sum())) for face in shifted]
    assert places == [(23.5, 35.5), (23.5, 11.5), (35.5, 23.5), (11.5, 23.5)]
    turned = BY_NAME["rotation"].apply(faces[:2].roll(12, dims=-1), 90)[:, 0].float()
    below, above = (float((face * rows).sum() / face.sum()) for face in turned)
    assert (round(below, 1), round(above, 1)) == (35.5, 11.5)  # the spot on the right goes down, clockwise, then up


def test_a_looser_crop_shows_the_face_smaller_and_repeats_the_edge():
    faces = torch.full((1, 1, 48, 48), 50, dtype=torch.uint8)
    faces[..., 12:36, 12:36] = 200
    looser = BY_NAME["looser crop"].apply(faces, 2.0)
    assert int((looser > 125).sum()) == 12 * 12
    assert int(looser.min()) == 50
    assert int((BY_NAME["tighter crop"].apply(faces, 0.5) > 125).sum()) == 48 * 48


def test_covered_eyes_and_a_covered_mouth_are_different_parts(faces):
    eyes, mouth = (BY_NAME[f"covered {part}"].apply(faces, 12) for part in ("eyes", "mouth"))
    assert torch.equal(eyes[..., 24:, :], faces[..., 24:, :])
    assert torch.equal(mouth[..., :32, :], faces[..., :32, :])
    for band in (eyes[..., 11:23, :], mouth[..., 32:44, :]):
        assert torch.equal(band.amin(dim=(-1, -2)), band.amax(dim=(-1, -2)))


class Brightness(torch.nn.Module):
    """Says class 1 of bright faces, and class 0 of dark ones, with a probability of 0.88."""

    input_size, class_names = 48, ("dark", "bright")

    def forward(self, images):
        light = images[:, 0].mean(dim=(1, 2)) > 0
        return torch.stack((~light, light), dim=1).float() * 2

    def probabilities(self, logits):
        return logits.softmax(dim=1)

    def digest(self):
        return "none"


def test_accuracy_is_lost_where_the_answer_hangs_on_what_is_changed():
    images = torch.full((40, 1, 48, 48), 40, dtype=torch.uint8)
    images[20:] = 150
    labels = torch.arange(40) // 20
    found = robustness.measure_version(Brightness(), FERData(images, labels), 20)
    assert (found["images"], found["unchanged"]["accuracy"]["value"]) == (20, 1.0)
    assert found["unchanged"]["ece"] == pytest.approx(0.119, abs=1e-3)  # it is right more often than it says
    darker, mouth = (found["changes"][name]["levels"] for name in ("darker", "covered mouth"))
    assert [row["lost"]["value"] for row in darker] == [0.5] * 5
    low, high = darker[0]["lost"]["ci"]
    assert 0.2 < low < 0.5 < high < 0.8
    assert [row["lost"] for row in mouth] == [{"value": 0.0, "ci": [0.0, 0.0]}] * 5
    assert "darker            50.0; 0.381" in robustness.summary(found)


def test_the_answers_are_those_of_the_network(faces):
    model = FERModel(version="v3", seed=1).eval()
    with torch.no_grad():
        shares = model.probabilities(model(preprocess(faces, model.input_size)))
    correct, confidence = robustness.answers(model, faces, shares.argmax(dim=1))
    assert correct.all()
    assert torch.allclose(torch.from_numpy(confidence), shares.amax(dim=1), atol=1e-5)
