"""Frames of a video with their times, read by PyAV: whatever its FFmpeg reads, told by content and not by name."""

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from fer_model.errors import ImageError
from fer_model.images import MAX_PIXELS

if TYPE_CHECKING:  # a light installation has none, and reads images only
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_USUAL_RATE = 25.0
"""Frames a second, where a header says nothing."""

_NO_VIDEOS = ("_pipe", "image2", "tty", "lavfi", "concat", "hls", "dash", "sdp", "rtsp")
"""What FFmpeg takes for videos and is none: images, texts, and lists that name other files and addresses."""

_Turn = tuple[bool, bool, bool]
"""Are x and y swapped, and then rows and columns in reverse?"""


def frames(file: Path, every: float) -> Iterator[tuple[float, np.ndarray]]:
    """Times in seconds and frames, RGB uint8 (H, W, 3), upright, one in memory at a time.

    A damaged part of the video is left out.

    Args:
        every: seconds from one frame to the next; 0 takes all.

    Raises:
        ImageError: the video cannot be read, or PyAV is not installed.
        ValueError: `every` is negative or no number.
    """
    if not 0 <= every < float("inf"):
        raise ValueError(f"every is {every}; it must be a number of seconds, or 0 for every frame.")
    with _opened(file) as (container, stream):
        start, rate = _start(stream), _rate(stream)
        seconds, due, turn = -1 / rate, 0.0, None
        for frame in _decoded(container, stream, file):
            # each frame's own time: phones and browsers record at a changing rate, and browsers state none
            stated = max(frame.time - start, 0.0) if frame.time is not None else 0.0
            seconds = stated if stated > seconds else seconds + 1 / rate
            if seconds >= due - 1e-9:
                _check_size(file, frame.width, frame.height)
                # the first frame's is all frames'; asking each would keep it in memory
                turn = turn or _turn(frame)
                yield seconds, _upright(frame, turn)
                due = max(due + every, seconds)
        if turn is None:
            raise _unreadable(file)


film_frames = frames
"""The same, by its older name."""


def is_video(file: Path) -> bool:
    """Can frames be expected of this file? Nothing is decoded.

    Raises:
        ImageError: PyAV is not installed.
    """
    try:
        with _opened(file):
            return True
    except _NotAVideo:
        return False


def count(file: Path, every: float) -> int:
    """How many frames `frames` gives, as the header says, which may be wrong."""
    rate, stated = header(file)
    total = int(max(stated, 0))
    return min(total, int((total - 1) / (rate or _USUAL_RATE) / every + 1e-9) + 1) if total and every > 0 else total


def duration(file: Path) -> float:
    """Seconds, as the header says; 0 where it says nothing, as in a browser's recordings."""
    rate, stated = header(file)
    return max(stated / rate, 0.0) if rate > 0 else 0.0


def header(file: Path) -> tuple[float, float]:
    """Frames a second, and how many, as the header says. Either may be wrong; (0, 0) of what is no video."""
    try:
        with _opened(file) as (container, stream):
            rate = _rate(stream)
            if stream.frames:
                return rate, stream.frames
            if stream.duration is not None and stream.time_base is not None:
                return rate, round(float(stream.duration * stream.time_base) * rate)
            return rate, round((container.duration or 0) / 1_000_000 * rate)
    except _NotAVideo:
        return 0.0, 0.0


class _NotAVideo(ImageError):
    pass


def _unreadable(file: Path) -> _NotAVideo:
    return _NotAVideo(f"{file.name} is not a video that can be read.")


@contextmanager
def _opened(file: Path) -> Iterator[tuple["InputContainer", "VideoStream"]]:
    """The file and its main video."""
    try:
        import av
        from av.stream import Disposition
    except ImportError as error:
        raise ImageError(
            "It is no image; if it is a video, reading it takes one more package: pip install av"
        ) from error
    with ExitStack() as stack:
        try:
            # without its name, of which FFmpeg would take some for protocols, or for sequences of images
            number = os.open(file, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            content = stack.enter_context(open(number, "rb"))
            # FFmpeg decodes some frames here to learn their size; what is a little too large can then be told so
            limit = {"max_pixels": str(4 * MAX_PIXELS)}
            container: Any = stack.enter_context(
                av.open(content, metadata_errors="replace", io_open=_refuse, options=limit)
            )
        except (av.FFmpegError, ValueError, OSError) as error:
            raise _unreadable(file) from error
        stream: Any = container.streams.best("video")
        # a sound file's cover is a stream, too
        if stream is None or stream.disposition & Disposition.attached_pic or _is_none(container.format.name):
            raise _unreadable(file)
        _check_size(file, stream.codec_context.width, stream.codec_context.height)
        # frames may grow on the way, and a decoder holds many of them before the first comes out
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        yield container, stream


def _refuse(url: str, flags: int, options: dict) -> NoReturn:
    """For a file that names others."""
    raise PermissionError(f"{url} is not opened for a video")


def _decoded(container: "InputContainer", stream: "VideoStream", file: Path) -> Iterator["VideoFrame"]:
    import av

    packets, broken = container.demux(stream), 0
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                break
            decoded = packet.decode()
        except av.FFmpegError:
            broken += 1
            continue
        yield from decoded
    if broken:
        logging.getLogger(__name__).warning("%s: %d damaged parts were left out", file, broken)


def _is_none(kind: str) -> bool:
    return any(name.endswith(_NO_VIDEOS) for name in kind.split(","))


def _rate(stream: "VideoStream") -> float:
    return float(stream.average_rate or stream.guessed_rate or _USUAL_RATE)


def _start(stream: "VideoStream") -> float:
    """Seconds at which the file begins to count."""
    if stream.start_time is None or stream.time_base is None:
        return 0.0
    return float(stream.start_time * stream.time_base)


def _check_size(file: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(f"{file.name} has frames that are too large; at most {MAX_PIXELS:,} pixels are read.")


def _turn(frame: "VideoFrame") -> _Turn:
    """How a camera's frames are turned and mirrored: x' = a x + c y, y' = b x + d y, in units of 1 / 65,536."""
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    return (True, b < 0, c < 0) if abs(b) > abs(a) else (False, d < 0, a < 0)


def _upright(frame: "VideoFrame", turn: _Turn) -> np.ndarray:
    pixels = frame.to_ndarray(format="rgb24")
    if not any(turn):
        return pixels
    swap, upside_down, mirrored = turn
    pixels = pixels.transpose(1, 0, 2) if swap else pixels
    return np.ascontiguousarray(pixels[:: -1 if upside_down else 1, :: -1 if mirrored else 1])
