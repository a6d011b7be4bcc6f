"""Calibrated probabilities, and the threshold below which the model is unsure."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fer_model.model.network import FERModel


@dataclass(frozen=True)
class Opinions:
    """What people said of N images.

    shares: float32 (N, classes), of their votes for each class; rows of zeros where nobody was asked.
    answers: int64 (N,), what most of them said; -1 where they disagree; the label where nobody was asked.
    """

    shares: Tensor
    answers: Tensor


TEMPERATURES = (0.05, 20.0)


def calibrate(model: FERModel, logits: Tensor, labels: Tensor, opinions: Opinions | None = None) -> None:
    """Set the model's temperature and threshold from its logits (N, classes) for images it was not trained on.

    Args:
        opinions: of a model that learned from votes. Its answers are then unsure where people disagree as well, and a
            second temperature is fitted to the shares of their votes.
    """
    temperature = fit_temperature(logits, labels)
    confidence, predicted = (logits / temperature).softmax(dim=1).max(dim=1)
    right = predicted == (labels if opinions is None else opinions.answers)
    crowd = None
    if opinions is not None:
        voted = opinions.shares.sum(dim=1) > 0
        crowd = fit_temperature(logits[voted], opinions.shares[voted].double())
    model.set_calibration(temperature, unsure_threshold(confidence.numpy(), right.numpy()), crowd)


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The T for which softmax(logits / T) has the least negative log-likelihood, from 0.05 to 20.

    Temperature scaling, Guo et al. 2017, https://arxiv.org/abs/1706.04599, section 4.2. It changes no answer, only its
    probability. The bounds are for a network that has learned nothing, whose best T would be infinite.

    Args:
        logits: float (N, classes), of images that the network was not trained on.
        labels: int64 (N,), or shares of votes, float64 (N, classes).
    """
    logits = logits.double()
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], lr=0.5, max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(logits / log_temperature.exp(), labels)
        value.backward()
        return value

    optimizer.step(loss)
    return float(log_temperature.detach().exp().clamp(*TEMPERATURES))


def unsure_threshold(confidence: np.ndarray, correct: np.ndarray) -> float:
    """The confidence below which answers are more often wrong than right, and are better withheld.

    It is the threshold with the most right minus wrong answers among those that are given (Chow 1970, with a mistake
    as bad as a right answer is good).

    Args:
        confidence: highest probability of each image, (N,). correct: bool (N,).
    """
    order = np.argsort(-confidence, kind="stable")
    falling = confidence[order]
    gain = np.cumsum(np.where(correct[order], 1, -1))
    between = np.append(falling[:-1] != falling[1:], True)  # a threshold fits only between two different confidences
    best = int(np.where(between, gain, gain.min() - 1).argmax())
    if gain[best] <= 0:
        return 1.0
    first_withheld = falling[best + 1] if best + 1 < len(order) else 0.0
    return float((falling[best] + first_withheld) / 2)
