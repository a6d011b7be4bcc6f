"""What moves the weights: the optimizer, its learning rate over the steps, and their moving average."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fer_model.configs import Recipe
from fer_model.model.network import FERModel

AUTO_BATCH = 512
"""Images in a step, of all processes together, that `--batch-size auto` asks for: enough to fill an H100."""


def for_batch(recipe: Recipe, batch_size: int, processes: int = 1) -> Recipe:
    """The recipe for `batch_size` images a step in each of several processes: k times as many as it was made for.

    - The rate is multiplied by k for SGD (Goyal et al. 2017, https://arxiv.org/abs/1706.02677, section 2.1), and by
      the root of k for Adam (Malladi et al. 2022, https://arxiv.org/abs/2205.10287, definition 5).
    - The average's decay is raised to the power k, so that it looks back over as many images (Busbridge et al. 2023,
      https://arxiv.org/abs/2307.13813, definition 1.2).
    - Where k is above 1, the rate rises for five epochs at least (Goyal et al., section 2.2).
    """
    k = batch_size * processes / recipe.batch_size
    rate = recipe.lr * (k if recipe.optimizer == "sgd" else math.sqrt(k))
    return replace(
        recipe,
        batch_size=batch_size,
        lr=float(f"{rate:.6g}"),
        ema=float(f"{recipe.ema**k:.6g}"),
        warmup=max(recipe.warmup, min(5, recipe.epochs - 1)) if k > 1 else recipe.warmup,
    )


_MAKERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": lambda parameters, **options: torch.optim.SGD(parameters, momentum=0.9, nesterov=True, **options),
}


def make_optimizer(model: nn.Module, recipe: Recipe, fused: bool = False) -> torch.optim.Optimizer:
    """The recipe's optimizer over all parameters; `fused` into few kernels, which pays off on a GPU."""
    groups: list[dict[str, Any]] = [{"params": list(model.parameters())}]
    if recipe.decay_weights_only:
        kernels = [parameter for parameter in model.parameters() if parameter.ndim > 1]
        others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
        groups = [{"params": kernels}, {"params": others, "weight_decay": 0.0}]
    return _MAKERS[recipe.optimizer](groups, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=fused or None)


def make_schedule(
    optimizer: torch.optim.Optimizer, recipe: Recipe, steps_per_epoch: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """The learning rate of every step: linear warm-up over `recipe.warmup` epochs, then constant or half a cosine."""
    rise, total = recipe.warmup * steps_per_epoch, recipe.epochs * steps_per_epoch

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        if not recipe.cosine:
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * min((step - rise) / max(total - rise, 1), 1.0)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


class Average(AveragedModel):
    """The moving average of a `FERModel`."""

    module: FERModel


def make_average(model: FERModel, recipe: Recipe) -> Average | None:
    """The exponential moving average of weights and BatchNorm statistics; None where the recipe has none.

    Its decay after step t is min(recipe.ema, t / (t + 9)), as in TensorFlow's `ExponentialMovingAverage` with
    `num_updates`. The random beginning and its BatchNorm statistics are so forgotten soon.
    """
    if not recipe.ema:
        return None

    def update(averages: Sequence[Tensor], values: Sequence[Tensor], count: Tensor | int) -> None:
        step = int(average.n_averaged) + 1  # the first was copied without a call; `count` may be on the device
        get_ema_multi_avg_fn(min(recipe.ema, step / (step + 9)))(averages, values, count)

    average = Average(model, multi_avg_fn=update, use_buffers=True)
    return average
