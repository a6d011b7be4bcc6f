"""Images in a folder for each class, with or without a folder for each split, read as they lie.

`datasets` would guess splits from any word in a path: of files called train_1.png and web_1.png it drops the latter.
"""

import logging
from pathlib import Path

import datasets

from fer_model.errors import DataError
from fer_model.labels import canonical_name

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".pgm", ".ppm")

UNSPLIT = "all"
"""The name of the only split of a folder in which the class folders lie directly."""

SPLITS = {
    "train": ("train", "training"),
    "test": ("test", "testing", "publictest", "privatetest"),
    "validation": ("valid", "validation", "val", "dev"),
}

log = logging.getLogger("fer_model.data.fer2013")


def image_folder(path: Path) -> datasets.DatasetDict | None:
    """The rows of each split, with columns image (a path), label (its folder's name) and, for FER2013's own, usage.

    None where the folder holds other things than images in class folders.

    Raises:
        DataError: some of the folders beside each other are splits and some are classes.
    """
    folders = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")) if path.is_dir() else []
    splits = {folder: split_of(folder.name) for folder in folders}
    if any(p.suffix.lower() in (".parquet", ".tar", ".csv", ".jsonl", ".zip", ".arrow") for p in path.rglob("*")):
        return None
    if not any(splits.values()):
        rows = _rows(folders)
        known = any(canonical_name(folder.name) or folder.name.isdigit() for folder in folders)
        return datasets.DatasetDict({UNSPLIT: _dataset(rows)}) if rows and known else None
    if classes := [folder.name for folder, split in splits.items() if not split and canonical_name(folder.name)]:
        raise DataError(
            f"In the folder {str(path)!r} the classes {', '.join(classes)} lie beside splits; move them into one."
        )
    parts: dict[str, list[tuple[str, str, str]]] = {}
    for folder, split in splits.items():
        if split:
            inside = [p for p in sorted(folder.iterdir()) if p.is_dir()]
            parts.setdefault(split, []).extend((file, label, folder.name) for file, label in _rows(inside))
    if not any(parts.values()):
        return None
    with_usage = any(name.name.lower() in ("publictest", "privatetest") for name in splits)
    return datasets.DatasetDict(
        {
            split: _dataset([row[:2] for row in rows], [row[2] for row in rows] if with_usage else None)
            for split, rows in parts.items()
            if rows
        }
    )


def split_of(name: str) -> str | None:
    """The split that a folder's name stands for, such as "test" for "FER2013Test" or "testdata"."""
    word = name.lower().removeprefix("fer2013").removesuffix("data").removesuffix("set").strip(" _-")
    return next((split for split, names in SPLITS.items() if word in names), None)


def _rows(folders: list[Path]) -> list[tuple[str, str]]:
    """(file, folder's name) of every image in these folders, in their order."""
    return [
        (str(file), folder.name)
        for folder in folders
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in IMAGES
    ]


def _dataset(rows: list[tuple[str, str]], usage: list[str] | None = None) -> datasets.Dataset:
    columns = {"image": [file for file, _ in rows], "label": [label for _, label in rows]}
    table = datasets.Dataset.from_dict(columns | ({"usage": usage} if usage else {}))
    return table.cast_column("image", datasets.Image())
