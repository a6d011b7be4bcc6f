"""Class weights and the loss that training minimises."""

import torch
import torch.nn.functional as F
from torch import Tensor

from fer_model.labels import EMOTIONS


def class_weights(labels: Tensor) -> Tensor:
    """Inverse-frequency weights, float32 (6,): N / (6 n_c) for class c with n_c of the N labels.

    A class of average size weighs 1. Every class must occur.
    """
    counts = torch.bincount(labels, minlength=len(EMOTIONS))
    return len(labels) / (len(EMOTIONS) * counts.float())


def weighted_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy of each image times its class weight, (B,), not yet averaged.

    The mean that training uses, and that the history reports, is sum(losses) / sum(weights[labels]),
    as `torch.nn.CrossEntropyLoss(weight=...)` defines it.
    """
    return F.cross_entropy(logits, labels, weight=weights, reduction="none")
