"""Every number of the designs: architectures, training recipes and the input format."""

from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, NamedTuple, get_type_hints

from fer_model.errors import TrainingError

INPUT_SIZE = 64
"""Height and width, in pixels, of V1's and V2's input; see `Architecture.input_size`."""

DATA_SIZE = 48
"""Height and width, in pixels, at which faces are stored: FER2013's own.

In training, in evaluation and in the demo every face is first resized to this, then to the network's input. So a sharp
webcam image reaches the network as soft as its training data.
"""

PIXEL_MEAN = 0.5
PIXEL_STD = 0.5
"""Pixels in [0, 1] become (x - 0.5) / 0.5, hence [-1, 1]."""

NEAR_DUPLICATE = 0.95
"""From this correlation of their pixels on, two images count as the same photo."""

DEFAULT_DATASET = "clip-benchmark/wds_fer2013"
"""FER2013 on the Hub, unless another is named."""


@dataclass(frozen=True)
class Architecture:
    """One entry of `filters` and of `convs` per block, from the input on."""

    filters: tuple[int, ...]
    convs: tuple[int, ...]
    channel_attention: bool
    spatial_attention: bool = False
    input_size: int = INPUT_SIZE  # pixels a side of its input, in evaluation and use
    reduction: int = 16  # of Squeeze-and-Excitation
    hidden: int = 128  # units between global average pooling and the logits
    dropout: float = 0.5
    initial: str = "he"  # random weights: "he", or "uniform", which are smaller and learn sooner (see `FERModel`)


OPTIMIZERS = ("adam", "adamw", "sgd")

_TINY, _ANY = 1e-12, 1e9


class Range(NamedTuple):
    """The values that a setting may have, both ends included."""

    low: float
    high: float = _ANY


Share = Annotated[float, Range(0, 1)]
Amount = Annotated[float, Range(0)]
Pixels = Annotated[int, Range(16, 512)]  # four blocks halve it four times
Count = Annotated[int, Range(1)]


