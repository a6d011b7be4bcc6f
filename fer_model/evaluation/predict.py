"""A network's logits for a whole set of images, over all processes, and how these are started."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from accelerate.utils import parse_flag_from_env
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from fer_model.errors import FERError
from fer_model.model.tta import logits_over_views

EVALUATION_BATCH = 128
PRECISIONS = ("no", "bf16", "fp16")


@contextmanager
def as_configured() -> Iterator[None]:
    """One sentence for whatever Accelerate raises where it cannot start as its configuration or variables say."""
    try:
        yield
    except Exception as error:  # of many kinds, and of packages that are not installed
        reason = " ".join(str(error).split()).rstrip(".")[:300]
        raise FERError(
            f"Accelerate cannot start as it is configured: {reason}. Look at `accelerate env` and the environment "
            "variables ACCELERATE_…, LOCAL_RANK and WORLD_SIZE."
        ) from error


def start_accelerator(**options) -> Accelerator:
    """An Accelerator, as the launcher, `accelerate config` or the variables ACCELERATE_… ask for it.

    Raises:
        FERError: they ask for what is not done here, so that no run does half of it.
    """
    with as_configured():
        accelerator = Accelerator(**options)
    steps, kind = accelerator.gradient_accumulation_steps, accelerator.distributed_type.value
    wanted = None
    if steps != 1:
        wanted = f"accumulate gradients over {steps} mini-batches; set that to 1, and use a larger --batch-size"
    elif kind in ("DEEPSPEED", "FSDP", "MEGATRON_LM") or parse_flag_from_env("ACCELERATE_USE_FSDP"):
        wanted = "divide a network among processes, but each holds all of these small ones; turn DeepSpeed or FSDP off"
    elif accelerator.mixed_precision not in PRECISIONS:
        wanted = f"use {accelerator.mixed_precision!r} precision; choose {', '.join(PRECISIONS)}"
    elif accelerator.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        wanted = "use fp16 on a CPU; choose bf16 or no"
    if wanted:
        raise FERError(f"Accelerate is asked to {wanted} (`accelerate config`, or a variable ACCELERATE_…).")
    return accelerator


@torch.no_grad()
def predict(
    model: torch.nn.Module,
    loader: DataLoader,
    accelerator: Accelerator,
    description: str = "predicting",
    memory_format: torch.memory_format = torch.contiguous_format,
    views: str = "plain",
) -> tuple[Tensor, Tensor]:
    """Logits float32 (N, classes) and labels (N,) on the CPU, in the dataset's order, on every process.

    Each image counts exactly once. Accelerate repeats some to even out the mini-batches of several processes; they
    are dropped, and this is checked.
    """
    model.eval()
    size = accelerator.unwrap_model(model, keep_torch_compile=False).input_size
    gathered = []
    for images, labels, indices in progress_bar(loader, description, accelerator):
        logits = logits_over_views(model, images, size, views, memory_format)
        gathered.append([t.cpu() for t in accelerator.gather_for_metrics((logits, labels, indices))])
    logits, labels, indices = (torch.cat(parts) for parts in zip(*gathered, strict=True))
    order = indices.argsort()
    count = len(loader.dataset)  # type: ignore[arg-type]  # torch does not say that data sets have a length
    if not torch.equal(indices[order], torch.arange(count)):
        raise RuntimeError(f"{len(indices)} predictions were gathered for {count} images")
    return logits[order], labels[order]


def progress_bar(loader: Iterable, description: str, accelerator: Accelerator) -> tqdm:
    """The mini-batches, under a bar that vanishes at the end; on the main process only."""
    shown = accelerator.is_main_process
    return tqdm(loader, desc=description, unit="batch", leave=False, disable=not shown, mininterval=0.5)
