"""A dataset id or path -> grey uint8 faces and labels 0..5, or 0..6 with neutral.

`datasets.load_dataset` reads it, so it may be a Hub id, parquet, WebDataset, image folders, or Kaggle's `fer2013.csv`
or `icml_face_data.csv`. It must hold an image and a label.
"""

import logging
from pathlib import Path
from typing import NoReturn

import datasets
import torch

from fer_model.configs import DEFAULT_DATASET
from fer_model.data.classes import class_words, require_classes, targets_of
from fer_model.data.dataset import FERData
from fer_model.data.decoding import decode
from fer_model.data.files import READERS, TAKES, local_dataset
from fer_model.data.folders import SPLITS, UNSPLIT, all_files, listed, split_of
from fer_model.errors import DataError
from fer_model.hub.errors import explain, known_reason
from fer_model.labels import EMOTIONS, canonical_name, class_names

IMAGE_COLUMNS = ("image", "jpg", "png", "webp", "jpeg", "img", "img_bytes", "pixels")
LABEL_COLUMNS = ("label", "labels", "cls", "emotion", "emotions", "class", "expression")

USAGES = {
    "train": ("training",),
    "test": ("publictest", "privatetest"),
}

log = logging.getLogger(__name__)


def load_fer(
    dataset: str = DEFAULT_DATASET,
    split: str = "train",
    *,
    revision: str | None = None,
    skip_corrupt: bool = False,
    skip_unknown: bool = False,
    progress: bool = True,
    classes: int = len(EMOTIONS),
) -> FERData:
    """The faces of one split ("train" or "test"), decoded once.

    Args:
        dataset: a Hub id, a folder, or a file: CSV, parquet, a WebDataset shard, JSON lines, or a zip of these.
        revision: branch, tag or commit of a Hub dataset.
        skip_corrupt: log unreadable images and leave them out, instead of stopping.
        skip_unknown: log images of unknown classes and leave them out, instead of stopping.
        progress: show a progress bar while decoding.
        classes: 6, or 7 to keep neutral faces too, with the label 6.

    Raises:
        DataError: the dataset, split, columns, class names or images are missing or unusable. The message names the
            dataset, what was found, and what to do.
    """
    wanted = class_names(classes)
    loaded = _load(dataset, revision)
    rows = _select_split(loaded, split, dataset)
    image_column, label_column = _image_column(rows, dataset), _label_column(rows, dataset)
    usage_column = _usage_column(rows)
    words = class_words(rows, label_column, image_column, dataset, revision)
    targets, kept, left_out = targets_of(words, dataset, wanted, skip_unknown)
    require_classes(targets, split, dataset, wanted)
    images, readable = decode(rows, kept, image_column, dataset, split, skip_corrupt, progress)
    labels = torch.tensor([targets[i] for i in readable])
    if len(readable) < len(kept):
        require_classes(labels.tolist(), split, dataset, wanted)
    usage = None
    if usage_column:
        values = list(rows[usage_column])
        usage = tuple(str(values[kept[i]]) for i in readable)
    counts = torch.bincount(labels, minlength=classes).tolist()
    log.info(
        "%s, %s: %s images (%s)",
        dataset,
        split,
        f"{len(labels):,}",
        ", ".join(f"{n:,} {name}" for name, n in zip(wanted, counts, strict=True)),
    )
    return FERData(images, labels, usage, left_out)


# Finding the rows


def _load(dataset: str, revision: str | None) -> datasets.DatasetDict:
    path = Path(dataset).expanduser()
    looks_local = (
        path.exists()
        or dataset.startswith((".", "/", "~"))
        or dataset.count("/") > 1
        or path.suffix.lower() in (*READERS, ".zip")
    )
    if looks_local and not path.exists():
        raise DataError(f"There is no file or folder {dataset!r}; check --dataset.")
    if path.is_dir() and not any(all_files(path)):
        raise DataError(f"The folder {dataset!r} is empty; --dataset needs parquet, WebDataset, images or a CSV in it.")
    try:
        return local_dataset(path) if looks_local else datasets.load_dataset(dataset, revision=revision)
    except DataError:
        raise
    except Exception as error:  # the network's and the Hub's, and whatever the readers raise: pyarrow, tarfile, …
        where = f" at revision {revision!r}" if revision else ""
        hint = "--dataset takes a copy on this machine, too." if known_reason(error) else TAKES
        raise DataError(f"The dataset {dataset!r}{where} could not be read: {_reason(error)}. {hint}") from error


