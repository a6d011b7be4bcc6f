"""A dataset id or path -> grey uint8 faces and labels 0..5, or 0..6 with neutral.

`datasets.load_dataset` reads it, so it may be a Hub id, parquet, WebDataset, image folders, or Kaggle's `fer2013.csv`
or `icml_face_data.csv`. It must hold an image and a label.
"""

import logging
from collections import Counter
from pathlib import Path

import datasets
import torch
from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import RemoteEntryNotFoundError

from fer_model.configs import DEFAULT_DATASET
from fer_model.data.dataset import FERData
from fer_model.data.decoding import decode
from fer_model.errors import DataError
from fer_model.hub.errors import explain, known_reason
from fer_model.labels import COUNTS, DROPPED, EMOTIONS, LABEL2ID, canonical_name, class_names

IMAGE_COLUMNS = ("image", "jpg", "png", "webp", "jpeg", "img", "img_bytes", "pixels")
LABEL_COLUMNS = ("label", "labels", "cls", "emotion", "emotions", "class", "expression")

# datasets whose labels are bare numbers, and the documented meaning of those numbers
KNOWN_NAMES = {
    DEFAULT_DATASET: ("angry", "disgusted", "fearful", "happy", "neutral", "sad", "surprised"),
}
# `emotion` in Kaggle's CSV files; Goodfellow et al. 2013, https://arxiv.org/abs/1307.0414
KAGGLE_NAMES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")

SPLIT_NAMES = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
}
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
    progress: bool = True,
    classes: int = len(EMOTIONS),
) -> FERData:
    """The faces of one split ("train" or "test"), decoded once.

    Args:
        dataset: a Hub id, a folder, or a CSV file.
        revision: branch, tag or commit of a Hub dataset.
        skip_corrupt: log unreadable images and leave them out, instead of stopping.
        progress: show a progress bar while decoding.
        classes: 6, or 7 to keep neutral faces too, with the label 6.

    Raises:
        DataError: the dataset, split, columns, class names or images are missing or unusable. The message names the
            dataset, what was found, and what to do.
    """
    wanted = class_names(classes)
    loaded = _load(dataset, revision)
    rows = _select_split(loaded, split, dataset)
    image_column = _find_column(rows, "image", IMAGE_COLUMNS, datasets.Image, dataset)
    label_column = _find_column(rows, "label", LABEL_COLUMNS, datasets.ClassLabel, dataset)
    usage_column = _usage_column(rows)
    names = _class_names(rows, label_column, image_column, dataset, revision)
    targets, kept = _targets(rows[label_column], names, dataset, wanted)
    _require_all_classes(targets, split, dataset, wanted)
    images, readable = decode(rows, kept, image_column, dataset, split, skip_corrupt, progress)
    labels = torch.tensor([targets[i] for i in readable])
    _require_all_classes(labels.tolist(), split, dataset, wanted)
    usage = None
    if usage_column:
        values = list(rows[usage_column])
        usage = tuple(str(values[kept[i]]) for i in readable)
    counts = torch.bincount(labels).tolist()
    log.info(
        "%s, %s: %s images (%s)",
        dataset,
        split,
        f"{len(labels):,}",
        ", ".join(f"{n:,} {name}" for name, n in zip(wanted, counts, strict=True)),
    )
    return FERData(images, labels, usage)


# Finding the rows


def _load(dataset: str, revision: str | None) -> datasets.DatasetDict:
    path = Path(dataset).expanduser()
    csv_file = _kaggle_csv(path)
    looks_local = (
        path.exists() or dataset.startswith((".", "/", "~")) or dataset.count("/") > 1 or path.suffix == ".csv"
    )
    if looks_local and not path.exists():
        raise DataError(f"There is no file or folder {dataset!r}; check --dataset.")
    if path.is_dir() and not any(p.is_file() for p in path.rglob("*")):
        raise DataError(f"The folder {dataset!r} is empty; --dataset needs parquet, WebDataset, images or a CSV in it.")
    try:
        if csv_file:
            rows = datasets.load_dataset("csv", data_files=str(csv_file), split="train")
            rows = rows.rename_columns({name: name.strip() for name in rows.column_names if name != name.strip()})
            return datasets.DatasetDict(train=rows)
        if looks_local:
            loaded = datasets.load_dataset(str(path), cache_dir=_cache_for(path))
        else:
            loaded = datasets.load_dataset(dataset, revision=revision)
    except Exception as error:  # the network's and the Hub's, and whatever the readers raise: pyarrow, tarfile, …
        where = f" at revision {revision!r}" if revision else ""
        hint = "--dataset takes a Hub id, a folder of parquet files, WebDataset shards or images, or Kaggle's CSV."
        if known_reason(error):
            hint = "--dataset takes a copy on this machine, too."
        raise DataError(f"The dataset {dataset!r}{where} could not be read: {explain(error)}. {hint}") from error
    return loaded


def _cache_for(path: Path) -> str:
    """A cache of its own for every folder and every state of it.

    Where a README lists the files, `datasets` finds its cache by that README and the folder's last name alone. A
    repaired dataset, or another one of the same name, would silently be read as the old one.
    """
    files = sorted(p for p in path.resolve().rglob("*") if p.is_file())
    state = [(str(p), p.stat().st_mtime_ns, p.stat().st_size) for p in files]
    return str(Path(datasets.config.HF_DATASETS_CACHE) / "local" / datasets.fingerprint.Hasher.hash(state))


