"""A dataset's labels, as words or numbers -> indices of our classes."""

import logging
from collections import Counter
from pathlib import Path

import datasets
from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import RemoteEntryNotFoundError

from fer_model.configs import DEFAULT_DATASET
from fer_model.data.files import reading_place
from fer_model.data.folders import all_files, listed
from fer_model.errors import DataError
from fer_model.hub.errors import explain
from fer_model.labels import COUNTS, DROPPED, EMOTIONS, LABEL2ID, canonical_name

# datasets whose labels are bare numbers, and the documented meaning of those numbers
KNOWN_NAMES = {
    DEFAULT_DATASET: ("angry", "disgusted", "fearful", "happy", "neutral", "sad", "surprised"),
}
# `emotion` in Kaggle's CSV files; Goodfellow et al. 2013, https://arxiv.org/abs/1307.0414
KAGGLE_NAMES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")

log = logging.getLogger("fer_model.data.fer2013")


def class_words(
    rows: datasets.Dataset, label_column: str, image_column: str, dataset: str, revision: str | None
) -> list:
    """The label of every row as the dataset's own word for its class; a value without a word stays as it is.

    Raises:
        DataError: the labels are neither words nor numbers whose meaning is known.
    """
    values = list(rows[label_column])
    feature = rows.features[label_column]
    if isinstance(feature, datasets.ClassLabel):
        values = [feature.names[value] if isinstance(value, int) and value >= 0 else value for value in values]
    elif (names := _names_of_numbers(feature, label_column, image_column, dataset, revision)) is not None:
        return _named(values, names, dataset)
    if all(isinstance(value, str) and value.strip().isdigit() for value in values):  # folders called 1 to 7
        names = _known_names(label_column, image_column, dataset, revision)
        return _named([int(value) for value in values], names, dataset)
    return values


def _names_of_numbers(
    feature, label_column: str, image_column: str, dataset: str, revision: str | None
) -> tuple[str, ...] | None:
    """What whole numbers in the label column mean; None where the column holds words."""
    dtype = str(getattr(feature, "dtype", ""))
    if dtype in ("string", "large_string"):
        return None
    if not dtype.startswith(("int", "uint")):
        raise DataError(
            f"The label column {label_column!r} of the dataset {dataset!r} holds {feature}; expected class names or "
            "whole numbers (in a CSV file, one missing number turns all of them into fractions)."
        )
    return _known_names(label_column, image_column, dataset, revision)


def _known_names(label_column: str, image_column: str, dataset: str, revision: str | None) -> tuple[str, ...]:
    """What numbers mean: as classnames.txt says, else as is known of this dataset or of Kaggle's columns."""
    names = _classnames_file(dataset, revision) or KNOWN_NAMES.get(dataset)
    if names is None and (image_column.lower(), label_column.lower()) == ("pixels", "emotion"):
        names = KAGGLE_NAMES
    if names:
        return names
    raise DataError(
        f"The labels of the dataset {dataset!r} are numbers without names; put a file classnames.txt with one class "
        "name a line into its folder: for labels from 0 or from 1, in their order."
    )


def _named(values: list, names: tuple[str, ...], dataset: str) -> list[str]:
    """Numbers as names. They count from 1 where 0 does not occur and the number of names does, as in RAF-DB."""
    first = 1 if 0 not in values and len(names) in values else 0
    words = []
    for row, value in enumerate(values):
        if not isinstance(value, int) or not 0 <= value - first < len(names):
            raise DataError(
                f"Row {row} of the dataset {dataset!r} has the label {value!r}; expected {first} to "
                f"{len(names) - 1 + first} ({listed(names)})."
            )
        words.append(names[value - first])
    return words


def _classnames_file(dataset: str, revision: str | None) -> tuple[str, ...] | None:
    here = Path(dataset).expanduser()
    if here.exists():
        path = _beside(here)
        if path is None:
            return None
        log.info("%s: the names of its classes are in %s", dataset, path)
    elif dataset.count("/") != 1:
        return None
    else:
        try:
            path = Path(hf_hub_download(dataset, "classnames.txt", repo_type="dataset", revision=revision))
        except RemoteEntryNotFoundError:
            return None
        except Exception as error:  # see hub/errors
            if constants.HF_HUB_OFFLINE:  # not in the cache; the known names may do
                return None
            where = f" at revision {revision!r}" if revision else ""
            raise DataError(
                f"classnames.txt of the dataset {dataset!r}{where} could not be read: {explain(error)}."
            ) from error
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except ValueError as error:
        raise DataError(f"{path} is not text in UTF-8; save it so.") from error
    return tuple(line.strip() for line in lines if line.strip())


def _beside(dataset: Path) -> Path | None:
    """The classnames.txt of a file or folder: in it, in its zip or its folders, or beside it."""
    place = reading_place(dataset)
    for folder in (place, dataset):
        if folder.is_dir() and (found := [f for f in all_files(folder) if f.name.lower() == "classnames.txt"]):
            return min(found, key=lambda file: len(file.parts))
    beside = dataset.resolve().parent / "classnames.txt"
    return beside if beside.is_file() else None


def targets_of(
    words: list, dataset: str, wanted: tuple[str, ...], skip_unknown: bool = False
) -> tuple[list[int], list[int], dict[str, int]]:
    """Class index of every row of a `wanted` class, those rows' positions, and how many others there are, by name.

    Args:
        words: of `class_words`.
        skip_unknown: leave rows of unknown classes out, too.

    Raises:
        DataError: a class is unknown.
    """
    targets, kept = [], []
    left_out: Counter[str] = Counter()
    for position, word in enumerate(words):
        name = canonical_name(word) if isinstance(word, str) else None
        if name is None and not skip_unknown:
            raise DataError(
                f"The dataset {dataset!r} has a class {listed([repr(word)])} (row {position}) that is none of "
                f"{', '.join(EMOTIONS + DROPPED)} nor a usual name for one; leave such images out with "
                "--skip-unknown-classes, or rename it."
            )
        if name in wanted:
            targets.append(LABEL2ID[name])
            kept.append(position)
        else:
            left_out[name or str(word)] += 1
    if left_out:
        log.info("%s: left out %s", dataset, ", ".join(f"{n:,} {name}" for name, n in left_out.items()))
    return targets, kept, dict(left_out)


def require_classes(targets: list[int], split: str, dataset: str, wanted: tuple[str, ...]) -> None:
    """A training set must have images of all classes. A test set may lack some, which is logged.

    Raises:
        DataError: a training set lacks a class, or a test set all.
    """
    missing = [name for index, name in enumerate(wanted) if index not in set(targets)]
    if missing and targets and split == "test":
        log.warning(
            "%s, test: there is no image of %s; the means are over the other classes", dataset, ", ".join(missing)
        )
    elif missing:
        found = Counter(wanted[t] for t in targets)
        number = COUNTS[len(wanted)]
        remedy = f"each of the {number} is needed, so use a complete copy." if split == "train" else "check --dataset."
        raise DataError(
            f"The {split} split of the dataset {dataset!r} has no image of {', '.join(missing)} "
            f"(found: {', '.join(f'{n:,} {name}' for name, n in found.items()) or f'none of the {number} classes'}); "
            f"{remedy}"
        )
