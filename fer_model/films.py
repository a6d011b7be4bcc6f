"""A film in, the same film with its faces boxed and named out, one frame in memory at a time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image

from fer_model.batch import film_frames
from fer_model.drawing import draw_followed
from fer_model.errors import ImageError
from fer_model.tracking import Followed, Tracker

LARGEST_SIDE = 1280
"""Pixels; frames of a larger film are shrunk to this, as they are read."""

Follow = Callable[[Tracker, Image.Image, float], Tracker]
"""The tracker after one more frame, given the frame and its time in seconds."""


def frame_rate(file: Path) -> float:
    """Frames a second, as the film's header says."""
    film = cv2.VideoCapture(str(file))
    rate = film.get(cv2.CAP_PROP_FPS)
    film.release()
    return rate if 1 <= rate <= 240 else 25.0


def annotate(
    file: Path, output: Path, follow: Follow, *, every: float = 0.1, at_most: float = float("inf")
) -> Iterator[tuple[float, tuple[Followed, ...]]]:
    """Write the film with boxes to `output` (H.264 in MP4, no sound), and yield who is seen when.

    Args:
        every: seconds from one search for faces to the next; in between boxes stay where they are.
        at_most: seconds of the film, from its start; the rest is left out.

    Yields:
        The frame's time in seconds, and its faces, boxes in pixels of the film. One pair for each frame
        that was searched, while the film is being written: what is yielded last is not the film's end.

    Raises:
        ImageError: the film cannot be read.
    """
    tracker, due = Tracker(), 0.0
    frames = film_frames(file, 0)
    first = next(frames, None)
    if first is None:
        raise ImageError(f"{file.name} is not a film that can be read.")
    scale = min(LARGEST_SIDE / max(first.image.shape[:2]), 1.0)
    with _writing(output, frame_rate(file)) as write:
        for item in _with_first(first, frames):
            if item.seconds >= at_most:
                break
            frame = _shrunk(item.image, scale)
            searched = item.seconds >= due - 1e-9
            if searched:
                tracker = follow(tracker, frame, item.seconds)
                due = item.seconds + every
            write(np.asarray(draw_followed(frame, tracker.visible())))
            if searched:
                yield item.seconds, tuple(_in_film(followed, scale) for followed in tracker.visible())


def _with_first(first, rest: Iterator) -> Iterator:
    yield first
    yield from rest


def _shrunk(frame: np.ndarray, scale: float) -> Image.Image:
    """The frame at its size in the output, whose sides must be even."""
    height, width = (max(2, 2 * round(side * scale / 2)) for side in frame.shape[:2])
    image = Image.fromarray(frame)
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BILINEAR)


def _in_film(followed: Followed, scale: float) -> Followed:
    box = tuple(round(side / scale) for side in followed.face.box)
    return replace(followed, face=replace(followed.face, box=box))


@contextmanager
def _writing(output: Path, rate: float) -> Iterator[Callable[[np.ndarray], None]]:
    """A function that appends an RGB frame, uint8 (H, W, 3); the first one sets the size."""
    with av.open(str(output), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1001))
        stream.pix_fmt = "yuv420p"  # what every browser and phone plays
        stream.options = {"preset": "veryfast", "crf": "23"}
        # Gradio's server has other visitors, too
        stream.thread_count = 1

        def write(frame: np.ndarray) -> None:
            if not stream.width:
                stream.height, stream.width = frame.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))

        yield write
        container.mux(stream.encode(None))