def _check_ranges(settings: "Augmentation | Recipe") -> None:
    for name, hint in get_type_hints(type(settings), include_extras=True).items():
        value = getattr(settings, name)
        for low, high in getattr(hint, "__metadata__", ()):
            if not low <= value <= high:  # NaN is not, either
                bound = f"at least {low:g}" if high == _ANY else f"from {low:g} to {high:g}"
                raise TrainingError(f"{name} is {value:g}; it must be {bound}.")


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training image, drawn anew for every image and epoch."""

    flip: Share = 0.5  # probability of a mirror image
    rotation: Annotated[float, Range(0, 180)] = 15.0  # degrees, uniform in [-rotation, +rotation]
    translation: Share = 0.1  # fraction of the side, uniform in [-t, +t] for x and for y
    shrink: Annotated[float, Range(0.1, 10)] = 1.0  # smallest zoom, of a uniform one in [shrink, enlarge]
    enlarge: Annotated[float, Range(0.1, 10)] = 1.0  # largest zoom
    brightness: Share = 0.0  # added to pixels in [0, 1], uniform in [-b, +b]
    contrast: Share = 0.0  # pixels' distance from the mean times a uniform factor in [1 - c, 1 + c]
    noise: Share = 0.0  # largest standard deviation of Gaussian noise on pixels in [0, 1]; half of the images get none
    erasing: Share = 0.0  # probability of a black rectangle (Zhong et al. 2020, arXiv 1708.04896)
    mixup: Amount = 0.0  # Beta parameter of mixing two images of a mini-batch (Zhang et al. 2018, arXiv 1710.09412)
    cutmix: Amount = 0.0  # Beta parameter of pasting one into another (Yun et al. 2019, arXiv 1905.04899)

    def __post_init__(self):
        _check_ranges(self)
        if self.shrink > self.enlarge:
            raise TrainingError(f"shrink, {self.shrink:g}, must not be above enlarge, {self.enlarge:g}.")


@dataclass(frozen=True)
class Recipe:
    """How a version is trained. `train.py --set NAME=VALUE` changes any of these for one run."""

    lr: Annotated[float, Range(_TINY)]
    weight_decay: Amount
    batch_size: Count = 32  # per process
    epochs: Count = 60  # at most
    patience: Count = 10  # epochs at the last size without a better validation accuracy, before training stops
    validation_fraction: Annotated[float, Range(_TINY, 0.9)] = 0.2
    split_seed: Annotated[int, Range(-1)] = -1  # of the validation split; -1 is the run's own seed
    together: bool = False  # all copies of a photo on one side of the validation split (see `data.splits`)
    optimizer: str = "adam"  # adam (decay as an L2 term), adamw (decoupled), or sgd (Nesterov, momentum 0.9)
    decay_weights_only: bool = False  # no decay for biases and BatchNorm
    warmup: Annotated[int, Range(0)] = 0  # epochs in which the learning rate rises to `lr`
    cosine: bool = False  # let it fall to 0 over all `epochs` (Loshchilov & Hutter 2017, arXiv 1608.03983)
    weight_power: Amount = 1.0  # class weights are inverse frequencies to this power: 0 none, 0.5 square roots
    label_smoothing: Annotated[float, Range(0, 0.99)] = 0.0  # Szegedy et al. 2016, arXiv 1512.00567
    focal: Amount = 0.0  # gamma of the focal loss (Lin et al. 2017, arXiv 1708.02002)
    clip: Amount = 0.0  # largest norm of all gradients together; 0 for no limit
    sam: Amount = 0.0  # radius of sharpness-aware minimisation, at twice the cost (Foret et al. 2021, arXiv 2010.01412)
    # decay of the weights' moving average, which is then validated and saved; 0 for none
    ema: Annotated[float, Range(0, 0.999999)] = 0.0
    size: Pixels = INPUT_SIZE  # pixels a side of the training images ...
    size_at_end: Pixels = INPUT_SIZE  # ... and, in the last `share_at_end` of all `epochs`, this
    share_at_end: Share = 0.0
    augmentation: Augmentation = Augmentation()

    def __post_init__(self):
        if self.optimizer not in OPTIMIZERS:
            raise TrainingError(f"There is no optimizer {self.optimizer!r}; choose {', '.join(OPTIMIZERS)}.")
        _check_ranges(self)

    def size_in(self, epoch: int) -> int:
        """Pixels a side of the training images in an epoch, counted from 1."""
        return self.size_at_end if epoch > round(self.epochs * (1 - self.share_at_end)) else self.size

    @property
    def last_size(self) -> int:
        """Pixels a side of the training images in the last epoch."""
        return self.size_in(self.epochs)


@dataclass(frozen=True)
class Config:
    architecture: Architecture
    recipe: Recipe
    classes: int = 6  # that it learns unless another number is asked for
    votes: float | None = None  # share of every target that ten people's votes have, likewise (see `distillation`)


VERSIONS = ("v1", "v2", "v3", "v4")
"""The designs."""

STEPS = ("v1-four-blocks", "v2-48-pixels", "v2-48-uniform")
"""Networks between the designs, for the ablations."""

_V3 = Config(
    Architecture(
        filters=(64, 128, 256, 512),
        convs=(2, 2, 3, 2),
        channel_attention=True,
        spatial_attention=True,
        input_size=48,
        initial="uniform",
    ),
    Recipe(
        lr=0.05,
        weight_decay=5e-4,
        batch_size=64,
        epochs=160,
        patience=160,  # no early stop: the schedule ends at a learning rate of 0
        validation_fraction=0.1,
        together=True,
        optimizer="sgd",
        decay_weights_only=True,
        warmup=2,
        cosine=True,
        weight_power=0.5,
        label_smoothing=0.1,
        ema=0.999,
        size=32,  # half the cost of 48, to which what it learns carries over
        size_at_end=48,
        share_at_end=0.5,
        augmentation=Augmentation(shrink=0.75, enlarge=1.1, brightness=0.1, contrast=0.2, erasing=0.4, mixup=0.2),
    ),
)

CONFIGS = {
    "v1": Config(
        Architecture(filters=(64, 128, 256), convs=(2, 2, 3), channel_attention=False),
        Recipe(lr=3e-4, weight_decay=0.0),
    ),
    "v2": Config(
        Architecture(filters=(64, 128, 256, 512), convs=(2, 2, 3, 2), channel_attention=True),
        Recipe(lr=1e-4, weight_decay=1e-4),
    ),
    "v3": _V3,
    # V3's network and recipe without mixup, against which two comparisons speak, and with noise, which V3 could not
    # bear (docs/robustness.md); it learns neutral too, and from votes
    "v4": replace(
        _V3,
        recipe=replace(_V3.recipe, augmentation=replace(_V3.recipe.augmentation, mixup=0.0, noise=0.1)),
        classes=7,
        votes=0.5,
    ),
    "v1-four-blocks": Config(
        Architecture(filters=(64, 128, 256, 512), convs=(2, 2, 3, 2), channel_attention=False),
        Recipe(lr=3e-4, weight_decay=0.0),
    ),
    "v2-48-pixels": Config(
        Architecture(filters=(64, 128, 256, 512), convs=(2, 2, 3, 2), channel_attention=True, input_size=48),
        Recipe(lr=1e-4, weight_decay=1e-4, size=48, size_at_end=48),
    ),
    "v2-48-uniform": Config(
        Architecture(
            filters=(64, 128, 256, 512), convs=(2, 2, 3, 2), channel_attention=True, input_size=48, initial="uniform"
        ),
        Recipe(lr=1e-4, weight_decay=1e-4, size=48, size_at_end=48),
    ),
}


def changed(recipe: Recipe, assignments: list[str]) -> Recipe:
    """A recipe with some options set, each given as "name=value" or "augmentation.name=value".

    Raises:
        TrainingError: there is no such option, or the value is not of its kind.
    """
    for assignment in assignments:
        name, _, value = assignment.partition("=")
        group, _, option = name.rpartition(".")
        target = recipe.augmentation if group == "augmentation" else recipe
        kinds = {field.name: type(getattr(target, field.name)) for field in fields(target)}
        if group not in ("", "augmentation") or option not in kinds or option == "augmentation":
            known = [field.name for field in fields(Recipe) if field.name != "augmentation"]
            known += [f"augmentation.{field.name}" for field in fields(Augmentation)]
            raise TrainingError(f"There is no option {name!r} to set; the options are {', '.join(known)}.")
        try:
            new = {"true": True, "false": False}[value.lower()] if kinds[option] is bool else kinds[option](value)
        except (KeyError, ValueError) as error:
            raise TrainingError(f"{name} must be of the kind {kinds[option].__name__}, not {value!r}.") from error
        change: dict[str, Any] = {option: new}
        if group:
            change = {"augmentation": replace(recipe.augmentation, **change)}
        recipe = replace(recipe, **change)
    return recipe
