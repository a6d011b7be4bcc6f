"""Every number of the designs, once: architectures, training recipes and the input format."""

from dataclasses import dataclass

INPUT_SIZE = 64
"""Height and width, in pixels, of what the network sees."""

DATA_SIZE = 48
"""Height and width, in pixels, at which faces are stored: FER2013's own.

Every face passes through this size on its way to `INPUT_SIZE`, in training, in evaluation
and in the app, so that a sharp webcam picture reaches the network as soft as its training data.
"""

PIXEL_MEAN = 0.5
PIXEL_STD = 0.5
"""Pixels in [0, 1] become (x - 0.5) / 0.5, hence [-1, 1]."""


DEFAULT_DATASET = "clip-benchmark/wds_fer2013"
"""FER2013 on the Hub, unless another is named."""


@dataclass(frozen=True)
class Architecture:
    """One entry of `filters` and of `convs` per block, from the input on."""

    filters: tuple[int, ...]
    convs: tuple[int, ...]
    channel_attention: bool
    reduction: int = 16  # of Squeeze-and-Excitation
    hidden: int = 128  # units between global average pooling and the logits
    dropout: float = 0.5


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training image; each is drawn anew for every image and epoch."""

    flip: float = 0.5  # probability of a mirror image
    rotation: float = 15.0  # degrees, uniform in [-rotation, +rotation]
    translation: float = 0.1  # fraction of the side, uniform in [-t, +t] for x and for y


@dataclass(frozen=True)
class Recipe:
    """How a version is trained; `lr` and `weight_decay` are Adam's."""

    lr: float
    weight_decay: float
    batch_size: int = 32  # per process
    epochs: int = 60  # at most
    patience: int = 10  # epochs without a better validation accuracy before training stops
    validation_fraction: float = 0.2
    augmentation: Augmentation = Augmentation()


@dataclass(frozen=True)
class Config:
    architecture: Architecture
    recipe: Recipe


CONFIGS = {
    "v1": Config(
        Architecture(filters=(64, 128, 256), convs=(2, 2, 3), channel_attention=False),
        Recipe(lr=3e-4, weight_decay=0.0),
    ),
    "v2": Config(
        Architecture(filters=(64, 128, 256, 512), convs=(2, 2, 3, 2), channel_attention=True),
        Recipe(lr=1e-4, weight_decay=1e-4),
    ),
}
