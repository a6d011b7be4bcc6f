"""scripts/crops.py: its pictures hold the face, and its crops are the pipeline's at another margin."""

import runpy

import numpy as np
import pytest
import torch
from PIL import Image

from fer_model.inference.crop import CROP_MARGIN, crop_face
from fer_model.inference.detector import Detection
from fer_model.model.preprocess import to_face
from helpers import ROOT


@pytest.fixture(scope="module")
def script() -> dict:
    return runpy.run_path(str(ROOT / "scripts" / "crops.py"))


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8))


TILTED = Detection((120, 80, 200, 180), 0.9, ((140.0, 110.0), (180.0, 130.0)))


@pytest.mark.parametrize("level", (True, False))
def test_at_the_pipelines_margin_the_crop_is_the_pipelines(script, photo, level):
    ours = script["crop"](photo, TILTED, CROP_MARGIN, level)
    assert np.array_equal(ours, crop_face(photo, TILTED.box, TILTED.tilt if level else 0.0))


@pytest.mark.parametrize("margin", (0.9, 1.0, 1.25, 1.4))
def test_the_side_of_a_crop_is_the_margin_times_the_longer_side_of_the_box(script, photo, margin):
    cut = script["crop"](photo, TILTED, margin, False)
    assert cut.size == pytest.approx((100 * margin, 100 * margin), abs=2)  # sides of boxes are whole pixels


def test_a_picture_holds_the_face_in_its_middle_and_turns_it_clockwise(script):
    face = torch.full((1, 48, 48), 60, dtype=torch.uint8)
    face[:, 20:28, 40:48] = 220  # a spot at the right edge
    upright = script["picture"](face, 0)
    assert upright.size == (384, 384)
    middle = to_face(upright.crop((96, 96, 288, 288))).float()
    assert (middle - face).abs().mean() < 4  # it was enlarged and shrunk
    turned = np.asarray(script["picture"](face, 90).convert("L"))
    assert turned[280, 192] > 200  # below the centre
    assert turned[104, 192] < 80
