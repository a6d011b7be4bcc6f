"""Many images and videos through the pipeline: one row a face. Images are read one at a time."""

import csv
import glob
import logging
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tqdm.auto import tqdm

from fer_model.errors import ImageError
from fer_model.images import ImageSource
from fer_model.inference import video
from fer_model.inference.drawing import overlay
from fer_model.inference.pipeline import Face, FERPipeline

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".avif")
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".y4m")
ARCHIVES = (".zip",)

MAX_IMAGE_BYTES = 50_000_000
"""Of an image in an archive, unpacked. It is read into memory, and a small archive can unpack to gigabytes."""


def columns(names: tuple[str, ...]) -> tuple[str, ...]:
    """The table's columns, for a model with these classes.

    file, seconds (videos only), the face's number (largest first; empty where none was found), its box in pixels, the
    detector's score, the answer, whether the model is unsure, and the probability of each class.
    """
    return ("file", "seconds", "face", "left", "top", "right", "bottom", "score", "label", "unsure", *names)


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
    """The images, videos and zip archives that are named, each once. Folders are searched with all below them.

    Args:
        paths: files, folders and globs.

    Raises:
        ImageError: a path or pattern names nothing.
    """
    found: dict[Path, None] = {}
    for text in paths:
        path = Path(text)
        if path.is_dir():
            new = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGES + VIDEOS + ARCHIVES and p.is_file())
        elif path.is_file():
            new = [path]
        else:
            new = sorted(Path(name) for name in glob.glob(text, recursive=True) if Path(name).is_file())
        if not new:
            raise ImageError(f"{text!r} names no image, video or zip archive.")
        found |= dict.fromkeys(new)
    return list(found)


def items(files: Iterable[Path], every: float = 0.0) -> Iterator[Item]:
    """Images, also those in archives, and frames of videos. Each is read when it is asked for.

    A video or an archive that cannot be read is logged and left out.

    Args:
        every: seconds from one frame of a video to the next; 0 takes all.
    """
    for file in files:
        kind = file.suffix.lower()
        if kind not in VIDEOS + ARCHIVES:
            yield Item(file, file)
            continue
        try:
            if kind in ARCHIVES:
                yield from zipped_images(file)
            else:
                for seconds, frame in video.frames(file, every):
                    yield Item(file, frame, seconds)
        except ImageError as error:
            log.warning("left out %s: %s", file, error)


def zipped_images(file: Path) -> Iterator[Item]:
    """The images in a zip archive. One is in memory at a time, and none is written to disk.

    An image that is encrypted, damaged or too large comes as an item with a `problem`. Other files are skipped.

    Raises:
        ImageError: the archive cannot be read.
    """
    with _open_archive(file) as archive:
        for info in images_in(archive):
            path = Path(f"{file}/{info.filename}")  # not file / name: a name that begins with a slash would replace it
            try:
                item = Item(path, _unpacked(archive, info))
            except Exception as error:  # as in _open_archive
                item = Item(path, b"", problem=f"It cannot be taken out of its archive ({error}).")
            yield item


def _open_archive(file: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except Exception as error:  # for damaged files it raises nearly anything: NotImplementedError, UnicodeError, …
        raise ImageError(f"{file.name} is not a zip archive that can be read.") from error


def _unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with archive.open(info) as packed:
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # zipfile unpacks these at once, however little is asked for
            raise ImageError("its compression is not the usual one, deflate")
        content = packed.read(MAX_IMAGE_BYTES + 1)
    if len(content) > MAX_IMAGE_BYTES:  # whatever size the archive says it has
        raise ImageError(f"it is larger than {MAX_IMAGE_BYTES:,} bytes")
    return content


def images_in(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The images in an archive, without the hidden copies that a Mac puts beside them."""
    return [
        info
        for info in archive.infolist()
        if Path(info.filename).suffix.lower() in IMAGES
        and not info.is_dir()
        and not info.filename.startswith("__MACOSX/")
    ]


def rows(
    pipeline: FERPipeline,
    found: Iterable[Item],
    *,
    whole_picture: bool = False,
    small_faces: bool | None = None,
    maps: Path | None = None,
) -> Iterator[dict]:
    """A dict by `columns` for every face, or one with an empty `face` for an image without.

    What cannot be read is logged and left out.

    Args:
        small_faces: as in `FERPipeline`.
        maps: folder for every face with its heat map, as NUMBER-FILE-FACE.png. NUMBER counts the images from 1.
    """
    for position, item in enumerate(found, 1):
        try:
            if item.problem:
                raise ImageError(item.problem)
            result = pipeline(
                item.image, whole_picture=whole_picture, small_faces=small_faces, heat_maps=maps is not None
            )
        except ImageError as error:
            log.warning("left out %s: %s", item.file, error)
            continue
        seconds = "" if item.seconds is None else f"{item.seconds:.3f}"
        if not result.faces:
            yield {"file": str(item.file), "seconds": seconds}
        for number, face in enumerate(result.faces, 1):
            yield {"file": str(item.file), "seconds": seconds, "face": number, **face_columns(face)}
            if maps:
                # numbered, because folders may hold files of one name
                save_map(face, maps / f"{position:05d}-{item.file.stem}-{number}.png")


def write_table(file: TextIO, table: Iterable[dict], names: tuple[str, ...]) -> int:
    """Write rows as CSV while they come, with a column for each class in `names`; returns how many."""
    writer = csv.DictWriter(file, columns(names))
    writer.writeheader()
    written = 0
    for row in table:
        writer.writerow(row)
        written += 1
    return written


def save_map(face: Face, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    overlay(face.crop, face.heat_map).save(path)


def with_progress(found: Iterable[Item], files: list[Path], every: float) -> Iterator[Item]:
    """The same items under a progress bar."""
    yield from tqdm(found, total=sum(count(file, every) for file in files), unit="image", desc="recognising")


def count(file: Path, every: float = 0.0) -> int:
    """How many items a file gives. For a video this is what its header says, which may be wrong."""
    kind = file.suffix.lower()
    if kind in ARCHIVES:
        try:
            with _open_archive(file) as archive:
                return len(images_in(archive))
        except ImageError:
            return 0
    return video.count(file, every) if kind in VIDEOS else 1


def face_columns(face: Face) -> dict:
    """A face's part of a row."""
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
