"""What moves the weights: the optimizer, its learning rate over the steps, and their moving average."""

import math

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fer_model.configs import Recipe

_MAKERS = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": lambda parameters, **options: torch.optim.SGD(parameters, momentum=0.9, nesterov=True, **options),
}


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer over all parameters."""
    groups = [{"params": list(model.parameters())}]
    if recipe.decay_weights_only:
        kernels = [parameter for parameter in model.parameters() if parameter.ndim > 1]
        others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
        groups = [{"params": kernels}, {"params": others, "weight_decay": 0.0}]
    return _MAKERS[recipe.optimizer](groups, lr=recipe.lr, weight_decay=recipe.weight_decay)


def make_schedule(
    optimizer: torch.optim.Optimizer, recipe: Recipe, steps_per_epoch: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """The learning rate of every step: a linear rise over `recipe.warmup` epochs, then constant or half a cosine."""
    rise, total = recipe.warmup * steps_per_epoch, recipe.epochs * steps_per_epoch

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        if not recipe.cosine:
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * min((step - rise) / max(total - rise, 1), 1.0)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def make_average(model: nn.Module, recipe: Recipe) -> AveragedModel | None:
    """The exponential moving average of weights and BatchNorm statistics; None where the recipe has none.

    Its decay after step t is min(recipe.ema, t / (t + 9)), as in TensorFlow's `ExponentialMovingAverage` with
    `num_updates`: the random beginning, and BatchNorm statistics far from today's, are soon forgotten.
    """
    if not recipe.ema:
        return None

    def update(averages: list[Tensor], values: list[Tensor], count: Tensor) -> None:
        step = int(average.n_averaged) + 1  # the first was copied, and is not seen here; `count` is on the device
        get_ema_multi_avg_fn(min(recipe.ema, step / (step + 9)))(averages, values, count)

    average = AveragedModel(model, multi_avg_fn=update, use_buffers=True)
    return average
