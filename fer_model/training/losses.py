"""Class weights and the loss that training minimises."""

import torch
import torch.nn.functional as F
from torch import Tensor

from fer_model.labels import EMOTIONS


def class_weights(labels: Tensor, power: float = 1.0, classes: int = len(EMOTIONS)) -> Tensor:
    """Inverse-frequency weights, float32 (classes,): (N / (classes n_c)) ** power for class c with n_c of the N labels.

    A class of average size weighs 1. Every class must occur.
    """
    counts = torch.bincount(labels, minlength=classes)
    return (len(labels) / (classes * counts.float())) ** power


def weighted_cross_entropy(
    logits: Tensor, labels: Tensor, weights: Tensor, label_smoothing: float = 0.0, focal: float = 0.0
) -> Tensor:
    """Cross-entropy of each image times its class weight, (B,), not yet averaged.

    Training minimises sum(losses) / sum(weights[labels]), and the history reports it. This is the mean that
    `torch.nn.CrossEntropyLoss(weight=..., label_smoothing=...)` defines.

    Args:
        focal: gamma of the focal loss. Each loss is also multiplied by (1 - p) ** gamma, where p is the probability of
            the true class (Lin et al. 2017, https://arxiv.org/abs/1708.02002, equation 5).
    """
    losses = F.cross_entropy(logits, labels, weight=weights, reduction="none", label_smoothing=label_smoothing)
    if focal:
        probability = logits.softmax(dim=1).gather(1, labels[:, None])[:, 0]
        losses = losses * (1 - probability).clamp(min=1e-6) ** focal  # at 0 a gamma below 1 has no derivative
    return losses


def distillation(logits: Tensor, labels: Tensor, weights: Tensor, probabilities: Tensor) -> Tensor:
    """Cross-entropy of each image with the teachers' probabilities, times its label's class weight: (B,).

    Hinton et al. 2015, https://arxiv.org/abs/1503.02531, section 2, with no temperature on the student's side.

    Args:
        probabilities: float32 (B, classes).
    """
    return F.cross_entropy(logits, probabilities, reduction="none") * weights[labels]