def _reason(error: BaseException) -> str:
    """Why, in at most 300 characters. `datasets` hides what its readers say behind a sentence of its own."""
    if isinstance(error, datasets.exceptions.DatasetGenerationError) and error.__cause__:
        error = error.__cause__
    return " ".join(explain(error).split())[:300]


def _usage_column(rows: datasets.Dataset) -> str | None:
    return next((name for name in rows.column_names if name.strip().lower() == "usage"), None)


def _select_split(loaded: datasets.DatasetDict, split: str, dataset: str) -> datasets.Dataset:
    """The rows of a split: by the `usage` column where every part has one, else by the split's name."""
    parts = list(loaded.values())
    if all(_usage_column(part) for part in parts):
        everything = datasets.concatenate_datasets(parts)
        usage = everything[_usage_column(everything)]
        wanted = [i for i, value in enumerate(usage) if str(value).strip().lower() in USAGES[split]]
        if wanted:
            return everything.select(wanted)
        found = listed([f"{value!r}" for value in sorted(set(map(str, usage)))]) or "no rows"
        raise DataError(
            f"The dataset {dataset!r} has no {split} rows: its usage column holds {found}; "
            f"expected {' or '.join(USAGES[split])}."
        )
    kinds = {name: split_of(name) for name in loaded}
    if named := [name for name, kind in kinds.items() if kind == split]:
        return loaded[named[0]] if len(named) == 1 else datasets.concatenate_datasets([loaded[n] for n in named])
    if UNSPLIT in loaded:
        log.warning("%s has no splits: all its images are taken as the %s images", dataset, split)
        return loaded[UNSPLIT]
    if set(kinds.values()) == {"validation"}:
        log.warning("%s has a validation split only: its images are taken as the %s images", dataset, split)
        return datasets.concatenate_datasets(parts)
    found = listed([f"{name!r}" for name in loaded]) or "none"
    raise DataError(
        f"The dataset {dataset!r} has no {split!r} split (found: {found}); "
        f"name a split, a folder or the files {' or '.join(SPLITS[split][:2])}."
    )


# Understanding the columns


def _image_column(rows: datasets.Dataset, dataset: str) -> str:
    """By a usual name among the columns of images, then by type alone, then by name alone."""
    typed = [name for name, kind in rows.features.items() if isinstance(kind, datasets.Image)]
    usual = _usual(rows, IMAGE_COLUMNS)
    return next(iter([*(name for name in usual if name in typed), *typed, *usual]), None) or _no_column(
        rows, "image", IMAGE_COLUMNS, dataset
    )


def _label_column(rows: datasets.Dataset, dataset: str) -> str:
    """The column that holds our classes: by a usual name or by type, and by what it holds."""
    typed = [name for name, kind in rows.features.items() if isinstance(kind, datasets.ClassLabel)]
    usual = _usual(rows, LABEL_COLUMNS)
    named = [name for name in usual if name in typed]
    known = [name for name in (*named, *usual, *typed) if _holds_classes(rows, name)]
    return next(iter([*known, *named, *usual, *typed]), None) or _no_column(rows, "label", LABEL_COLUMNS, dataset)


def _holds_classes(rows: datasets.Dataset, column: str) -> bool:
    """Whether the names of a column's classes, or most of its first words, are classes of ours."""
    feature = rows.features[column]
    if isinstance(feature, datasets.ClassLabel):
        words: list = feature.names
    else:
        words = rows.select_columns(column)[:100][column]
    known = [isinstance(word, str) and canonical_name(word) is not None for word in words]
    return sum(known) * 2 > len(known)


def _usual(rows: datasets.Dataset, names: tuple[str, ...]) -> list[str]:
    """The columns with one of these names, in any case, in the names' order."""
    by_name = {column.strip().lower(): column for column in rows.column_names}
    return [by_name[name] for name in names if name in by_name]


def _no_column(rows: datasets.Dataset, role: str, usual: tuple[str, ...], dataset: str) -> NoReturn:
    raise DataError(
        f"The dataset {dataset!r} has no {role} column (found: {listed(rows.column_names)}); "
        f"rename it to one of {', '.join(usual[:4])}."
    )
