"""FER2013 holds many photos more than once. This finds exact copies, and near-duplicates by correlation."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from fer_model.configs import NEAR_DUPLICATE
from fer_model.data.dataset import FERData, fingerprint
from fer_model.errors import DataError
from fer_model.labels import EMOTIONS
from fer_model.runs import read_json

THRESHOLDS = (0.90, 0.93, 0.95, 0.97, 0.99)

PARTS = ("Training", "PublicTest", "PrivateTest")

TEST_SETS = {"six_class_test": 6, "seven_class_test": 7}
"""The names of the test sets in data.json, and their numbers of classes."""

_BLOCK = 2048  # images on either side of one matrix product


@dataclass(frozen=True)
class Pairs:
    """Pairs of near-duplicates.

    first < second: indices, int64 (P,). correlation: float32 (P,). mirrored: bool (P,).
    """

    first: Tensor
    second: Tensor
    correlation: Tensor
    mirrored: Tensor

    def above(self, threshold: float) -> "Pairs":
        return self.where(self.correlation >= threshold)

    def where(self, mask: Tensor) -> "Pairs":
        return Pairs(self.first[mask], self.second[mask], self.correlation[mask], self.mirrored[mask])

    def __len__(self) -> int:
        return len(self.first)


def blank(images: Tensor) -> Tensor:
    """Which images have one grey value only: bool (N,)."""
    flat = images.flatten(1)
    return flat.amax(dim=1) == flat.amin(dim=1)


def exact_groups(images: Tensor) -> list[list[int]]:
    """For every image that occurs more than once, the indices of its copies, equal in every pixel."""
    found: dict[bytes, list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        found[image.numpy().tobytes()].append(index)
    return [members for members in found.values() if len(members) > 1]


def near_pairs(images: Tensor, threshold: float, progress: bool = False) -> Pairs:
    """All pairs whose Pearson correlation over pixels reaches `threshold`, as they are or with one mirrored.

    Blank images correlate with nothing, and are in no pair.

    Args:
        images: uint8 (N, 1, H, W). threshold: above 0.
    """
    vectors = _unit_vectors(images)
    mirrored = _unit_vectors(images.flip(-1))
    found = []
    starts = range(0, len(vectors), _BLOCK)
    blocks = [(a, b) for a in starts for b in starts if b >= a]
    for a, b in tqdm(blocks, desc="comparing", unit="block", disable=not progress, leave=False):
        straight = vectors[a : a + _BLOCK] @ vectors[b : b + _BLOCK].T
        flipped = vectors[a : a + _BLOCK] @ mirrored[b : b + _BLOCK].T
        best = torch.maximum(straight, flipped)
        i, j = (best >= threshold).nonzero(as_tuple=True)
        later = a + i < b + j
        i, j = i[later], j[later]
        found.append((a + i, b + j, best[i, j], flipped[i, j] > straight[i, j]))
    first, second, correlation, is_mirrored = (torch.cat(parts) for parts in zip(*found, strict=True))
    return Pairs(first, second, correlation.clamp(max=1.0), is_mirrored)


def photo_groups(count: int, pairs: Pairs) -> Tensor:
    """For each of `count` images the smallest index among those that pairs join it to: int64 (count,)."""
    parent = list(range(count))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]  # path halving
            index = parent[index]
        return index

    for a, b in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True):
        a, b = root(a), root(b)
        parent[max(a, b)] = min(a, b)
    return torch.tensor([root(index) for index in range(count)])


def leaked_rows(file: Path, test: FERData) -> Tensor | None:
    """Which images of a test set have a near-duplicate among the training images of the same classes: bool (N,).

    None where `file`, a data.json, is not there or is about another test set.
    """
    data = read_json(file)
    if data is None:
        return None
    known = {data[key]["sha256"]: data[key] for key in TEST_SETS if key in data}
    found = known.get(fingerprint(test.images))
    if found is None:
        return None
    mask = torch.zeros(len(test), dtype=torch.bool)
    mask[found["rows_with_twin_in_train"]] = True
    return mask


def _unit_vectors(images: Tensor) -> Tensor:
    """Pixels less their mean, scaled to length 1: the dot product of two rows is their correlation. (N, H * W)"""
    flat = images.flatten(1).float()
    centred = flat - flat.mean(dim=1, keepdim=True)
    return centred / centred.norm(dim=1, keepdim=True).clamp(min=1e-6)


def study(train: FERData, test: FERData, progress: bool = False) -> dict:
    """What data.json holds.

    Args:
        train, test: with their neutral images (label 6); `test.usage` tells PublicTest from PrivateTest.

    Raises:
        DataError: `test.usage` is missing.
    """
    if test.usage is None:
        raise DataError("The test rows do not say which are PublicTest and which PrivateTest (a column usage).")
    images = torch.cat([train.images, test.images])
    labels = torch.cat([train.labels, test.labels])
    part = torch.tensor([0] * len(train) + [PARTS.index(name) for name in test.usage])
    pairs = near_pairs(images, min(THRESHOLDS), progress)
    six = labels < len(EMOTIONS)
    blanks = blank(images)
    groups = [members for members in exact_groups(images) if not blanks[members[0]]]  # as in `near_pairs`
    copies = Pairs(*_all_pairs(groups))
    near = pairs.above(NEAR_DUPLICATE)
    return {
        "images": {name: int((part == index).sum()) for index, name in enumerate(PARTS)},
        "images_six_classes": {name: int(((part == index) & six).sum()) for index, name in enumerate(PARTS)},
        "blank": {name: int((blanks & (part == index)).sum()) for index, name in enumerate(PARTS)},
        "exact": {
            "groups": len(groups),
            "extra_copies": sum(len(members) - 1 for members in groups),
            **_counts(copies, labels, part, six),
        },
        "near": {f"{threshold:.2f}": _counts(pairs.above(threshold), labels, part, six) for threshold in THRESHOLDS},
        "twin_threshold": NEAR_DUPLICATE,
        **{key: _test_set(images, part, near, labels < classes) for key, classes in TEST_SETS.items()},
    }


def _test_set(images: Tensor, part: Tensor, near: Pairs, known: Tensor) -> dict:
    """The fingerprint of a test set, and its rows with a near-duplicate in train, numbered as `load_fer` gives them.

    Args:
        known: which images are of its classes, bool (N,). The others count in neither part.
    """
    tested = (part > 0) & known
    position = torch.full((len(images),), -1)
    position[tested] = torch.arange(int(tested.sum()))
    leaked = torch.zeros(len(images), dtype=torch.bool)
    leaked[near.second[(part[near.first] == 0) & (part[near.second] > 0) & known[near.first]]] = True
    return {"sha256": fingerprint(images[tested]), "rows_with_twin_in_train": position[leaked & tested].tolist()}


def _all_pairs(groups: list[list[int]]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    found = [(a, b) for members in groups for i, a in enumerate(members) for b in members[i + 1 :]]
    first, second = torch.tensor(found, dtype=torch.int64).reshape(-1, 2).T
    return first, second, torch.ones(len(found)), torch.zeros(len(found), dtype=torch.bool)


def _counts(pairs: Pairs, labels: Tensor, part: Tensor, six: Tensor) -> dict:
    """Pairs by the parts they join, pairs with two labels, and test images with a copy in the training set."""
    joined = torch.stack([part[pairs.first], part[pairs.second]]).sort(dim=0).values
    between = Counter(zip(*joined.tolist(), strict=True))
    crossing = pairs.where((part[pairs.first] == 0) & (part[pairs.second] > 0))
    in_six = crossing.where(six[crossing.first] & six[crossing.second])
    return {
        "pairs": len(pairs),
        "mirrored": int(pairs.mirrored.sum()),
        "different_label": int((labels[pairs.first] != labels[pairs.second]).sum()),
        "pairs_between": {f"{PARTS[a]}, {PARTS[b]}": count for (a, b), count in sorted(between.items())},
        "test_images_with_one_in_train": len(crossing.second.unique()),
        "test_images_with_one_in_train_six_classes": len(in_six.second.unique()),
    }
