"""Frames of a video with their times, one in memory at a time."""

import csv

import av
import cv2
import numpy as np
import pytest

from fer_model.__main__ import main
from fer_model.errors import ImageError
from fer_model.inference import video
from helpers.videos import odd_videos, write_frames


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


def test_frames_that_grow_on_the_way_are_left_out_before_they_take_memory(tmp_path, monkeypatch):
    """A decoder holds up to 16 frames before the first of them comes out."""
    small = write_frames(tmp_path / "small.ts", [index / 10 for index in range(100)], size=(64, 64))
    large = write_frames(tmp_path / "large.ts", [10 + index / 10 for index in range(20)], size=(640, 640))
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    assert {frame.shape for _, frame in video.frames(both, 0)} == {(64, 64, 3), (640, 640, 3)}
    monkeypatch.setattr(video, "MAX_PIXELS", 64 * 64)
    with video._opened(both) as (container, stream):
        assert {frame.width for frame in video._decoded(container, stream, both)} == {64}


def test_odd_videos_are_read_for_what_they_hold(model, tmp_path):
    """Ten hours between two frames, ten hours in the header alone, 8K, and what is HTML or a zip, too."""
    videos = odd_videos(tmp_path)
    main(["predict", *map(str, videos), "--model", str(model), "--csv", str(tmp_path / "out.csv")])
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        rows = [(row["file"], float(row["seconds"])) for row in csv.DictReader(file)]
    assert rows == [(str(path), seconds) for path, times in videos.items() for seconds in times]


@pytest.mark.parametrize("every", [0.0, 0.05, 0.1, 0.15, 0.25, 0.3, 0.5, 0.7, 1.9, 2.0, 60.0])
def test_a_video_s_frames_are_counted_as_they_come(video_file, every):
    assert video.count(video_file, every) == len(list(video.frames(video_file, every)))


def written(path, codec: str = "mpeg4", change=lambda stream: None):
    """Three frames whose upper left quarter is red."""
    frame = np.zeros((64, 96, 3), np.uint8)
    frame[:32, :48] = (255, 0, 0)
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        change(stream)
        for _ in range(3):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("degrees", "mirrored", "size", "red"),
    [
        (0, False, (64, 96), (5, 5)),
        (90, False, (96, 64), (-5, 5)),
        (180, False, (64, 96), (-5, -5)),
        (270, False, (96, 64), (5, -5)),
        (0, True, (64, 96), (5, -5)),
        (90, True, (96, 64), (-5, -5)),
    ],
)
def test_frames_are_turned_and_mirrored_as_the_phone_says(tmp_path, degrees, mirrored, size, red):
    if not hasattr(av.VideoStream, "set_display_rotation"):
        pytest.skip("PyAV writes rotated videos from 18 on; it reads them from 15 on")
    file = written(tmp_path / "a.mp4", change=lambda stream: stream.set_display_rotation(degrees, mirrored))
    for _, frame in video.frames(file, 0):
        assert frame.shape[:2] == size
        assert [(y, x) for y in (5, -5) for x in (5, -5) if frame[y, x, 0] > 128] == [red]


@pytest.mark.parametrize("codec", ["libsvtav1", "libx264", "libvpx-vp9", "mpeg4"])
def test_whatever_pyav_reads_is_read_under_any_name(tmp_path, codec):
    file = written(tmp_path / "a.mkv", codec).rename(tmp_path / "no%03d name\udcff.jpg")
    assert video.is_video(file)
    assert len(list(video.frames(file, 0))) == video.count(file, 0) == 3


def test_a_list_that_names_other_files_is_no_video(tmp_path):
    inside = written(tmp_path / "a.ts")
    for name, text in {
        "a.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{inside}\n#EXT-X-ENDLIST\n",
        "a.txt": f"ffconcat version 1.0\nfile {inside}\n",
    }.items():
        (tmp_path / name).write_text(text)
        assert not video.is_video(tmp_path / name)


def test_a_damaged_part_of_a_video_does_not_end_it(tmp_path):
    content = bytearray(written(tmp_path / "a.avi").read_bytes())
    at = content.index(b"00dc") + 8
    content[at : at + 20] = b"\xff" * 20
    (tmp_path / "a.avi").write_bytes(content)
    assert 1 <= len(list(video.frames(tmp_path / "a.avi", 0))) <= 3


@pytest.mark.parametrize("every", [-1, float("nan"), float("inf")])
def test_a_time_between_frames_that_is_none_is_refused(video_file, every):
    with pytest.raises(ValueError, match="every"):
        next(video.frames(video_file, every))
