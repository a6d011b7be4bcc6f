"""How fast training is on the CPU, in turn with a bare loop and with the plain way to train."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from tqdm.auto import tqdm

from fer_model.configs import CONFIGS, PIXEL_MEAN, PIXEL_STD, VERSIONS, Recipe
from fer_model.data.dataset import FERData, shuffled
from fer_model.machine import environment, has_bfloat16
from fer_model.model.network import FERModel
from fer_model.model.preprocess import preprocess
from fer_model.studies.bench import ratio
from fer_model.training.distillation import TeacherTargets
from fer_model.training.fit import make_accelerator
from fer_model.training.optim import make_average, make_optimizer, make_schedule
from fer_model.training.step import Step, forward_flops, train_epoch

BATCHES = 3
"""Mini-batches of a turn."""


def measure(train: FERData, rounds: int, threads: int, compile: bool = False) -> dict[str, dict]:
    """Of every version `train_vs_bare_step` and `train_vs_plain` (`studies.bench.ratio`); and under "training" how it
    was measured, with the seconds and FLOPs of an image of each version and size, all side by side.

    Ours trains in bfloat16 and channels_last where the processor is fast at that, and else in float32 and contiguous
    memory: what `train.py --fast` finds on most. The bare loop has the same settings.
    """
    fast = has_bfloat16(torch.device("cpu"))
    load = round(os.getloadavg()[0], 1)
    few = max(4, rounds // 8)  # all of this takes long
    found: dict[str, dict] = {"train_vs_bare_step": {}, "train_vs_plain": {}}
    with tempfile.TemporaryDirectory() as folder:
        precision = "bf16" if fast else "no"
        accelerator = make_accelerator(Path(folder), 0, compile=compile, threads=threads, mixed_precision=precision)
        memory_format = torch.channels_last if fast else torch.contiguous_format
        for version in tqdm(VERSIONS, desc="training", unit="version", leave=False):
            recipe = CONFIGS[version].recipe
            faces = train.subset(torch.arange(BATCHES * recipe.batch_size))
            ours = _ours(version, recipe.last_size, faces, accelerator, memory_format)
            bare = _bare(version, recipe.last_size, faces, accelerator, memory_format)
            found["train_vs_bare_step"][version] = ratio(bare, ours, few)
            found["train_vs_plain"][version] = ratio(_plain(version, faces), ours, few)
        rows = _seconds(train, accelerator, memory_format, few)
    found["training"] = {
        "environment": environment(torch.device("cpu")),
        "cores": os.cpu_count(),
        "load_before": load,
        "mixed_precision": precision,
        "channels_last": fast,
        "compile": compile,
        "rows": rows,
    }
    return found


def _ours(version: str, size: int, faces: FERData, accelerator: Accelerator, form: torch.memory_format) -> Callable:
    """An epoch over a few faces, with all that a training of the version does in it."""
    config = CONFIGS[version]
    recipe = config.recipe
    model = FERModel(version, classes=config.classes).to(memory_format=form)
    optimizer = make_optimizer(model, recipe)
    model, optimizer, loader = accelerator.prepare(model, optimizer, shuffled(len(faces), recipe.batch_size))
    bare = accelerator.unwrap_model(model, keep_torch_compile=False)
    schedule, average = make_schedule(optimizer, recipe, 1000), make_average(bare, recipe)
    taught = None
    if config.votes:
        taught = TeacherTargets(torch.full((len(faces), config.classes), 1 / config.classes), config.votes)
    step = Step(model, optimizer, schedule, average, torch.ones(config.classes), recipe, size, form, taught)
    return lambda: train_epoch(step, faces, loader, accelerator, version)


def _bare(version: str, size: int, faces: FERData, accelerator: Accelerator, form: torch.memory_format) -> Callable:
    """As many steps on one prepared mini-batch: forward, backward, optimizer, and nothing else."""
    config = CONFIGS[version]
    model = FERModel(version, classes=config.classes).to(memory_format=form)
    model, optimizer = accelerator.prepare(model, make_optimizer(model, config.recipe))
    count = config.recipe.batch_size
    images, labels = preprocess(faces.images[:count], size).contiguous(memory_format=form), faces.labels[:count]
    model.train()

    def steps() -> None:
        for _ in range(BATCHES):
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
            optimizer.zero_grad()

    return steps


class _OneByOne(Dataset):
    """Faces as PIL images, each changed by itself as torchvision does it."""

    def __init__(self, faces: FERData, recipe: Recipe):
        settings, size = recipe.augmentation, recipe.last_size
        shift = (settings.translation, settings.translation)
        self.faces = faces
        self.change = transforms.Compose(
            [
                transforms.Resize((size, size)),
                transforms.RandomHorizontalFlip(settings.flip),
                transforms.RandomAffine(settings.rotation, shift, (settings.shrink, settings.enlarge)),
                transforms.ColorJitter(settings.brightness, settings.contrast),
                transforms.ToTensor(),
                transforms.RandomErasing(settings.erasing),
                transforms.Normalize(PIXEL_MEAN, PIXEL_STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.change(Image.fromarray(self.faces.images[index, 0].numpy()))
        return image.expand(3, -1, -1), int(self.faces.labels[index])


def _plain(version: str, faces: FERData) -> Callable:
    """The same epoch as tutorials write it: images one by one in two workers, float32, eager, the loss read."""
    config = CONFIGS[version]
    model = FERModel(version, classes=config.classes).train()
    optimizer = make_optimizer(model, config.recipe)
    data = _OneByOne(faces, config.recipe)
    loader = DataLoader(data, config.recipe.batch_size, shuffle=True, num_workers=2, persistent_workers=True)

    def epoch() -> float:
        total = 0.0
        for images, labels in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            total += loss.item()
        return total

    return epoch


def _seconds(train: FERData, accelerator: Accelerator, form: torch.memory_format, rounds: int) -> list[dict]:
    """Of each version and size that it trains at the seconds for an image, all kinds in turn."""
    kinds = {}
    for version in VERSIONS:
        recipe = CONFIGS[version].recipe
        faces = train.subset(torch.arange(BATCHES * recipe.batch_size))
        for size in sorted({recipe.size, recipe.last_size}):
            kinds[version, size] = (_ours(version, size, faces, accelerator, form), len(faces))
    seconds: dict[tuple[str, int], list[float]] = {kind: [] for kind in kinds}
    for number in range(rounds + 1):
        for kind, (epoch, count) in kinds.items():
            started = time.perf_counter()
            epoch()
            if number:  # the first allocates, and compiles
                seconds[kind].append((time.perf_counter() - started) / count)
    return [
        {
            "version": version,
            "size": size,
            "batch_size": CONFIGS[version].recipe.batch_size,
            "seconds_per_image": statistics.median(seconds[version, size]),
            "flops_per_image": 3 * forward_flops(FERModel(version), size),
        }
        for version, size in kinds
    ]


def summary(found: dict) -> str:
    """What the command prints: a line for each comparison and version."""
    lines = []
    for name in ("train_vs_bare_step", "train_vs_plain"):
        for version, times in found[name].items():
            lines.append(f"{name:<20}{version:>4}{times['median']:>8.2f} ({times['low']:.2f}–{times['high']:.2f})")
    for row in found["training"]["rows"]:
        lines.append(f"{row['version']} at {row['size']} pixels: {1 / row['seconds_per_image']:.1f} images/s")
    return "\n".join(lines)
