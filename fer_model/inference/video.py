"""Frames of a video with their times, read by OpenCV."""

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from fer_model.errors import ImageError
from fer_model.images import MAX_PIXELS

_USUAL_RATE = 25.0
"""Frames a second, where a header says nothing."""

CONTAINERS = "mov,matroska,webm,avi,mpeg,mpegts,mpegvideo,m4v,h264,hevc,yuv4mpegpipe,flv,asf,ogg,mjpeg,gif"
"""FFmpeg's names of what is read. Others, such as HLS and DASH, are lists of further files and addresses, and a video
that a stranger gives must not name files of this machine."""

# read by OpenCV when it opens a video
os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = f"format_whitelist;{CONTAINERS}"


def frames(file: Path, every: float) -> Iterator[tuple[float, np.ndarray]]:
    """Times in seconds and frames, RGB uint8 (H, W, 3), one in memory at a time.

    Args:
        every: seconds from one frame to the next; 0 takes all.

    Raises:
        ImageError: the video cannot be read.
    """
    video = cv2.VideoCapture(str(file))
    try:
        if video.get(cv2.CAP_PROP_FRAME_WIDTH) * video.get(cv2.CAP_PROP_FRAME_HEIGHT) > MAX_PIXELS:
            raise ImageError(f"{file.name} has frames that are too large; at most {MAX_PIXELS:,} pixels are read.")
        rate = video.get(cv2.CAP_PROP_FPS) or _USUAL_RATE
        seconds, due, found = -1 / rate, 0.0, False
        while video.grab():  # decodes, but does not convert frames that are left out
            # each frame's own time: phones and browsers record at a changing rate, and browsers state none
            stated = max(video.get(cv2.CAP_PROP_POS_MSEC) / 1000, 0.0)
            seconds = stated if stated > seconds else seconds + 1 / rate
            if seconds >= due - 1e-9:
                readable, frame = video.retrieve()
                if readable:
                    found = True
                    yield seconds, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
                due = max(due + every, seconds)
        if not found:
            raise ImageError(f"{file.name} is not a video that can be read.")
    finally:
        video.release()


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
    """Frames a second, and how many, as the header says. Either may be wrong."""
    video = cv2.VideoCapture(str(file))
    stated = video.get(cv2.CAP_PROP_FPS), video.get(cv2.CAP_PROP_FRAME_COUNT)
    video.release()
    return stated
