"""Frames of a video with their times, one in memory at a time."""

import cv2
import numpy as np
import pytest

from fer_model.errors import ImageError
from fer_model.inference import video


def test_every_frame_of_a_video_comes_unless_asked_otherwise(video_file):
    assert [seconds for seconds, _ in video.frames(video_file, 0)] == pytest.approx([index / 10 for index in range(20)])


def test_a_video_is_read_as_it_is_asked_for(video_file, monkeypatch):
    """However long it is, one frame is in memory."""
    converted = []
    monkeypatch.setattr(video, "_upright", lambda frame, turn: converted.append(frame.pts))
    frames = video.frames(video_file, 0)
    next(frames)
    next(frames)
    assert len(converted) == 2


def test_the_frames_are_red_green_blue(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "red.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 64))
    writer.write(np.full((64, 64, 3), (0, 0, 255), np.uint8))  # OpenCV's order is blue, green, red
    writer.release()
    frame = next(video.frames(tmp_path / "red.avi", 0))[1]
    assert frame[32, 32, 0] > 200
    assert frame[32, 32, 2] < 60


def test_a_video_of_frames_too_large_to_be_read_is_refused_before_one_is_decoded(video_file, monkeypatch):
    monkeypatch.setattr(video, "MAX_PIXELS", 320 * 320 - 1)
    with pytest.raises(ImageError, match="too large"):
        next(video.frames(video_file, 0))


@pytest.mark.parametrize("every", [0.0, 0.05, 0.1, 0.15, 0.25, 0.3, 0.5, 0.7, 1.9, 2.0, 60.0])
def test_a_video_s_frames_are_counted_as_they_come(video_file, every):
    assert video.count(video_file, every) == len(list(video.frames(video_file, every)))
