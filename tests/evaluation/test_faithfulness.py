"""Tests of heat maps: the measures tell a good map from a bad one, and what is shown passes them."""

import numpy as np
import pytest
import torch
from PIL import Image

from fer_model.evaluation import faithfulness
from fer_model.evaluation.faithfulness import BLOB, RANDOM, areas
from fer_model.inference.pipeline import FERPipeline
from fer_model.model.gradcam import shown_method
from fer_model.model.network import FERModel
from helpers import EXAMPLES, ROOT


class CornerModel(torch.nn.Module):
    """Goes by the upper left quarter of a face alone: the brighter, the surer of class 1."""

    input_size = 48

    def forward(self, images):
        light = images[:, 0, :24, :24].mean(dim=(1, 2))
        return torch.stack((torch.zeros_like(light), 6 * light), dim=1)

    def probabilities(self, logits):
        return logits.softmax(dim=1)


@pytest.fixture(scope="module")
def face() -> torch.Tensor:
    """Bright spots on black, which a blur darkens."""
    face = torch.zeros(1, 1, 48, 48, dtype=torch.uint8)
    face[..., ::4, ::4] = 255
    face[..., :24, :24] = 255
    return face


def test_a_map_of_what_the_network_goes_by_has_a_higher_insertion_and_a_lower_deletion(face):
    right, wrong = torch.zeros(48, 48), torch.zeros(48, 48)
    right[:24, :24], wrong[24:, 24:] = 1, 1
    good, bad = (areas(CornerModel(), face, torch.tensor([1]), heat) for heat in (right, wrong))
    assert good[0] > bad[0]
    assert good[1] < bad[1]


def test_the_areas_of_a_map_that_marks_nothing_lie_between_none_and_all(face):
    insertion, deletion = areas(CornerModel(), face, torch.tensor([1]), torch.zeros(48, 48))
    assert 0 < deletion < 1
    assert 0 < insertion < 1


def test_blur_leaves_the_mean_and_little_of_the_detail(face):
    soft = faithfulness.blurred(face)
    assert soft.shape == face.shape
    assert soft[..., 24:, 24:].std() < face[..., 24:, 24:].float().std() / 4


def test_evidence_outside_the_face_and_in_the_corners_is_counted():
    corner, middle = torch.zeros(48, 48), torch.zeros(48, 48)
    corner[:5, :5], middle[20:28, 20:28] = 1, 1
    assert faithfulness._places(corner) == {"outside_the_face": 1.0, "in_corners": 1.0}
    assert faithfulness._places(middle) == {"outside_the_face": 0.0, "in_corners": 0.0}


@pytest.fixture(scope="module")
def smiles() -> torch.Tensor:
    """Public-domain faces as the network sees them, each also mirrored and a little shifted."""
    pipeline = FERPipeline.from_pretrained(ROOT / "results" / "v3" / "models", device="cpu")
    photos = [Image.open(EXAMPLES / name).convert("RGB") for name in ("astronaut.jpg", "two_faces.jpg")]
    found = [face.pixels for photo in photos for face in pipeline(photo, heat_maps=False).faces]
    faces = torch.from_numpy(np.stack(found))[:, None]
    return torch.cat([faces, faces.flip(-1), faces.roll(2, dims=-1), faces.roll(-2, dims=-2)])


def test_the_map_that_is_shown_of_v3_beats_both_baselines(smiles):
    model = FERModel.from_pretrained(ROOT / "results" / "v3" / "models")
    candidates = faithfulness._candidates()
    means = {}
    for name in (str(shown_method(model)), RANDOM, BLOB):
        found = [
            areas(model, face[None], label := torch.tensor([0]), candidates[name](model, face[None], label))
            for face in smiles
        ]
        means[name] = np.mean(found, axis=0)
    shown, *baselines = means.values()
    assert all(shown[0] > other[0] and shown[1] < other[1] for other in baselines), means
