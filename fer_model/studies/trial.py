"""What trains fastest on this machine: `train.py --fast` tries it at the start.

No choice is right everywhere. On a processor with fast bfloat16, bf16 and channels_last win; on one with AVX2 alone,
channels_last was 3 times slower than contiguous memory in float32, and bf16 18 times.
"""

import time
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from tqdm.auto import tqdm

from fer_model.configs import DATA_SIZE, Recipe
from fer_model.data.augment import augment
from fer_model.machine import has_bfloat16, usable_cores
from fer_model.model.network import FERModel
from fer_model.model.preprocess import normalise, resize
from fer_model.training.optim import make_optimizer

SECONDS = 1.5
"""How long each way is tried in each of `ROUNDS`, at least: two steps may take longer."""

ROUNDS = 2


class Way(NamedTuple):
    """How to train: "no" (float32) or "bf16", the layout of memory, and CPU threads."""

    precision: str
    channels_last: bool
    threads: int


def possible_ways(device: torch.device, asked: str | None, channels_last: bool, threads: int | None) -> list[Way]:
    """What to try. What is given is not tried otherwise.

    Args:
        asked: the launcher's precision, None without a launcher.
        threads: as asked for, None for 1, 2, 4 and so on to all cores. A GPU is fed by as many as torch takes.
    """
    precisions = [asked] if asked else ["no", "bf16"] if has_bfloat16(device) else ["no"]
    if threads:
        counts = [threads]
    elif device.type == "cpu":
        cores = usable_cores()
        counts = sorted({*(2**power for power in range(cores.bit_length())), cores})
    else:
        counts = [torch.get_num_threads()]
    return [Way(*way) for way in product(precisions, [True] if channels_last else [False, True], counts)]


def try_ways(ways: Sequence[Way], version: str, classes: int, recipe: Recipe, device: torch.device) -> dict[Way, float]:
    """Images a second of each way, the better of two rounds, since what else the machine does only slows them.

    Training goes on as if nothing had been tried: with the same random numbers.
    """
    speeds = dict.fromkeys(ways, 0.0)
    if len(ways) == 1:
        return speeds
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        layouts = {way.channels_last for way in ways}
        models = {layout: FERModel(version, classes=classes).to(device) for layout in layouts}
        bar = tqdm(list(ways) * ROUNDS, desc="trying what is fast", unit="way", leave=False)
        for way in bar:
            speeds[way] = max(speeds[way], measure(way, models[way.channels_last], recipe, device))
    torch.set_num_threads(threads)
    return speeds


def measure(way: Way, model: FERModel, recipe: Recipe, device: torch.device) -> float:
    """Images a second, in steps of the recipe's size and mini-batch: changes, forward, backward, optimizer."""
    torch.set_num_threads(way.threads)
    memory_format = torch.channels_last if way.channels_last else torch.contiguous_format
    model = model.to(memory_format=memory_format).train()
    optimizer = make_optimizer(model, recipe, fused=device.type == "cuda")
    faces = torch.randint(256, (recipe.batch_size, 1, DATA_SIZE, DATA_SIZE), dtype=torch.uint8, device=device)
    labels = torch.randint(len(model.class_names), (recipe.batch_size,), device=device)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(way.precision)

    def step() -> None:
        images = normalise(augment(resize(faces, recipe.last_size), recipe.augmentation))
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            logits = model(images.contiguous(memory_format=memory_format))
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    step()  # the first allocates
    _wait(device)
    started, count = time.perf_counter(), 0
    while count < 2 or time.perf_counter() - started < SECONDS:
        step()
        _wait(device)
        count += 1
    return count * recipe.batch_size / (time.perf_counter() - started)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def as_table(speeds: dict[Way, float]) -> str:
    """What was found, the fastest first."""
    lines = [f"{'precision':>9} {'memory':>13} {'threads':>7} {'images/s':>9}"]
    for way, speed in sorted(speeds.items(), key=lambda item: -item[1]):
        layout = "channels last" if way.channels_last else "contiguous"
        lines.append(f"{way.precision:>9} {layout:>13} {way.threads:>7} {speed:>9.1f}")
    return "\n".join([*lines, "The first is taken."])
