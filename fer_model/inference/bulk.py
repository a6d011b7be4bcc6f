"""Many images and videos through the pipeline: one row a face. Images are read one at a time."""

import csv
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from tqdm.auto import tqdm

from fer_model.errors import FERError, ImageError
from fer_model.inference import video
from fer_model.inference.drawing import overlay
from fer_model.inference.files.archives import images_in, open_archive, passed_over, zipped_images
from fer_model.inference.files.find import Item, kind, left_out, shown
from fer_model.inference.files.find import find_files as find_files
from fer_model.inference.pipeline import Face, FERPipeline


def columns(names: tuple[str, ...]) -> tuple[str, ...]:
    """The table's columns, for a model with these classes.

    file, seconds (videos only), the face's number (largest first; empty where none was found), its box in pixels, the
    detector's score, the answer, whether the model is unsure, and the probability of each class.
    """
    return ("file", "seconds", "face", "left", "top", "right", "bottom", "score", "label", "unsure", *names)


def items(files: Iterable[Path], every: float = 0.0) -> Iterator[Item]:
    """Images, also those in archives, and frames of videos. Each is read when it is asked for.

    What is none of these, or cannot be read, is logged and left out.

    Args:
        every: seconds from one frame of a video to the next; 0 takes all.
    """
    for file in files:
        try:
            content = kind(file)
            if content == "image":
                yield Item(file, file)
            elif content == "archive":
                yield from zipped_images(file)
                for name, reason in passed_over(file):
                    left_out(f"{file}/{name}", reason)
            else:
                for seconds, frame in video.frames(file, every):
                    yield Item(file, frame, seconds)
        except (ImageError, OSError) as error:
            left_out(file, error)


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
            left_out(item.file, error)
            continue
        except FERError:
            raise
        except Exception as error:  # one image of thousands must not end their table
            left_out(item.file, f"It cannot be worked on ({type(error).__name__}: {error}).")
            continue
        seconds = "" if item.seconds is None else f"{item.seconds:.3f}"
        if not result.faces:
            yield {"file": shown(item.file), "seconds": seconds}
        for number, face in enumerate(result.faces, 1):
            yield {"file": shown(item.file), "seconds": seconds, "face": number, **face_columns(face)}
            if maps:
                # numbered, because folders may hold files of one name; cut, because a name may have 255 bytes
                stem = os.fsdecode(os.fsencode(item.file.stem)[:200])
                save_map(face, maps / f"{position:05d}-{stem}-{number}.png")


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
    try:
        content = kind(file)
        if content == "archive":
            with open_archive(file) as archive:
                return len(images_in(archive))
        return video.count(file, every) if content == "video" else 1
    except ImageError:
        return 0


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
