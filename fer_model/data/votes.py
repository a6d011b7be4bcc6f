"""What ten people say of each image of FER2013: FER+, found by the image alone.

Barsoum et al. 2016, https://arxiv.org/abs/1608.01041. The votes lie in vendor/ferplus, by a hash of each image, so that
any copy of FER2013 finds them, in any order, as PNG or as JPEG. Training and test images have a table each: no test
image's votes reach a training image, not even a copy of it.
"""

import hashlib
import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from fer_model.data.duplicates import blank
from fer_model.errors import DataError
from fer_model.labels import EMOTIONS_WITH_NEUTRAL

VOTES_FILE = Path(__file__).resolve().parents[1] / "vendor" / "ferplus" / "votes.npz"

_VENDORED, VOTES_SHA256 = VOTES_FILE, "ee7c447d415bd35cc7159a9e796536e35402e6a31d296dd139f5e5169ed943ba"

ANSWERS = (*EMOTIONS_WITH_NEUTRAL, "contempt", "unknown", "not a face")
"""What people could say. The first seven have the index of their class."""

NEAR = 13
"""Bits of 144 by which the hashes of two copies of one image may differ; JPEG changes 0.6 on average."""

ROWS, COLUMNS = 12, 13
_BLOCK = 2048  # images looked up at once


@dataclass(frozen=True)
class Votes:
    """The votes for N images.

    counts: int64 (N, 10), columns as `ANSWERS`; zeros where there are no votes. Images of one hash share their sum.
    distance: int64 (N,), bits to the nearest hash; -1 where none is near, and for images of a single grey.
    nearest: int64 (N,), how many hashes are that near. The counts are the sum over them.
    """

    counts: Tensor
    distance: Tensor
    nearest: Tensor

    def __len__(self) -> int:
        return len(self.counts)


def difference_hash(images: Tensor) -> Tensor:
    """Whether each of 12 x 13 cells is brighter than its left neighbour: bool (N, 144) of uint8 (N, 1, 48, 48).

    Sums of whole numbers, so that every machine finds the same. A pixel on the border of two cells counts in both, by
    its parts.
    """
    count, _, height, width = images.shape
    rows = images.long().view(count, ROWS, height // ROWS, width).sum(dim=2)
    cells = rows.repeat_interleave(COLUMNS, dim=2).view(count, ROWS, COLUMNS, width).sum(dim=3)
    return (cells[..., 1:] > cells[..., :-1]).flatten(1)


def find_votes(images: Tensor, split: str, progress: bool = False) -> Votes:
    """The votes for faces of FER2013, uint8 (N, 1, 48, 48), of its split "train" or "test", by the nearest hash."""
    hashes, table = _table(VOTES_FILE, split)
    keys = pack(difference_hash(images))
    row_of = {key.tobytes(): row for row, key in enumerate(hashes)}
    rows = torch.tensor([row_of.get(key.tobytes(), -1) for key in keys])
    counts, distance, nearest = table[rows], torch.where(rows < 0, -1, 0), (rows >= 0).long()
    others = (rows < 0).nonzero().flatten()
    signs = _signs(hashes).T
    for some in tqdm(others.split(_BLOCK), desc="votes", unit="block", disable=not progress, leave=False):
        equal = _signs(keys[some.numpy()]) @ signs  # bits that are equal less those that are not
        best = equal.amax(dim=1)
        away = ((signs.shape[0] - best) / 2).long()
        among = (equal == best[:, None]) & (away <= NEAR)[:, None]
        counts[some] = (among.float() @ table.float()).long()
        distance[some], nearest[some] = torch.where(away <= NEAR, away, -1), among.sum(dim=1)
    blanks = blank(images)
    counts[blanks], distance[blanks], nearest[blanks] = 0, -1, 0
    return Votes(counts, distance, nearest)


def pack(bits: Tensor) -> np.ndarray:
    """Hashes bool (N, 144) -> uint8 (N, 18)."""
    return np.packbits(bits.numpy(), axis=1)


def _signs(keys: np.ndarray) -> Tensor:
    """uint8 (N, 18) -> float32 (N, 144) of -1 and 1."""
    return torch.from_numpy(np.unpackbits(keys, axis=1)).float() * 2 - 1


@cache
def _table(file: Path, split: str) -> tuple[np.ndarray, Tensor]:
    """Hashes uint8 (H, 18), none twice, and their votes int64 (H, 10).

    Raises:
        DataError: the vendored file is missing or not the one this code was tested with.
    """
    content = file.read_bytes() if file.is_file() else b""
    if file == _VENDORED and hashlib.sha256(content).hexdigest() != VOTES_SHA256:
        raise DataError(f"FER+'s votes, {file}, are missing or damaged; install the package anew.")
    with np.load(io.BytesIO(content)) as arrays:
        return arrays[f"{split}_hashes"], torch.from_numpy(arrays[f"{split}_votes"].astype(np.int64))


def votes_digest() -> str:
    """SHA-256 of the file of votes."""
    return hashlib.sha256(VOTES_FILE.read_bytes()).hexdigest()


# What the votes say, for the classes of a model


def with_votes(counts: Tensor, classes: int) -> Tensor:
    """Which images have a vote for one of the first `classes` answers: bool (N,)."""
    return counts[:, :classes].sum(dim=1) > 0


def distribution(counts: Tensor, classes: int) -> Tensor:
    """Shares of the votes for the first `classes` answers, float32 (N, classes); zeros where nobody chose one."""
    chosen = counts[:, :classes].float()
    return chosen / chosen.sum(dim=1, keepdim=True).clamp(min=1)


def favourites(counts: Tensor, classes: int) -> Tensor:
    """Which of the classes got the most votes, bool (N, classes): several where they tie, none without votes."""
    chosen = counts[:, :classes]
    return (chosen == chosen.amax(dim=1, keepdim=True)) & (chosen > 0)


def majority(counts: Tensor, classes: int) -> Tensor:
    """The class that at least half of all voters chose, five of ten, int64 (N,); -1 where there is none.

    Of two with five votes each the first in the order of classes counts.
    """
    most, first = counts[:, :classes].max(dim=1)
    return torch.where((most > 0) & (2 * most >= counts.sum(dim=1)), first, -1)


def agrees_with_majority(predicted: Tensor, counts: Tensor, classes: int) -> Tensor:
    """Whether answers, int64 (N,), are the majority's: bool, of the images that have one."""
    most = majority(counts, classes)
    return (predicted == most)[most >= 0]
