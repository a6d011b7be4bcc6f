"""The training and validation images of a run."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fer_model.configs import NEAR_DUPLICATE
from fer_model.data.dataset import FERData
from fer_model.data.duplicates import near_pairs, photo_groups
from fer_model.errors import DataError
from fer_model.labels import EMOTIONS_WITH_NEUTRAL
from fer_model.records import Settings


def validation_split(
    everything: FERData, limit: int | None, fraction: float, seed: int, together: bool, progress: bool = False
) -> tuple[FERData, FERData]:
    """Training and validation images, as a run with these settings has them.

    Args:
        together: keep all copies of a photo on one side (see `duplicates`). The validation images are then those of
            the same split without it, less the photos that occur more than once.

    Raises:
        DataError: `limit` is too small, or a class has no validation image.
    """
    everything = limited(everything, limit, seed)
    groups = None
    if together:
        groups = photo_groups(len(everything), near_pairs(everything.images, NEAR_DUPLICATE, progress))
    larger, smaller = stratified_split(everything.labels, fraction, seed, groups)
    return everything.subset(larger), everything.subset(smaller)


def validation_images(settings: Settings, everything: FERData) -> FERData:
    """Those of an earlier run with these settings, out of all training images of its dataset."""
    recipe = settings["recipe"]
    fraction, seed = recipe["validation_fraction"], seed_of_split(recipe, settings["seed"])
    return validation_split(everything, settings["limit"], fraction, seed, recipe["together"])[1]


def seed_of_split(recipe: Mapping[str, Any], seed: int) -> int:
    """The seed that chooses a run's images: its recipe's own, where it has one, else the run's."""
    chosen = recipe.get("split_seed", -1)
    return seed if chosen < 0 else chosen


def stratified_split(labels: Tensor, fraction: float, seed: int, groups: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Indices (larger part, smaller part), both sorted. `fraction` of every class goes to the smaller part.

    Each class is rounded by itself to the nearest image, with at least one on either side if it has two.

    Args:
        groups: int64 (N,) from `duplicates.photo_groups`: images of one photo share a number. Photos that occur more
            than once then move from the smaller part to the larger one, so that no photo is on both sides. The
            smaller part has fewer images than `fraction` says.

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
    """At most `limit` images, every class in proportion, for a quick try.

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
    present = data.labels.unique()
    counts = torch.bincount(data.labels)[present]
    if int(torch.bincount(data.labels[chosen], minlength=len(EMOTIONS_WITH_NEUTRAL))[present].min()) < 2:
        # round(n * fraction) >= 2 for the rarest class
        needed = math.ceil(2 * len(data) / int(counts.min()))
        raise DataError(
            f"--limit {limit} leaves fewer than two images of the rarest class; use --limit {needed} or more."
        )
    return data.subset(chosen)