def _kaggle_csv(path: Path) -> Path | None:
    if path.is_file() and path.suffix == ".csv":
        return path
    for name in ("fer2013.csv", "icml_face_data.csv", "fer2013/fer2013.csv"):
        if (path / name).is_file():
            return path / name
    return None


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
        found = ", ".join(f"{value!r}" for value in sorted(set(map(str, usage)))) or "no rows"
        raise DataError(
            f"The dataset {dataset!r} has no {split} rows: its usage column holds {found}; "
            f"expected {' or '.join(USAGES[split])}."
        )
    for name in loaded:
        if name.lower() in SPLIT_NAMES[split]:
            return loaded[name]
    found = ", ".join(f"{name!r}" for name in loaded) or "none"
    raise DataError(
        f"The dataset {dataset!r} has no {split!r} split (found: {found}); "
        f"name a split, a folder or the files {' or '.join(SPLIT_NAMES[split])}."
    )


# Understanding the columns


def _find_column(rows: datasets.Dataset, role: str, usual: tuple[str, ...], feature: type, dataset: str) -> str:
    """By a usual name among the columns of the right type, then by type alone, then by name alone."""
    typed = [name for name, kind in rows.features.items() if isinstance(kind, feature)]
    for candidates in (
        [name for name in usual if name in typed],
        typed,
        [name for name in usual if name in rows.column_names],
    ):
        if candidates:
            return candidates[0]
    raise DataError(
        f"The dataset {dataset!r} has no {role} column (found: {', '.join(rows.column_names)}); "
        f"rename it to one of {', '.join(usual[:4])}."
    )


def _class_names(
    rows: datasets.Dataset, label_column: str, image_column: str, dataset: str, revision: str | None
) -> tuple[str, ...] | None:
    """What the numbers in the label column mean; None where the column holds names."""
    feature = rows.features[label_column]
    if isinstance(feature, datasets.ClassLabel):
        return tuple(feature.names)
    dtype = str(getattr(feature, "dtype", ""))
    if dtype in ("string", "large_string"):
        return None
    if not dtype.startswith(("int", "uint")):
        raise DataError(
            f"The label column {label_column!r} of the dataset {dataset!r} holds {feature}; expected class names or "
            "whole numbers (in a CSV file, one missing number turns all of them into fractions)."
        )
    names = _classnames_file(dataset, revision) or KNOWN_NAMES.get(dataset)
    if names is None and image_column == "pixels" and label_column == "emotion":
        names = KAGGLE_NAMES
    if names is None:
        raise DataError(
            f"The labels of the dataset {dataset!r} are numbers without names; "
            "put a file classnames.txt with one class name a line beside its README."
        )
    return names


def _classnames_file(dataset: str, revision: str | None) -> tuple[str, ...] | None:
    path = Path(dataset).expanduser() / "classnames.txt"
    if not path.is_file():
        if Path(dataset).expanduser().exists() or dataset.count("/") != 1:
            return None
        try:
            path = Path(hf_hub_download(dataset, "classnames.txt", repo_type="dataset", revision=revision))
        except RemoteEntryNotFoundError:
            return None
        except Exception as error:  # see hub/errors
            if constants.HF_HUB_OFFLINE:  # not in the cache; the known names may do
                return None
            raise DataError(
                f"classnames.txt of the dataset {dataset!r} could not be read: {explain(error)}."
            ) from error
    return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


def _targets(
    values: list, names: tuple[str, ...] | None, dataset: str, wanted: tuple[str, ...]
) -> tuple[list[int], list[int]]:
    """Class index of every row of a `wanted` class, and those rows' positions. Other rows are left out."""
    targets, kept = [], []
    dropped: Counter[str] = Counter()
    resolved: dict = {}
    for position, value in enumerate(values):
        if value not in resolved:
            resolved[value] = _resolve(value, names, position, dataset)
        name = resolved[value]
        if name not in wanted:
            dropped[name] += 1
        else:
            targets.append(LABEL2ID[name])
            kept.append(position)
    if dropped:
        log.info("%s: left out %s", dataset, ", ".join(f"{n:,} {name}" for name, n in dropped.items()))
    return targets, kept


def _resolve(value, names: tuple[str, ...] | None, row: int, dataset: str) -> str:
    if names is None:
        word = value
    elif isinstance(value, int) and 0 <= value < len(names):
        word = names[value]
    else:
        raise DataError(
            f"Row {row} of the dataset {dataset!r} has the label {value!r}; expected 0 to {len(names) - 1} "
            f"({', '.join(names)})."
        )
    name = canonical_name(word) if isinstance(word, str) else None
    if name is None:
        raise DataError(
            f"The dataset {dataset!r} has a class {word!r} (row {row}) that is none of "
            f"{', '.join(EMOTIONS + DROPPED)} nor a usual name for one; rename it."
        )
    return name


def _require_all_classes(targets: list[int], split: str, dataset: str, wanted: tuple[str, ...]) -> None:
    missing = [name for index, name in enumerate(wanted) if index not in set(targets)]
    if missing:
        found = Counter(wanted[t] for t in targets)
        number = COUNTS[len(wanted)]
        raise DataError(
            f"The {split} split of the dataset {dataset!r} has no image of {', '.join(missing)} "
            f"(found: {', '.join(f'{n:,} {name}' for name, n in found.items()) or f'none of the {number} classes'}); "
            f"each of the {number} is needed, so use a complete copy."
        )
