"""Tests of heat maps: the measures tell a good map from a bad one, and what is shown passes them."""

import numpy as np
import pytest
import torch
from PIL import Image

from fer_model.data.splits import validation_images
from fer_model.inference.pipeline import FERPipeline
from fer_model.model.gradcam import GRAD_CAM, SHOWN, TESTED, Method, shown_method
from fer_model.model.network import FERModel
from fer_model.runs import Run, read_json
from fer_model.studies import faithfulness
from fer_model.studies.faithfulness import BASELINES, areas
from helpers import EXAMPLES, ROOT
from helpers.loaded import load


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


def test_a_lead_is_over_the_stronger_baseline_and_positive_where_it_is_better():
    rows, weak, strong = (
        [{"insertion": insertion, "deletion": deletion}] * 3
        for insertion, deletion in ((0.7, 0.3), (0.2, 0.9), (0.6, 0.2))
    )
    lead = faithfulness._lead(rows, [weak, strong])
    assert lead["insertion"]["value"] == pytest.approx(0.1)
    assert lead["deletion"]["value"] == pytest.approx(-0.1)


def test_the_versions_whose_maps_are_called_tested_are_those_that_passed():
    found = read_json(ROOT / "results" / "faithfulness.json")
    passed = [name for name, part in found.items() if part["test"]["methods"][part["shown"]]["beats_baselines"]]
    assert sorted(passed) == sorted(TESTED)
    assert all(part["shown"] == str(SHOWN.get(name, GRAD_CAM)) for name, part in found.items())


@pytest.fixture(scope="module")
def v3() -> FERModel:
    return FERModel.from_pretrained(ROOT / "results" / "v3" / "models")


@pytest.fixture(scope="module")
def smiles(v3) -> torch.Tensor:
    """Three public-domain smiles, each moved to the four corners: a blob in the centre is right by chance otherwise."""
    photos = [Image.open(EXAMPLES / name).convert("RGB") for name in ("astronaut.jpg", "two_faces.jpg")]
    found = [face.pixels for photo in photos for face in FERPipeline(v3)(photo, heat_maps=False).faces]
    wide = torch.nn.functional.pad(torch.from_numpy(np.stack(found))[:, None].float(), (9, 9, 9, 9), mode="replicate")
    return torch.cat([wide[..., y : y + 48, x : x + 48] for y in (0, 18) for x in (0, 18)]).to(torch.uint8)


def that_beat_both_baselines(model: FERModel, faces: torch.Tensor, labels: torch.Tensor) -> set[Method]:
    """Of the shown method and Grad-CAM those with a higher insertion and a lower deletion than both baselines."""
    methods, found = {shown_method(model), GRAD_CAM}, {}
    for name in (*map(str, methods), *BASELINES):
        make, pairs = faithfulness._candidates()[name], zip(faces.split(1), labels.split(1), strict=True)
        found[name] = np.mean([areas(model, *pair, make(model, *pair)) for pair in pairs], axis=0)

    def better(method: Method, baseline: str) -> bool:
        (insertion, deletion), (least, most) = found[str(method)], found[baseline]
        return insertion > least and deletion < most

    return {method for method in methods if all(better(method, baseline) for baseline in BASELINES)}


@pytest.mark.slow
def test_the_map_that_is_shown_of_v3_beats_both_baselines_and_grad_cam_does_not(v3, smiles):
    happiness = torch.zeros(len(smiles), dtype=torch.long)
    assert that_beat_both_baselines(v3, smiles, happiness) == {shown_method(v3)}


@pytest.mark.slow
def test_so_it_is_on_real_validation_images(v3, fer_dataset):
    faces = validation_images(Run(ROOT / "results" / "v3").history()["run"], load(fer_dataset, "train"))
    chosen = faces.subset(torch.tensor(faithfulness._recognised(v3, faces, 20)))
    assert that_beat_both_baselines(v3, chosen.images, chosen.labels) == {shown_method(v3)}
