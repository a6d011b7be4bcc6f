"""Wrong and sure is the worst answer: what lies is turned upright, and what is no face is doubted."""

import numpy as np
import pytest
from PIL import Image

from fer_model import FERModel, FERPipeline
from fer_model.inference import pipeline as module
from fer_model.inference.guards import look
from fer_model.inference.pipeline import LYING, NOT_SEEN
from fer_model.inference.tracking import Tracker, follow
from helpers import EXAMPLES

ASTRONAUT = Image.open(EXAMPLES / "astronaut.jpg").convert("RGB")
HEAD = ASTRONAUT.crop((150, 30, 300, 180)).resize((96, 96))  # as a small image, taken as a face crop


def likeness(a: Image.Image, b: Image.Image) -> float:
    grey = [np.asarray(image.convert("L").resize((48, 48)), dtype=float).flatten() for image in (a, b)]
    return float(np.corrcoef(*grey)[0, 1])


@pytest.mark.parametrize("degrees", [90, 135, 180, 225, 250])
def test_a_face_that_lies_in_a_photo_is_cut_out_upright(pipeline, degrees):
    upright = pipeline(ASTRONAUT, heat_maps=False).faces[0]
    turned = ASTRONAUT.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=(128, 128, 128))
    (face, *_) = pipeline(turned, heat_maps=False).faces
    assert abs((face.tilt + degrees + 180) % 360 - 180) < 30
    assert not face.doubt
    lying = turned.crop(face.box).resize((96, 96))
    assert likeness(face.crop, upright.crop) > likeness(lying, upright.crop) + 0.1


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_face_crop_that_lies_is_turned_by_right_angles(pipeline, degrees):
    (face,) = pipeline(HEAD.rotate(degrees), heat_maps=False).faces
    assert np.array_equal(np.asarray(face.crop), np.asarray(HEAD))
    assert face.tilt % 360 == 360 - degrees
    (again,) = pipeline.recognise(HEAD.rotate(degrees), [face.place], heat_maps=False)
    assert again.probabilities == pytest.approx(face.probabilities, abs=1e-6)


def test_an_upright_face_is_answered_as_without_the_second_look(pipeline, monkeypatch):
    pictures = [ASTRONAUT, HEAD, *(EXAMPLES / f"drawn_{name}.png" for name in ("happiness", "surprise", "anger"))]
    looked = [pipeline(picture, heat_maps=False).faces for picture in pictures]
    monkeypatch.setattr(module, "checked", lambda photo, place, level_eyes: place)
    for picture, faces in zip(pictures, looked, strict=True):
        for face, plain in zip(faces, pipeline(picture, heat_maps=False).faces, strict=True):
            assert (face.probabilities, face.tilt, face.unsure) == (plain.probabilities, plain.tilt, plain.unsure)


def test_what_is_no_face_is_unsure_however_high_the_probability():
    model = FERModel(version="v1", seed=0)
    model.unsure_below = 0.0
    rng = np.random.default_rng(0)
    for pixels in (rng.integers(0, 256, (64, 64, 3)), np.full((32, 32, 3), 200), np.tile(np.arange(48), (48, 1))):
        (face,) = FERPipeline(model, device="cpu")(pixels.astype(np.uint8), heat_maps=False).faces
        assert face.unsure
        assert face.sentence.startswith(f"{NOT_SEEN} The model is unsure: its best guess is ")
    assert not FERPipeline(model, device="cpu")(HEAD, heat_maps=False).faces[0].unsure


def test_a_face_that_lies_and_must_not_be_levelled_is_doubted(pipeline):
    lying = ASTRONAUT.rotate(180)
    (face, *_) = pipeline(lying, level_eyes=False, heat_maps=False).faces
    assert (face.doubt, face.unsure, face.tilt) == (LYING, True, 0.0)


def test_a_doubt_lasts_while_a_face_is_followed(pipeline, monkeypatch):
    monkeypatch.setattr(
        "fer_model.inference.tracking.checked", lambda photo, place: module.replace(place, doubt=NOT_SEEN)
    )
    pipeline.model.unsure_below, before = 0.0, pipeline.model.unsure_below
    tracker = Tracker()
    for seconds in (0.0, 0.1):
        tracker = follow(tracker, pipeline, ASTRONAUT, seconds)
        assert [followed.face.unsure for followed in tracker.faces] == [True]
    pipeline.model.unsure_below = before


@pytest.mark.parametrize("size", [(1, 1), (96, 3), (3, 96)])
def test_any_size_can_be_looked_at(size):
    assert not look(Image.new("RGB", size, "grey")).is_face
