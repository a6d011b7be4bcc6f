"""A video in, the same video with its faces boxed and named out. One frame is in memory at a time."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from fer_model.errors import ImageError
from fer_model.inference import video
from fer_model.inference.detector import whole_pixels
from fer_model.inference.drawing import draw_followed
from fer_model.inference.tracking import Followed, Tracker

LARGEST_SIDE = 1280
"""Pixels. Frames of a larger video are shrunk to this as they are read."""

Follow = Callable[[Tracker, Image.Image, float], Tracker]
"""The tracker after one more frame, given the frame and its time in seconds."""

_TICK = Fraction(1, 90_000)  # of a second; in it the usual rates have whole numbers, 29.97 too


def annotate(
    file: Path,
    output: Path,
    follow: Follow,
    *,
    every: float = 0.1,
    at_most: float = float("inf"),
    patience: float = float("inf"),
) -> Iterator[tuple[float, tuple[Followed, ...]]]:
    """Write the video with boxes to `output` (H.264 in MP4, no sound), and yield who is seen when.

    Args:
        every: mean seconds from one search for faces to the next; in between boxes stay where they are.
        at_most: seconds of the video, from its start; the rest is left out.
        patience: seconds that the work may take.

    Yields:
        For each frame that was searched its time in seconds and its faces, with boxes in pixels of the video. The
        file is whole only after the last of them.

    Raises:
        ImageError: the video cannot be read, it has no frame before `at_most`, or `patience` is over.
    """
    tracker, due, end, searched = Tracker(), 0.0, time.monotonic() + patience, None
    with _writing(output, video.header(file)[0]) as write:
        for seconds, pixels in video.frames(file, 0):
            if seconds >= at_most:
                if searched is None:
                    raise ImageError(f"{file.name} shows nothing in its first {at_most:.0f} seconds.")
                break
            if time.monotonic() > end:
                raise ImageError(f"This video takes longer than {patience / 60:.0f} minutes; give a smaller one.")
            frame = _shrunk(pixels)
            searched = seconds >= due - 1e-9
            if searched:
                tracker = follow(tracker, frame, seconds)
                due = max(due + every, seconds)
            write(draw_followed(frame, tracker.visible()), seconds)
            if searched:
                height, width = pixels.shape[:2]
                scale = (width / frame.width, height / frame.height)
                yield seconds, tuple(_in_video(followed, scale) for followed in tracker.visible())


def _shrunk(frame: np.ndarray) -> Image.Image:
    """The frame at its size in the output, whose sides must be even."""
    scale = min(LARGEST_SIDE / max(frame.shape[:2]), 1.0)
    height, width = (max(2, 2 * round(side * scale / 2)) for side in frame.shape[:2])
    image = Image.fromarray(frame)
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BILINEAR)


def _in_video(followed: Followed, scale: tuple[float, float]) -> Followed:
    box = whole_pixels(side * ratio for side, ratio in zip(followed.face.box, 2 * scale, strict=True))
    return replace(followed, face=replace(followed.face, box=box))


@contextmanager
def _writing(output: Path, rate: float) -> Iterator[Callable[[Image.Image, float], None]]:
    """A function that appends an RGB frame at its time in seconds. The first frame sets the size.

    Args:
        rate: frames a second. Every frame brings its own time, so only the last one's duration comes from it.
    """
    with av.open(str(output), "w", format="mp4", options={"movflags": "faststart"}) as container:
        rate = rate if 1 <= rate <= 240 else 25.0  # browsers say 1000
        stream = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1001))
        stream.codec_context.time_base = _TICK
        stream.pix_fmt = "yuv420p"  # what every browser and phone plays
        stream.options = {"preset": "veryfast", "crf": "23"}
        # the demo's server has other visitors too
        stream.thread_count = 1

        def write(image: Image.Image, seconds: float) -> None:
            if not stream.codec_context.is_open:
                stream.width, stream.height = image.size
            frame = av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")
            frame.pts, frame.time_base = round(seconds / _TICK), _TICK
            container.mux(stream.encode(frame))

        yield write
        container.mux(stream.encode(None))
