"""One training step, and an epoch of them."""

from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torch.utils.flop_counter import FlopCounterMode

from fer_model.configs import Recipe
from fer_model.data.augment import augment, mix
from fer_model.evaluation.predict import progress_bar
from fer_model.model.network import FERModel
from fer_model.model.preprocess import normalise, resize
from fer_model.records import TrainingScores
from fer_model.training.distillation import TeacherTargets
from fer_model.training.losses import distillation, weighted_cross_entropy


@dataclass
class Step:
    """A training step: the network, and all that moves its weights."""

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    average: AveragedModel | None
    weights: Tensor
    recipe: Recipe
    size: int
    memory_format: torch.memory_format
    taught: TeacherTargets | None = None

    def __call__(
        self, faces: Tensor, labels: Tensor, indices: Tensor, accelerator: Accelerator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Take the step; returns each image's loss, class weight, and whether it was recognised, all (B,).

        Args:
            faces: uint8 (B, 1, 48, 48).
            labels: int64 (B,).
            indices: int64 (B,), the images' places among the training images.
        """
        settings = self.recipe.augmentation
        images, mixed = mix(augment(resize(faces, self.size), settings), settings)
        logits = self.model(normalise(images).contiguous(memory_format=self.memory_format)).float()
        losses, class_weights = self._losses(logits, labels, indices)
        if mixed:  # the labels are mixed as the pixels are
            other_losses, other_weights = self._losses(logits, labels[mixed.partner], indices[mixed.partner])
            losses = mixed.share * losses + (1 - mixed.share) * other_losses
            class_weights = mixed.share * class_weights + (1 - mixed.share) * other_weights
        accelerator.backward(losses.sum() / class_weights.sum())
        if self.recipe.clip:
            accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.step()
        if self.average:
            self.average.update_parameters(accelerator.unwrap_model(self.model, keep_torch_compile=False))
        return losses.detach(), class_weights, logits.detach().argmax(dim=1) == labels

    def _losses(self, logits: Tensor, labels: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        smoothing, focal = self.recipe.label_smoothing, self.recipe.focal
        losses = weighted_cross_entropy(logits, labels, self.weights, smoothing, focal)
        if self.taught:
            share = self.taught.share
            losses = (1 - share) * losses + share * distillation(
                logits, labels, self.weights, self.taught.probabilities[indices]
            )
        return losses, self.weights[labels]


def train_epoch(step: Step, loader, accelerator: Accelerator, description: str) -> TrainingScores:
    """Take a step for every mini-batch; returns the scores over all processes.

    Raises:
        FloatingPointError: a loss is not a finite number; the message is the first such step.
    """
    step.model.train()
    seen = []  # loss, weight, correct: (3, B) each, left on the device so that nothing waits
    for faces, labels, indices in progress_bar(loader, description, accelerator):
        losses, class_weights, correct = step(faces, labels, indices, accelerator)
        seen.append(torch.stack(accelerator.gather_for_metrics((losses, class_weights, correct.float()))))
    images_seen = torch.cat(seen, dim=1).cpu().double()  # on the CPU, since not every device knows float64
    if images_seen.shape[1] != len(loader.dataset):
        raise RuntimeError(f"{images_seen.shape[1]} images were counted in an epoch of {len(loader.dataset)}")
    if not images_seen[0].isfinite().all():
        first = next(number for number, (losses, _, _) in enumerate(seen, start=1) if not losses.isfinite().all())
        raise FloatingPointError(f"step {first} of {len(seen)}")
    loss_sum, weight_sum, correct_sum = images_seen.sum(dim=1).tolist()
    return {"train_loss": loss_sum / weight_sum, "train_accuracy": correct_sum / len(loader.dataset)}


def forward_flops(model: FERModel, size: int) -> int:
    """Floating-point operations of one image's forward pass, as torch counts them."""
    training = model.training
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, 3, size, size))
    model.train(training)
    return counter.get_total_flops()
