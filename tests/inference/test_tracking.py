"""Faces followed through frames: one number each, averages over time, and nobody kept for ever."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fer_model import FERModel, FERPipeline
from fer_model.inference import tracking
from fer_model.inference.tracking import Tracker, follow, overlap
from fer_model.labels import EMOTIONS


def moved(photo: Image.Image, right: int) -> Image.Image:
    canvas = Image.new("RGB", photo.size, "grey")
    canvas.paste(photo, (right, 0))
    return canvas


def numbers(tracker: Tracker) -> list[int]:
    return [followed.number for followed in tracker.visible()]


def test_faces_keep_their_numbers_while_they_move(pipeline, photo):
    tracker = Tracker()
    for frame in range(6):
        tracker = follow(tracker, pipeline, moved(photo, 8 * frame), frame / 10)
        assert numbers(tracker) == [1, 2]
    assert tracker.count == 2


def test_boxes_follow_in_pixels_of_the_frame(pipeline, photo):
    tracker = Tracker()
    for frame in range(6):
        tracker = follow(tracker, pipeline, moved(photo, 8 * frame), frame / 10)
    (first, _) = pipeline(moved(photo, 40)).faces
    assert overlap(tracker.faces[0].face.box, first.box) > 0.75


def test_a_face_that_was_hidden_for_a_moment_is_known_again_and_one_that_left_is_forgotten(pipeline, photo):
    empty = Image.new("RGB", photo.size, "grey")
    tracker = follow(Tracker(), pipeline, photo, 0.0)
    hidden = follow(tracker, pipeline, empty, 0.3)
    assert numbers(follow(hidden, pipeline, photo, 0.5)) == [1, 2]
    gone = follow(hidden, pipeline, empty, 0.1 + tracking.FORGET_AFTER)
    assert gone.faces == ()
    assert numbers(follow(gone, pipeline, photo, 2.0)) == [3, 4]


def test_no_face_is_called_visible_in_a_frame_without_one(pipeline, photo):
    tracker = follow(follow(Tracker(), pipeline, photo, 0.0), pipeline, Image.new("RGB", photo.size, "grey"), 0.1)
    assert tracker.visible() == ()
    assert len(tracker.faces) == 2


def test_a_tracker_is_never_changed(pipeline, photo):
    tracker = follow(Tracker(), pipeline, photo, 0.0)
    before = replace(tracker)
    follow(tracker, pipeline, photo, 1.0)
    assert tracker.count == before.count
    assert all(a is b for a, b in zip(tracker.faces, before.faces, strict=True))


def fixed_answers(monkeypatch, pipeline, answers: list[int]) -> None:
    """The pipeline answers class after class, each with certainty."""
    real, left = pipeline.recognise, list(answers)

    def recognise(frame, places, **options):
        certain = dict.fromkeys(EMOTIONS, 0.0) | {EMOTIONS[left.pop(0)]: 1.0}
        return tuple(replace(face, probabilities=certain, unsure=False) for face in real(frame, places, **options))

    monkeypatch.setattr(pipeline, "recognise", recognise)


@pytest.mark.parametrize("rate", [5, 20])
def test_a_new_answer_counts_by_the_time_that_has_passed_whatever_the_frame_rate(pipeline, photo, monkeypatch, rate):
    seconds = tracking.SMOOTHING
    frames = round(seconds * rate)
    fixed_answers(monkeypatch, pipeline, [0] + [2] * frames)
    tracker = follow(Tracker(), pipeline, photo, 0.0)
    for frame in range(1, frames + 1):
        tracker = follow(tracker, pipeline, photo, seconds * frame / frames)
    shares = tracker.faces[0].face.probabilities
    assert shares["happiness"] == pytest.approx(np.exp(-1), abs=1e-6)
    assert sum(shares.values()) == pytest.approx(1)
    assert tracker.faces[0].face.label == "sadness"


def test_between_two_answers_the_average_is_unsure(pipeline, photo, monkeypatch):
    pipeline.model.set_calibration(temperature=1.0, unsure_below=0.6)
    fixed_answers(monkeypatch, pipeline, [0, 2])
    tracker = follow(Tracker(), pipeline, photo, 0.0)
    assert not tracker.faces[0].face.unsure
    halfway = tracking.SMOOTHING * np.log(2)
    assert follow(tracker, pipeline, photo, halfway).faces[0].face.unsure
    pipeline.model.set_calibration(temperature=1.0, unsure_below=0.5)


def test_all_seven_classes_are_averaged_where_the_model_has_seven(photo):
    pipeline = FERPipeline(FERModel(version="v1", seed=0, classes=7), device="cpu")
    first = follow(Tracker(), pipeline, photo, 0.0)
    probabilities = follow(first, pipeline, photo, 0.1).faces[0].face.probabilities
    assert tuple(probabilities) == (*EMOTIONS, "neutral")
    assert probabilities == pytest.approx(first.faces[0].face.probabilities, abs=1e-6)


def test_a_crowd_is_cut_to_the_largest_faces(pipeline, photo, monkeypatch):
    monkeypatch.setattr(tracking, "MOST_FACES", 1)
    tracker = follow(Tracker(), pipeline, photo, 0.0)
    assert len(tracker.faces) == 1
    assert overlap(tracker.faces[0].face.box, pipeline(photo).faces[0].box) > 0.6


def test_overlap_is_intersection_over_union():
    assert overlap((0, 0, 2, 2), (0, 0, 2, 2)) == 1
    assert overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 2, 2), (2, 0, 4, 2)) == 0
