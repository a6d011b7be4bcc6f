"""Which short trainings make a study."""

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path

from fer_model.configs import CONFIGS


@dataclass(frozen=True)
class Row:
    """One training: what is new in it, and its own arguments for train.py."""

    name: str
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """Rows on one budget: epochs over `limit` images (None: all). All have `arguments` in common.

    With `ten_crops` they are also judged by the mean over ten crops of each validation image.
    """

    question: str
    epochs: int
    limit: int | None
    rows: tuple[Row, ...]
    arguments: tuple[str, ...] = ()
    ten_crops: bool = False


def _row(name: str, arguments: str) -> Row:
    return Row(name, tuple(shlex.split(arguments)))


_FROM_V3_7 = "--init results/v3-7/models --lr 0.01 --set warmup=0 --set ema=0.99 --set size=48 --set split_seed=0"

# V2's options that V3 changes, in the order in which the study changes them
_V3_STEPS = (
    (
        "SGD with Nesterov momentum and a rate of 0.05, in batches of 64",
        ("optimizer", "lr", "weight_decay", "decay_weights_only", "batch_size"),
    ),
    ("warm-up and cosine", ("warmup", "cosine")),
    ("square roots of the class weights", ("weight_power",)),
    ("label smoothing", ("label_smoothing",)),
    (
        "stronger augmentation",
        tuple(f"augmentation.{name}" for name in ("shrink", "enlarge", "brightness", "contrast", "erasing")),
    ),
    ("moving average of the weights", ("ema",)),
    ("mixup", ("augmentation.mixup",)),
    ("the first half at 32 pixels: V3", ("size", "share_at_end")),
)


def _v2_to_v3() -> tuple[Row, ...]:
    """From V2 to V3's network with V2's recipe, and from there to V3's recipe, option by option."""
    kept = [name for _, names in _V3_STEPS for name in names]
    rows = [
        _row("V2 as designed", "--version v2"),
        _row("+ input of 48 pixels", "--version v2-48-pixels"),
        _row("+ smaller initial weights", "--version v2-48-uniform"),
        Row("+ spatial attention", ("--version", "v3", *_options_of_v2(kept))),
    ]
    for step, names in _V3_STEPS:
        kept = [name for name in kept if name not in names]
        rows.append(Row(f"+ {step}", ("--version", "v3", *_options_of_v2(kept))))
    return (
        tuple(rows)
        + tuple(
            _row(f"V3, but {name}", f"--version v3 {arguments}")
            for name, arguments in (
                ("focal loss, gamma 2, and no label smoothing", "--set focal=2 --set label_smoothing=0"),
                ("AdamW with a rate of 0.001", "--set optimizer=adamw --set lr=0.001 --set weight_decay=0.05"),
                ("with seed 1", "--seed 1"),
            )
        )
        + (_row("V2, but with seed 1", "--version v2 --seed 1"),)
    )


def _options_of_v2(names: list[str]) -> list[str]:
    """Arguments that set some options of V3's recipe to V2's values."""
    theirs, ours = (_options(version) for version in ("v2-48-pixels", "v3"))
    return [word for name in names if theirs[name] != ours[name] for word in ("--set", f"{name}={theirs[name]}")]


def _options(version: str) -> dict:
    """A version's recipe, by the names that `train.py --set` knows."""
    recipe = asdict(CONFIGS[version].recipe)
    return recipe | {f"augmentation.{name}": value for name, value in recipe["augmentation"].items()}


STUDIES = {
    "v1-to-v2": Study(
        "From V1 to V2, one change at a time, each on top of those before it",
        epochs=16,  # networks of four blocks learn slowly at first
        limit=8000,
        rows=(
            _row("V1 as designed", "--version v1"),
            _row("+ a fourth block, 512 filters", "--version v1-four-blocks"),
            _row("+ channel attention", "--version v2 --lr 3e-4 --set weight_decay=0"),
            _row("+ learning rate 1e-4", "--version v2 --set weight_decay=0"),
            _row("+ weight decay 1e-4: V2", "--version v2"),
            _row("V1, seed 1", "--version v1 --seed 1"),
            _row("V2, seed 1", "--version v2 --seed 1"),
        ),
    ),
    "v2-to-v3": Study(
        "From V2 to V3, one step at a time, each on top of those before it; then V3 with other choices",
        epochs=12,
        limit=12000,
        rows=_v2_to_v3(),
        arguments=("--set", "together=true", "--set", "validation_fraction=0.2"),  # one split for each seed
    ),
    "votes": Study(
        "V4, an epoch from V3-7's weights on, learning from ten people's votes by different shares of every target",
        epochs=1,
        limit=None,  # V3-7 has learned all images but its validation images
        rows=tuple(
            _row(f"votes {100 * share:.0f} %, seed {seed}", f"--version v4 --votes {share:g} --seed {seed}")
            for seed in (0, 1)
            for share in (0, 0.25, 0.5, 0.75, 1)
        ),
        arguments=tuple(shlex.split(_FROM_V3_7)),
    ),
    "beside-votes": Study(
        "V4, from V3-7's weights on with half of every target votes: what else helps, for the cost of two epochs",
        epochs=2,
        limit=None,
        rows=(
            _row("two epochs, seed 1", "--version v4 --seed 1"),
            _row("two epochs, seed 2", "--version v4 --seed 2"),
            _row("one sharpness-aware epoch, seed 1", "--version v4 --seed 1 --epochs 1 --set sam=0.05"),
            _row(
                "crops of 40 to 44 pixels, seed 1",
                "--version v4 --seed 1 --set augmentation.shrink=1.09 --set augmentation.enlarge=1.2 "
                "--set augmentation.translation=0.06",
            ),
            _row(
                "one slow epoch from the mean of V3-7 and V4, seed 1",
                "--version v4 --seed 1 --epochs 1 --init results/v4/models --set lr=0.001",
            ),
        ),
        arguments=("--votes", "0.5", *shlex.split(_FROM_V3_7)),
        ten_crops=True,
    ),
    "collapse": Study(
        "Does V1 collapse to one class? At which learning rates and seeds, and without class weights",
        epochs=8,  # in three, over half as many images, V1 has learned nothing yet at any rate
        limit=8000,
        rows=tuple(
            _row(f"learning rate {lr}, seed {seed}{note}", f"--version v1 --lr {lr} --seed {seed}{extra}")
            for lr, seed, note, extra in (
                ("3e-4", 0, "", ""),
                ("3e-4", 1, "", ""),
                ("3e-4", 2, "", ""),
                ("1e-3", 0, "", ""),
                ("1e-3", 1, "", ""),
                ("3e-3", 0, "", ""),
                ("3e-3", 1, "", ""),
                ("1e-2", 0, "", ""),
                ("1e-2", 1, "", ""),
                ("3e-4", 0, ", no class weights", " --set weight_power=0"),
                ("1e-2", 0, ", no class weights", " --set weight_power=0"),
            )
        ),
    ),
}


def output_file(name: str) -> Path:
    """Where a study's result goes, from the repository's root."""
    return Path("results/v3/ablation.json" if name == "v2-to-v3" else f"results/ablation/{name}.json")


def listing() -> str:
    """The studies and their rows, as text."""
    lines = []
    for name, study in STUDIES.items():
        lines.append(
            f"{name}: {study.question} ({study.epochs} epoch{'s' * (study.epochs > 1)}, {study.limit or 'all'} images)"
        )
        lines += [f"    {row.name:<45} {shlex.join(row.arguments)}" for row in study.rows]
    return "\n".join(lines)
