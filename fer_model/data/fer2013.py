"""A dataset id or path in; grey uint8 faces and labels 0..5, or 0..6 with neutral, out.

Reads whatever `datasets.load_dataset` reads if it holds an image and a label: Hub ids, parquet,
WebDataset, image folders, and Kaggle's `fer2013.csv` and `icml_face_data.csv`.
"""

import logging
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import torch
from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import RemoteEntryNotFoundError
from torch import Tensor
from tqdm.auto import tqdm

from fer_model.configs import DATA_SIZE, DEFAULT_DATASET
from fer_model.data.augment import to_face
from fer_model.errors import DataError, ImageError
from fer_model.hub.errors import explain, known_reason
from fer_model.images import open_image
from fer_model.labels import COUNTS, DROPPED, EMOTIONS, EMOTIONS_WITH_NEUTRAL, LABEL2ID, canonical_name, class_names

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


@dataclass(frozen=True)
class FERData:
    """Labelled faces, in the order of the dataset.

    images: uint8 (N, 1, 48, 48), values in [0, 255]. labels: int64 (N,), indices of `EMOTIONS_WITH_NEUTRAL`.
    usage: FER2013's own split name of each row ("Training", "PublicTest", "PrivateTest"), if told.
    """

    images: Tensor
    labels: Tensor
    usage: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """A whole batch at once (a DataLoader calls this): images, labels and the indices themselves."""
        index = torch.tensor(indices)
        return self.images[index], self.labels[index], index

    def subset(self, indices: Tensor) -> "FERData":
        usage = tuple(self.usage[i] for i in indices.tolist()) if self.usage else None
        return FERData(self.images[indices], self.labels[indices], usage)


def batches(data: FERData, batch_size: int, shuffle: bool = False) -> torch.utils.data.DataLoader:
    """Batches of (images, labels, indices); one tensor look-up each, so no worker processes."""
    return torch.utils.data.DataLoader(data, batch_size=batch_size, shuffle=shuffle, collate_fn=lambda batch: batch)


