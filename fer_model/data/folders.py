"""Images in a folder for each class, with or without a folder for each split, read as they lie.

`datasets` would guess splits from any word in a path: of files called train_1.png and web_1.png it drops the latter.
"""

import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import datasets

from fer_model.errors import DataError
from fer_model.labels import canonical_name

IMAGES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".bmp",
    ".webp",
    ".tif",
    ".tiff",
    ".gif",
    ".pgm",
    ".ppm",
    ".jp2",
    ".avif",
    ".heic",
    ".heif",
)

UNSPLIT = "all"
"""The name of the only split of a dataset in which nothing is named after one."""

SPLITS = {
    "train": ("train", "training"),
    "test": ("test", "testing", "publictest", "privatetest"),
    "validation": ("valid", "validation", "val", "dev"),
}

log = logging.getLogger("fer_model.data.fer2013")


def image_folder(path: Path) -> datasets.DatasetDict | None:
    """The rows of each split, with columns image (a path), label (its folder's name) and, for FER2013's own, usage.

    Splits and classes may lie at any depth and in any order, such as fer2013/Training/happy or happy/test. Every file
    is used, or named in the log. None where the folder holds other things than images in class folders.

    Raises:
        DataError: some images of known classes lie in splits, and some in none.
    """
    files = list(all_files(path)) if path.is_dir() else []
    if any(file.suffix.lower() in (".parquet", ".tar", ".arrow") for file in files):
        return None
    images = [file for file in files if file.suffix.lower() in IMAGES]
    inside = {file: file.relative_to(path).parts[:-1] for file in images}
    classes = {file: [part for part in parts if not split_of(part)] for file, parts in inside.items()}
    depth = _depth_of_classes(list(classes.values()))
    if depth is None:
        return None
    rows: dict[str | None, list[tuple[str, str, str]]] = {}
    stray = []
    for file in images:
        folder = next((part for part in reversed(inside[file]) if split_of(part)), None)
        label = next(filter(canonical_name, classes[file]), None) or next(iter(classes[file][depth:]), None)
        if label is None:
            stray.append(file)
        else:
            rows.setdefault(folder and split_of(folder), []).append((str(file), label, folder or ""))
    beside = rows.pop(None, []) if len(rows) > 1 else []
    if known := list(dict.fromkeys(label for _, label, _ in beside if canonical_name(label))):
        raise DataError(
            f"In the folder {str(path)!r} the classes {listed(known)} lie beside splits; move them into one."
        )
    stray += [Path(file) for file, _, _ in beside]
    log_left_out(path, "images in no class folder of a split" if beside else "images in no class folder", stray)
    log_left_out(
        path, "files that are no images", [f for f in files if f.suffix.lower() not in IMAGES and not _tells(f)]
    )
    with_usage = any(folder.lower() in ("publictest", "privatetest") for part in rows.values() for *_, folder in part)
    return datasets.DatasetDict({split or UNSPLIT: _dataset(part, with_usage) for split, part in rows.items()})


def split_of(name: str) -> str | None:
    """The split that a folder's or file's name stands for, such as "test" for "FER2013Test" or "images-test_1"."""
    words = re.split(r"[^a-z0-9]+", name.lower())
    plain = {re.sub(r"^(fer2013|ferplus|fer)|(data|set|images|faces)$", "", word) for word in words}
    found = {split for split, names in SPLITS.items() if plain & set(names)}
    return found.pop() if len(found) == 1 else None


def all_files(path: Path) -> Iterator[Path]:
    """A file itself, or every file below a folder, in order, also through links; hidden ones and what a Mac adds are
    passed over.

    Raises:
        DataError: a folder cannot be read.
    """

    def refuse(error: OSError) -> NoReturn:
        raise DataError(f"The folder {str(error.filename)!r} cannot be read ({error.strerror}).") from error

    if path.is_file():
        yield path
        return
    seen = set()
    for folder, folders, files in os.walk(path, onerror=refuse, followlinks=True):
        real = os.path.realpath(folder)
        # sorted as paths are, so that a folder comes before what has its name as a beginning
        folders[:] = [] if real in seen else sorted(name for name in folders if name[0] != "." and name != "__MACOSX")
        seen.add(real)
        yield from (Path(folder, name) for name in sorted(files) if name[0] != ".")


def listed(names: Sequence[object]) -> str:
    """At most eight names, each cut at 40 characters, and how many more there are."""
    shown = ", ".join(name if len(name) <= 40 else name[:39] + "…" for name in map(str, names[:8]))
    return shown + (f" and {len(names) - 8:,} more" if len(names) > 8 else "")


def _depth_of_classes(paths: list[list[str]]) -> int | None:
    """At which place in their paths, splits left out, most images have their class: a known one, else a number."""
    for is_class in (canonical_name, str.isdigit):
        found = Counter(place for parts in paths for place, part in enumerate(parts) if is_class(part))
        if found:
            return found.most_common(1)[0][0]
    return None


def _tells(file: Path) -> bool:
    """Whether a file is about the images."""
    return file.name.lower() == "classnames.txt" or file.stem.lower() in ("readme", "license")


def log_left_out(path: Path, what: str, files: list[Path]) -> None:
    """Name files of a dataset that are not read."""
    if files:
        log.warning("%s: left out %d %s: %s", path, len(files), what, listed([str(f.relative_to(path)) for f in files]))


def _dataset(rows: list[tuple[str, str, str]], with_usage: bool) -> datasets.Dataset:
    files, labels, folders = zip(*rows, strict=True)
    columns = {"image": files, "label": labels} | ({"usage": folders} if with_usage else {})
    return datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())
