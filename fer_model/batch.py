"""Many pictures and films through the pipeline, one face a row; nothing is kept of what is done."""

import csv
import glob
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import cv2
import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from fer_model.drawing import overlay
from fer_model.errors import ImageError
from fer_model.labels import EMOTIONS
from fer_model.pipeline import Face, FERPipeline

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".avif")
FILMS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".y4m")

COLUMNS = ("file", "seconds", "face", "left", "top", "right", "bottom", "score", "label", "unsure", *EMOTIONS)
"""Of the table: which file, when in it (films only), the face's number there (largest first; empty: none found), its
box in pixels, the detector's score, the answer, whether the model is unsure, and the six probabilities."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Item:
    """One picture, or one frame of a film with its time; `image` is what `open_image` takes."""

    file: Path
    image: "Path | np.ndarray"
    seconds: float | None = None


def find_files(paths: Iterable[str]) -> list[Path]:
    """The pictures and films that paths, folders (searched to the bottom) and glob patterns name, each once.

    Raises:
        ImageError: a path or pattern names nothing.
    """
    found: dict[Path, None] = {}
    for text in paths:
        path = Path(text)
        if path.is_dir():
            new = sorted(p for p in path.rglob("*") if p.suffix.lower() in PICTURES + FILMS and p.is_file())
        elif path.is_file():
            new = [path]
        else:
            new = sorted(Path(name) for name in glob.glob(text, recursive=True) if Path(name).is_file())
        if not new:
            raise ImageError(f"{text!r} names no picture and no film.")
        found |= dict.fromkeys(new)
    return list(found)


def items(files: Iterable[Path], every: float) -> Iterator[Item]:
    """The pictures, and of each film a frame every so many seconds (0: all), read as they are asked for.

    A film that cannot be read is logged and left out.
    """
    for file in files:
        if file.suffix.lower() not in FILMS:
            yield Item(file, file)
            continue
        try:
            yield from film_frames(file, every)
        except ImageError as error:
            log.warning("left out %s", error)


def film_frames(file: Path, every: float) -> Iterator[Item]:
    """Frames of a film, RGB uint8 (H, W, 3), one in memory at a time.

    Raises:
        ImageError: the film cannot be read.
    """
    film = cv2.VideoCapture(str(file))
    try:
        rate = film.get(cv2.CAP_PROP_FPS) or 25.0
        index, due = 0, 0.0
        while film.grab():  # decodes, but does not convert what is not wanted
            seconds = index / rate
            if seconds >= due - 1e-9:
                readable, frame = film.retrieve()
                if readable:
                    yield Item(file, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), seconds)
                due += every
            index += 1
        if index == 0:
            raise ImageError(f"{file} is not a film that can be read.")
    finally:
        film.release()


def rows(
    pipeline: FERPipeline, found: Iterable[Item], *, whole_picture: bool = False, maps: Path | None = None
) -> Iterator[dict]:
    """A dict by `COLUMNS` for every face, or one with an empty `face` for a picture without.

    What cannot be read is logged and left out.

    Args:
        maps: folder for every face's Grad-CAM, laid on it, as NUMBER-FILE-FACE.png, pictures counted from 1.
    """
    for position, item in enumerate(found, 1):
        try:
            result = pipeline(item.image, whole_picture=whole_picture, heat_maps=maps is not None)
        except ImageError as error:
            log.warning("left out %s: %s", item.file, error)
            continue
        seconds = "" if item.seconds is None else f"{item.seconds:.3f}"
        if not result.faces:
            yield {"file": str(item.file), "seconds": seconds}
        for number, face in enumerate(result.faces, 1):
            yield {"file": str(item.file), "seconds": seconds, "face": number, **_face_columns(face)}
            if maps:
                # numbered, because folders may hold files of one name
                save_map(face, maps / f"{position:05d}-{item.file.stem}-{number}.png")


def write_table(file: TextIO, table: Iterable[dict]) -> int:
    """Write rows as CSV while they come; returns how many."""
    writer = csv.DictWriter(file, COLUMNS)
    writer.writeheader()
    count = 0
    for row in table:
        writer.writerow(row)
        count += 1
    return count


def save_map(face: Face, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image: Image.Image = overlay(face.crop, face.heat_map)
    image.save(path)


def with_progress(found: Iterable[Item], files: list[Path], every: float) -> Iterator[Item]:
    """The same items under a progress bar."""
    total = sum(_frame_count(file, every) if file.suffix.lower() in FILMS else 1 for file in files)
    yield from tqdm(found, total=total, unit="picture", desc="recognising")


def _frame_count(file: Path, every: float) -> int:
    film = cv2.VideoCapture(str(file))
    frames, rate = film.get(cv2.CAP_PROP_FRAME_COUNT), film.get(cv2.CAP_PROP_FPS) or 25.0
    film.release()
    return int(frames if not every else frames / rate / every + 1)


def _face_columns(face: Face) -> dict:
    left, top, right, bottom = face.box
    return {
        "left": left,
        "top": top,
        "right": right,
        "bottom": bottom,
        "score": "" if face.score is None else f"{face.score:.4f}",
        "label": face.label,
        "unsure": face.unsure,
        **{name: f"{share:.6f}" for name, share in face.probabilities.items()},
    }
