"""Files in folders, told by their content. What is passed over is named."""

import glob
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fer_model.errors import ImageError
from fer_model.images import ImageSource, is_image
from fer_model.inference import video

ARCHIVES = (".zip",)

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # how a zip begins; the second kind is empty

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Item:
    """One image, or one frame of a video with its time in seconds.

    problem: why an image could not be taken out of its archive; `image` is empty then.
    """

    file: Path
    image: ImageSource
    seconds: float | None = None
    problem: str = ""


def find_files(paths: Iterable[str]) -> list[Path]:
    """The files that are named, each once, and all files below the folders that are named, whatever they hold.

    A folder that cannot be read, or that is a link inside of another, is logged and left out.

    Args:
        paths: files, folders and globs.

    Raises:
        ImageError: a path or pattern names nothing.
    """
    found: dict[Path, None] = {}
    for text in paths:
        named = [text] if text and os.path.lexists(text) else sorted(glob.glob(text, recursive=True))
        new = [file for path in named for file in (_below(path) if os.path.isdir(path) else [Path(path)])]
        if not new:
            raise ImageError(f"{text!r} names no image, video or zip archive.")
        found |= dict.fromkeys(new)
    return list(found)


def _below(folder: str) -> list[Path]:
    found = []
    for place, folders, names in os.walk(folder, onerror=lambda error: left_out(error.filename, f"{error.strerror}.")):
        for name in folders:
            if os.path.islink(os.path.join(place, name)):  # it may lead back here
                left_out(os.path.join(place, name), "It is a link to a folder; name it to have it searched.")
        found += [Path(place, name) for name in names]
    return sorted(found)


def left_out(file: str | Path, reason: object) -> None:
    """Name a file that is passed over."""
    log.warning("left out %s: %s", shown(file), reason)


def shown(file: str | Path) -> str:
    """A path as any table and terminal takes it: control characters, and bytes that are no UTF-8, are written \\xNN."""
    text = os.fsencode(file).decode("utf-8", "backslashreplace")
    return text.translate({code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))})


def kind(file: Path) -> str:
    """What a file holds, by its content: "image", "video" or "archive".

    Raises:
        ImageError: none of these.
    """
    try:
        if not file.is_file():
            raise ImageError("It is no file.")  # opening a pipe may wait for ever
        with file.open("rb") as opened:
            head = opened.read(32)
    except OSError as error:
        raise ImageError(f"It cannot be read ({error.strerror}).") from error
    if is_image(head):
        return "image"
    if head.startswith(_ZIP):
        return "archive"
    if video.is_video(file):
        return "video"
    raise ImageError("It is no image in a format that can be read, no video and no zip archive.")


def is_archive(file: Path) -> bool:
    """Is it a zip archive, by its content or, where that is damaged, by its name?"""
    with file.open("rb") as opened:
        return opened.read(4) in _ZIP or file.suffix.lower() in ARCHIVES