def stratified_split(labels: Tensor, fraction: float, seed: int, groups: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Indices (larger part, smaller part), both sorted; `fraction` of every class goes to the smaller.

    Each class is rounded by itself to the nearest image, with at least one on either side if it has two.

    Args:
        groups: int64 (N,) from `duplicates.photo_groups`: images of one photo share a number. Of the smaller part
            only the photos that occur once then stay; the others go to the larger one, so that no photo is on both
            sides. It is thus a part of what it is without `groups`, and of fewer images than `fraction`.

    Raises:
        DataError: a class has no photo in the smaller part that occurs once, where `groups` are given.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        count = min(max(round(len(members) * fraction), 1), len(members) - 1)
        chosen[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    if groups is not None:
        chosen &= torch.bincount(groups, minlength=len(labels))[groups] == 1
        for label in labels.unique():
            if not (chosen & (labels == label)).any():
                raise DataError(
                    f"Of the class {EMOTIONS_WITH_NEUTRAL[label]} no photo that occurs once came into the validation "
                    "split; take a larger validation_fraction or another seed."
                )
    return (~chosen).nonzero().flatten(), chosen.nonzero().flatten()


def limited(data: FERData, limit: int | None, seed: int) -> FERData:
    """At most `limit` images, of every class in proportion: for a quick try.

    Raises:
        DataError: `limit` is too small to hold two images of every class.
    """
    if limit is None or limit >= len(data):
        return data
    if limit < 1:
        raise DataError(f"--limit {limit} is not a number above 0.")
    for wanted in range(limit, 0, -1):  # each class is rounded by itself, so their sum may exceed what is asked for
        _, chosen = stratified_split(data.labels, wanted / len(data), seed)
        if len(chosen) <= limit:
            break
    counts = torch.bincount(data.labels)
    if int(torch.bincount(data.labels[chosen], minlength=len(counts)).min()) < 2:
        # round(n * fraction) >= 2 for the rarest class
        needed = math.ceil(2 * len(data) / int(counts.min()))
        raise DataError(
            f"--limit {limit} leaves fewer than two images of the rarest class; use --limit {needed} or more."
        )
    return data.subset(chosen)


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
        skip_corrupt: leave unreadable images out (they are logged) instead of stopping.
        progress: show a progress bar while decoding.
        classes: 6, or 7 to keep neutral faces too, with the label 6.

    Raises:
        DataError: the dataset, split, columns, class names or images are missing or unusable; the
            message names the dataset, what was found, and what to do.
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
    images, readable = _decode(rows, kept, image_column, dataset, split, skip_corrupt, progress)
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
    except Exception as error:  # the network's and the Hub's, and whatever its readers raise: pyarrow, tarfile, …
        where = f" at revision {revision!r}" if revision else ""
        hint = " --dataset takes a Hub id, a folder of parquet files, WebDataset shards or images, or Kaggle's CSV."
        raise DataError(
            f"The dataset {dataset!r}{where} could not be read: {explain(error)}.{'' if known_reason(error) else hint}"
        ) from error
    return loaded


def _cache_for(path: Path) -> str:
    """A cache of its own for every folder and every state of it.

    Where a README lists the files, `datasets` finds its cache by the folder's last name and that README
    alone: a repaired dataset, or another one of the same name, would silently come out as the old one.
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
    """The rows of a split: by the `usage` column where every row tells it, else by the split's name."""
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
    """What the numbers in the label column mean; None where the column holds names itself."""
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
        except Exception as error:  # see hub_errors
            if constants.HF_HUB_OFFLINE:  # without one in the cache, the known names may do
                return None
            raise DataError(
                f"classnames.txt of the dataset {dataset!r} could not be read: {explain(error)}."
            ) from error
    return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


def _targets(
    values: list, names: tuple[str, ...] | None, dataset: str, wanted: tuple[str, ...]
) -> tuple[list[int], list[int]]:
    """Class index of every row of a `wanted` class, and those rows' positions; the others are dropped."""
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


# Decoding


def _decode(
    rows: datasets.Dataset,
    kept: list[int],
    column: str,
    dataset: str,
    split: str,
    skip_corrupt: bool,
    progress: bool,
) -> tuple[Tensor, list[int]]:
    """Faces uint8 (N, 1, 48, 48) of the `kept` rows, and the positions in `kept` of those that could be read."""
    images = torch.empty(len(kept), 1, DATA_SIZE, DATA_SIZE, dtype=torch.uint8)
    readable: list[int] = []
    corrupt: list[str] = []
    bar = tqdm(total=len(kept), desc=f"decoding {split}", unit="image", disable=not progress, leave=False)
    for position, value in enumerate(_encoded(rows.select(kept), column)):
        try:
            images[len(readable)] = _face(value)
        except ImageError as error:
            corrupt.append(f"row {kept[position]} of the {split} split ({_name(value)}): {error}")
            if not skip_corrupt:
                bar.close()
                raise DataError(
                    f"The dataset {dataset!r} has an unreadable image, {corrupt[0]} "
                    "Repair or remove it, or leave such images out with --skip-corrupt."
                ) from error
        else:
            readable.append(position)
        bar.update()
    bar.close()
    for message in corrupt:
        log.warning("left out %s", message)
    if not readable:
        raise DataError(
            f"None of the {len(kept)} images in the {split} split of the dataset {dataset!r} can be read "
            f"(the first: {corrupt[0]}); check that its column {column!r} holds pictures."
        )
    return images[: len(readable)], readable


def _encoded(rows: datasets.Dataset, column: str) -> Iterator:
    """The column's values without letting `datasets` decode them, so that errors are ours to report."""
    if isinstance(rows.features[column], datasets.Image):
        rows = rows.cast_column(column, datasets.Image(decode=False))
    for batch in rows.select_columns(column).iter(batch_size=1000):
        yield from batch[column]


def _face(value) -> Tensor:
    """Bytes, {bytes, path}, a string of numbers or a (nested) list of them -> uint8 (1, 48, 48)."""
    if isinstance(value, dict):
        value = value["bytes"] if value.get("bytes") is not None else value.get("path")
    if isinstance(value, str) and value.lstrip()[:1].isdigit():
        value = value.split()
    if isinstance(value, list):
        value = _pixel_array(value)
    if value is None:
        raise ImageError("The picture is missing.")
    return to_face(open_image(value))


def _pixel_array(values: list) -> np.ndarray:
    try:
        array = np.array(values, dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise ImageError("The pixels are not whole numbers.") from error
    if (array != np.floor(array)).any():  # also where a pixel is missing: NaN equals nothing
        raise ImageError("The pixels are not whole numbers.")
    if array.ndim == 1:
        side = math.isqrt(array.size)
        if side == 0 or side * side != array.size:
            raise ImageError(f"{array.size} pixels do not make a square.")
        array = array.reshape(side, side)
    if array.size and (array.min() < 0 or array.max() > 255):
        raise ImageError("The pixels are not all in [0, 255].")
    return array.astype(np.uint8)


def _name(value) -> str:
    path = value.get("path") if isinstance(value, dict) else None
    return Path(path).name if path else "no file name"
