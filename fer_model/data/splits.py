"""The training and validation images of a run."""

from fer_model.configs import TWIN
from fer_model.data.duplicates import near_pairs, photo_groups
from fer_model.data.fer2013 import FERData, limited, stratified_split


def validation_split(
    everything: FERData, limit: int | None, fraction: float, seed: int, together: bool, progress: bool = False
) -> tuple[FERData, FERData]:
    """Training and validation images, as a run with these settings has them.

    Args:
        together: keep all copies of a photo on one side (see `duplicates`); the validation images are then those
            of the same split without it, less the photos that occur more than once.
    """
    everything = limited(everything, limit, seed)
    groups = None
    if together:
        groups = photo_groups(len(everything), near_pairs(everything.images, TWIN, progress))
    larger, smaller = stratified_split(everything.labels, fraction, seed, groups)
    return everything.subset(larger), everything.subset(smaller)
