"""Videos that only somebody makes who means harm, and small enough to be made by a test."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from helpers.visitors import as_png, zipped

TEN_HOURS = 36_000


def write_frames(
    path: Path, seconds: Sequence[float], size: tuple[int, int] = (320, 240), codec: str = "libx264"
) -> Path:
    """A video of grey frames, shown at these times."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=10)
        (stream.width, stream.height), stream.pix_fmt = size, "yuv420p"
        stream.codec_context.time_base, stream.codec_context.gop_size = Fraction(1, 1000), 1
        stream.options = {"preset": "ultrafast", "tune": "zerolatency"} if codec == "libx264" else {}
        for when in seconds:
            frame = av.VideoFrame.from_ndarray(np.full((size[1] * 3 // 2, size[0]), 128, np.uint8), format="yuv420p")
            frame.pts, frame.time_base = round(1000 * when), Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def odd_videos(folder: Path) -> dict[Path, list[float]]:
    """Each with the times of its frames, as they should be read."""
    apart = write_frames(folder / "apart.mkv", [0, TEN_HOURS])
    claims = write_frames(folder / "claims.mkv", [0, 0.1])
    duration = b"\x44\x89\x88"  # the element's name, and its length
    content = claims.read_bytes()
    claims.write_bytes(
        content.replace(duration + struct.pack(">d", 200), duration + struct.pack(">d", 1000 * TEN_HOURS))
    )
    assert claims.read_bytes() != content
    html = write_frames(folder / "html.ts", [0, 0.1])
    html.write_bytes(b"<!DOCTYPE html><script>fired=1</script>" + html.read_bytes())
    archive = zipped(folder / "inside", {"photo.png": as_png()}).read_bytes()
    both = write_frames(folder / "both.mp4", [0, 0.1])
    both.write_bytes(both.read_bytes() + archive)
    large = write_frames(folder / "8k.mp4", [0], size=(7680, 4320))
    return {apart: [0, TEN_HOURS], claims: [0, 0.1], html: [0, 0.1], both: [0, 0.1], large: [0]}


def late_video(path: Path) -> Path:
    """Its first frame cannot be read, and the next one comes after ten hours."""
    write_frames(path, [0, TEN_HOURS], codec="mpeg4")
    with av.open(str(path)) as file:
        first = bytes(next(file.demux(video=0)))
    path.write_bytes(path.read_bytes().replace(first, b"\xff" * len(first), 1))
    return path
