"""Bytes, pixels or a path -> a stored face."""

import logging
import math
import re
from collections.abc import Iterator
from pathlib import Path

import datasets
import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from fer_model.configs import DATA_SIZE
from fer_model.errors import DataError, ImageError
from fer_model.images import open_image
from fer_model.model.preprocess import to_face

NUMBERS = re.compile(r"[\s\[(]*-?\d+(\.\d*)?([\s,]|$)")
"""How pixels begin that are written as text: 151 150 147, or [151, 150, 147]."""

log = logging.getLogger(__name__)


def decode(
    rows: datasets.Dataset,
    kept: list[int],
    column: str,
    dataset: str,
    split: str,
    skip_corrupt: bool,
    progress: bool,
) -> tuple[Tensor, list[int]]:
    """Faces uint8 (N, 1, 48, 48) of the `kept` rows, and the positions in `kept` of those that could be read.

    Raises:
        DataError: an image cannot be read and `skip_corrupt` is not set, or none can.
    """
    images = torch.empty(len(kept), 1, DATA_SIZE, DATA_SIZE, dtype=torch.uint8)
    readable: list[int] = []
    corrupt: list[str] = []
    bar = tqdm(total=len(kept), desc=f"decoding {split}", unit="image", disable=not progress, leave=False)
    for position, value in enumerate(_encoded(rows.select(kept), column)):
        try:
            images[len(readable)] = _face(value)
        except ImageError as error:
            corrupt.append(f"row {kept[position]} of the {split} split ({_name(value)}): {_short(error)}")
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
            f"(the first: {corrupt[0]}); check that its column {column!r} holds images."
        )
    return images[: len(readable)], readable


def _encoded(rows: datasets.Dataset, column: str) -> Iterator:
    """The column's values, not decoded by `datasets`, so that errors are reported here."""
    if isinstance(rows.features[column], datasets.Image):
        rows = rows.cast_column(column, datasets.Image(decode=False))
    for batch in rows.select_columns(column).iter(batch_size=1000):
        yield from batch[column]


def _face(value) -> Tensor:
    """Bytes, {bytes, path}, a string of numbers or a (nested) list of them -> uint8 (1, 48, 48)."""
    if isinstance(value, dict):
        value = value["bytes"] if value.get("bytes") is not None else value.get("path")
    if isinstance(value, str) and NUMBERS.match(value):
        value = re.sub(r"[\[\](),]", " ", value).split()
    if isinstance(value, list):
        value = _pixel_array(value)
    if value is None:
        raise ImageError("The image is missing.")
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


def _short(error: ImageError) -> str:
    """At most 200 characters; an operating system's error may hold all pixels, taken for a file's name."""
    text = str(error)
    return text if len(text) <= 200 else text[:199] + "…"


def _name(value) -> str:
    path = value.get("path") if isinstance(value, dict) else None
    return Path(path).name if path else "no file name"
