"""One training step, and an epoch of them."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from fer_model.configs import Recipe
from fer_model.data.augment import Mix, augment, draw_mix, mix
from fer_model.data.dataset import FERData
from fer_model.evaluation.predict import progress_bar
from fer_model.model.network import FERModel
from fer_model.model.preprocess import normalise, resize
from fer_model.records import TrainingScores
from fer_model.training.distillation import TeacherTargets
from fer_model.training.losses import distillation, weighted_cross_entropy


@dataclass
class Step:
    """A training step: the network, and all that moves its weights. It reads nothing back from the device.

    With `captured`, on one CUDA device, augmentation is one compiled piece; forward pass, loss and backward pass are
    another. Each is recorded as a CUDA graph and replayed, so that the processor no longer launches hundreds of
    kernels. All mini-batches must have the same shape. The optimizer (fused), the schedule and the average are not
    recorded, because their numbers change with every step.

    Args:
        weights: of the classes, float32 (classes,), on the device.
        size: of the images that the network is shown, in pixels; it may be changed between epochs.
        taught: what teachers or voters say of every training image.
    """

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    average: AveragedModel | None
    weights: Tensor
    recipe: Recipe
    size: int
    memory_format: torch.memory_format
    taught: TeacherTargets | None = None
    captured: bool = False

    def __post_init__(self):
        self.show, self.learn = self._show, self._learn
        if self.captured:
            record = partial(torch.compile, mode="reduce-overhead", dynamic=False)
            self.show, self.learn = record(self._show), record(self._learn)

    def __call__(self, faces: Tensor, labels: Tensor, indices: Tensor, accelerator: Accelerator) -> Tensor:
        """Take the step; returns each image's loss, class weight, and whether it was recognised: float32 (3, B).

        Args:
            faces: uint8 (B, 1, 48, 48).
            labels: int64 (B,).
            indices: int64 (B,), the images' places among the training images.
        """
        if self.captured:
            torch.compiler.cudagraph_mark_step_begin()  # the last step's answers may be written over
        images = self.show(faces, self.size)
        mixed = draw_mix(images, self.recipe.augmentation)
        believed = self.taught.probabilities[indices] if self.taught else None
        loss, losses, class_weights, correct = self.learn(images, labels, believed, mixed)
        accelerator.backward(loss)
        if self.recipe.sam:
            with self._climbed():
                accelerator.backward(self.learn(images, labels, believed, mixed)[0])
        if self.recipe.clip:
            accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.step()
        if self.average:
            self.average.update_parameters(accelerator.unwrap_model(self.model, keep_torch_compile=False))
        return torch.stack((losses, class_weights, correct.float()))  # a copy of what the next step may write over

    @contextmanager
    def _climbed(self) -> Iterator[None]:
        """Move the weights to where the loss nearby is about highest (Foret et al. 2021, equation 2), then back.

        Gradients that are computed meanwhile are those of that place. BatchNorm's statistics come back too: a second
        pass would count each mini-batch twice, and gradients that overflow in float16 would make them NaN for good.
        The scale of float16's losses cancels out.
        """
        weights: list[Tensor] = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        moved = [*weights, *self.model.buffers()]
        before = [tensor.detach().clone() for tensor in moved]
        with torch.no_grad():
            radius = self.recipe.sam / (torch.nn.utils.get_total_norm(gradients) + 1e-12)
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.add_(radius * gradient)
        self.optimizer.zero_grad()
        yield
        with torch.no_grad():
            torch._foreach_copy_(moved, before)

    def _show(self, faces: Tensor, size: int) -> Tensor:
        """The images as the network is shown them, before any are mixed: float32 (B, 1, size, size) in [0, 1]."""
        return augment(resize(faces, size), self.recipe.augmentation)

    def _learn(
        self, images: Tensor, labels: Tensor, believed: Tensor | None, mixed: Mix | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The loss to minimise; each image's own, its class weight, and whether it was recognised."""
        images = normalise(mix(images, mixed)).contiguous(memory_format=self.memory_format)
        logits = self.model(images).float()
        losses, class_weights = self._losses(logits, labels, believed)
        if mixed:  # the labels are mixed as the pixels are
            others = None if believed is None else believed[mixed.partner]
            other_losses, other_weights = self._losses(logits, labels[mixed.partner], others)
            own, other = mixed.shares
            losses = own * losses + other * other_losses
            class_weights = own * class_weights + other * other_weights
        loss = losses.sum() / class_weights.sum()
        return loss, losses.detach(), class_weights, logits.detach().argmax(dim=1) == labels

    def _losses(self, logits: Tensor, labels: Tensor, believed: Tensor | None) -> tuple[Tensor, Tensor]:
        smoothing, focal = self.recipe.label_smoothing, self.recipe.focal
        losses = weighted_cross_entropy(logits, labels, self.weights, smoothing, focal)
        if self.taught and believed is not None:
            share = self.taught.share
            losses = (1 - share) * losses + share * distillation(logits, labels, self.weights, believed)
        return losses, self.weights[labels]


def train_epoch(
    step: Step, train: FERData, loader: DataLoader, accelerator: Accelerator, description: str
) -> TrainingScores:
    """Take a step for every mini-batch; returns the scores over all processes.

    The order of the images goes to the device when the epoch begins, and the scores come back when it ends. In between
    nothing is copied, and nothing waits for the device.

    Args:
        train: the images, on the device.
        loader: mini-batches of indices, those of this process (`shuffled`).

    Raises:
        FloatingPointError: a loss is not a finite number; the message names the first such step.
    """
    step.model.train()
    size = step.recipe.batch_size
    order = torch.cat(list(loader))
    if step.captured:  # one shape for all: the epoch's first images fill up its last mini-batch
        order = torch.cat([order, order[: -len(order) % size]])
    order = order.to(accelerator.device)
    seen = []
    for indices in progress_bar(order.split(size), description, accelerator):
        seen.append(step(train.images[indices], train.labels[indices], indices, accelerator))
    loss_sum, weight_sum, correct_sum = _of_each_image(order, torch.cat(seen, dim=1), size, len(train), accelerator)
    if not math.isfinite(loss_sum):
        first = next((number for number, (losses, _, _) in enumerate(seen, start=1) if not losses.isfinite().all()), 0)
        # another process may have met it
        raise FloatingPointError(f"step {first} of {len(seen)}" if first else "in another process")
    return {"train_loss": loss_sum / weight_sum, "train_accuracy": correct_sum / len(train)}


def _of_each_image(order: Tensor, seen: Tensor, size: int, count: int, accelerator: Accelerator) -> list[float]:
    """The sums of `seen` (3, images of this process) over the `count` images of all processes.

    Processes take mini-batches in turn. After the last image the first ones come again, and do not count.

    Raises:
        RuntimeError: an image was not seen, or counted twice.
    """
    orders, everything = accelerator.gather((order, seen.T.contiguous()))

    def in_turn(gathered: Tensor) -> Tensor:
        parts = [part.split(size) for part in gathered.cpu().chunk(accelerator.num_processes)]
        return torch.cat([batch for batches in zip(*parts, strict=True) for batch in batches])[:count]

    if not torch.equal(in_turn(orders).sort().values, torch.arange(count)):
        raise RuntimeError(f"The {count} images were not each seen once in an epoch")
    return in_turn(everything).T.contiguous().double().sum(dim=1).tolist()  # not every device knows float64


def forward_flops(model: FERModel, size: int) -> int:
    """Floating-point operations of one image's forward pass, as torch counts them."""
    training = model.training
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, 3, size, size))
    model.train(training)
    return counter.get_total_flops()
