"""Losses and class weights: torch's, their papers', and what a teacher adds."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fer_model.training import losses
from fer_model.training.losses import class_weights


def logits_and_labels() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(20, 6, generator=generator), torch.arange(20) % 6, torch.rand(6, generator=generator) + 0.5


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_torchs_weighted_and_smoothed_cross_entropy(smoothing):
    logits, labels, weights = logits_and_labels()
    found = losses.weighted_cross_entropy(logits, labels, weights, smoothing).sum() / weights[labels].sum()
    torch.testing.assert_close(found, nn.CrossEntropyLoss(weight=weights, label_smoothing=smoothing)(logits, labels))


def test_the_focal_loss_is_its_papers_formula_and_favours_what_is_wrong():
    logits, labels, weights = logits_and_labels()
    found = losses.weighted_cross_entropy(logits, labels, weights, focal=2.0)
    p = torch.exp(-F.cross_entropy(logits, labels, reduction="none"))
    torch.testing.assert_close(found, -weights[labels] * (1 - p) ** 2 * p.log())
    plain = losses.weighted_cross_entropy(logits, labels, weights)
    assert (found / plain)[p.argmax()] < (found / plain)[p.argmin()]


def test_class_weights_soften_with_their_power():
    labels = torch.tensor([0] * 8 + [1, 2, 3, 4, 5])
    full, half, none = (losses.class_weights(labels, power) for power in (1.0, 0.5, 0.0))
    torch.testing.assert_close(half, full.sqrt())
    assert none.tolist() == [1.0] * 6


def test_a_focal_gamma_below_one_has_gradients_everywhere():
    logits = torch.tensor([[40.0, 0, 0, 0, 0, 0]], requires_grad=True)
    losses.weighted_cross_entropy(logits, torch.tensor([0]), torch.ones(6), focal=0.5).sum().backward()
    assert logits.grad.isfinite().all()


def test_class_weights_are_inverse_frequencies():
    labels = torch.tensor([0] * 6 + [1] * 3 + [2] * 2 + [3] * 2 + [4] + [5] * 4)
    assert class_weights(labels).tolist() == pytest.approx([0.5, 1.0, 1.5, 1.5, 3.0, 0.75])


def test_class_weights_of_seven_classes_are_inverse_frequencies_too():
    weights = class_weights(torch.tensor([0] * 4 + [1, 2, 3, 4, 5] * 2 + [6] * 7), classes=7)
    assert weights.tolist() == pytest.approx([21 / 7 / 4] + [21 / 7 / 2] * 5 + [21 / 7 / 7])


def test_what_a_teacher_says_weighs_like_the_label_it_joins():
    generator = torch.Generator().manual_seed(0)
    logits, said = torch.randn(12, 6, generator=generator), torch.rand(12, 6, generator=generator).softmax(dim=1)
    labels, weights = torch.arange(12) % 6, torch.rand(6, generator=generator)
    found = losses.distillation(logits, labels, weights, said)
    torch.testing.assert_close(found, -(said * logits.log_softmax(dim=1)).sum(dim=1) * weights[labels])
    sure = F.one_hot(labels, 6).float()
    torch.testing.assert_close(
        losses.distillation(logits, labels, weights, sure), losses.weighted_cross_entropy(logits, labels, weights)
    )
