"""A network's logits for a whole set of images, over all processes."""

from collections.abc import Iterable

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from fer_model.model.tta import logits_over_views

EVALUATION_BATCH = 128


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
