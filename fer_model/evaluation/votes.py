"""What ten people say of FER2013's images: how far they agree with its labels, and a network with them.

The votes are FER+'s (Barsoum et al. 2016, https://arxiv.org/abs/1608.01041; `data.votes`). Of two answers with equally
many votes the first in the order of classes counts, unless something else is said.
"""

from typing import Any

import torch
from torch import Tensor

from fer_model.data.dataset import FERData
from fer_model.data.duplicates import blank
from fer_model.data.votes import (
    ANSWERS,
    Votes,
    agrees_with_majority,
    distribution,
    favourites,
    find_votes,
    majority,
    with_votes,
)
from fer_model.evaluation.metrics import bootstrap_interval, bootstrap_mean
from fer_model.labels import COUNTS, EMOTIONS, EMOTIONS_WITH_NEUTRAL, class_names
from fer_model.model.network import FERModel
from fer_model.records import Figure as Measured
from fer_model.records import Metrics, VoteMetrics

ENOUGH = 0.95
"""Share of a test set's images that must have votes for a comparison with them."""

_FERPLUS_EMOTIONS = 8  # of `ANSWERS`: the seven classes and contempt


def enough(votes: Votes) -> bool:
    return float((votes.counts.sum(dim=1) > 0).float().mean()) >= ENOUGH


# The crowd and the labels


def study(faces: FERData, votes: Votes) -> dict[str, Any]:
    """How many images of a split have votes, and how far these agree with the labels.

    Args:
        faces: with neutral, the label 6.
    """
    counts, labels = votes.counts, faces.labels
    voters = counts.sum(dim=1)
    return {
        "images": len(faces),
        "exact_hash": int((votes.distance == 0).sum()),
        "near_hash": int((votes.distance > 0).sum()),
        "several_hashes_equally_near": int((votes.nearest > 1).sum()),
        "single_grey": int(blank(faces.images).sum()),
        "no_hash_near": int((votes.distance < 0).sum() - blank(faces.images).sum()),
        "with_votes": int((voters > 0).sum()),
        "sharing_their_votes": int((voters > 10).sum()),
        **{f"{COUNTS[classes]}_classes": _labels_by_crowd(labels, counts, classes) for classes in COUNTS},
        "vote_shares": _shares(labels, counts),
    }


def _labels_by_crowd(labels: Tensor, counts: Tensor, classes: int) -> dict[str, Any]:
    """How often the crowd's favourite among the classes is the label, over all images and by class."""
    found = {}
    for index, name in enumerate(class_names(classes)):
        rows = (labels == index) & (counts.sum(dim=1) > 0)
        neutral = counts[rows].argmax(dim=1) == EMOTIONS_WITH_NEUTRAL.index("neutral")
        agreement = crowd_accuracy(labels[rows], counts[rows], classes)
        found[name] = {"crowd_accuracy": agreement, "looks_neutral": int(neutral.sum())}
    known = (labels < classes) & (counts.sum(dim=1) > 0)
    tied = favourites(counts[known], classes).sum(dim=1) > 1
    return {
        "crowd_accuracy": crowd_accuracy(labels[known], counts[known], classes),
        "tied": int(tied.sum()),
        "none_of_the_classes": int((~with_votes(counts[known], classes)).sum()),
        "per_class": found,
    }


def _shares(labels: Tensor, counts: Tensor) -> dict[str, dict[str, float]]:
    """The mean shares of all ten answers among the images of each label."""
    found = {}
    for index, name in enumerate(EMOTIONS_WITH_NEUTRAL):
        rows = (labels == index) & (counts.sum(dim=1) > 0)
        shares = distribution(counts[rows], len(ANSWERS)).mean(dim=0)
        found[name] = dict(zip(ANSWERS, shares.tolist(), strict=True))
    return found


def crowd_accuracy(labels: Tensor, counts: Tensor, classes: int) -> Measured | None:
    """How often the crowd's favourite among the classes is the label. Of two that tie, each counts for a half."""
    most = favourites(counts, classes)
    hits = (most.gather(1, labels[:, None])[:, 0] / most.sum(dim=1).clamp(min=1)).double()
    if not len(hits):
        return None
    return {"value": float(hits.mean()), "ci": bootstrap_mean(hits.numpy()), "n": len(hits)}


def study_summary(split: str, found: dict[str, Any]) -> str:
    """What the command prints of a split."""
    six = found["six_classes"]
    lines = [
        f"{split}: {found['with_votes']:,} of {found['images']:,} images have votes; how often the favourite of six is "
        "the label:"
    ]
    for name, part in (("all six", six), *six["per_class"].items()):
        if agreement := part["crowd_accuracy"]:
            lines.append(f"  {name:<10} {agreement['value']:>6.1%} of {agreement['n']:>6,}")
    return "\n".join(lines)


# A network and the crowd


def against_votes(probabilities: Tensor, labels: Tensor, counts: Tensor) -> VoteMetrics:
    """How a network's answers compare with the crowd's.

    Args:
        probabilities: float32 (N, classes), calibrated.
        labels: int64 (N,). For six classes the images with the label neutral are here too, because people may see
            another expression in them; they count in `majority_agreement` alone.
        counts: int64 (N, 10), the votes.
    """
    classes = probabilities.shape[1]
    predicted, most = probabilities.argmax(dim=1), majority(counts, classes)
    known = (labels < classes) & (counts.sum(dim=1) > 0)
    right = predicted == labels
    differ = known & (counts.argmax(dim=1) != labels)
    return {
        "crowd_accuracy": crowd_accuracy(labels[known], counts[known], classes),
        "majority_agreement": _share(agrees_with_majority(predicted, counts, classes)),
        "clean_accuracy": _share(right[known & (most == labels)]),
        "disputed_accuracy": _share(right[differ]),
        "by_certainty": _by_certainty(predicted[known], labels[known], counts[known], classes),
        "distribution": _fit_to_shares(probabilities[known], labels[known], counts[known]),
    }


def _by_certainty(predicted: Tensor, labels: Tensor, counts: Tensor, classes: int) -> list[dict[str, Any]]:
    """Agreements by how many of ten people chose the crowd's favourite among the classes."""
    votes, favourite = counts[:, :classes].max(dim=1)
    tenths = (10 * votes / counts.sum(dim=1)).round().long()
    rows = []
    for tenth in range(1, 11):
        among = tenths == tenth
        if among.any():
            rows.append(
                {
                    "votes": tenth,
                    "n": int(among.sum()),
                    "accuracy": float((predicted == labels)[among].double().mean()),
                    "agreement": float((predicted == favourite)[among].double().mean()),
                    "crowd_accuracy": _value(crowd_accuracy(labels[among], counts[among], classes)),
                }
            )
    return rows


def _fit_to_shares(probabilities: Tensor, labels: Tensor, counts: Tensor) -> dict[str, Any]:
    """Cross-entropy with, and total variation from, the shares of votes for the classes.

    Beside the network stand two guesses: the mean shares of all images, and those of all images with the same label.
    Both are means over these very images, the best that such guesses can do. No guess has a lower cross-entropy than
    the entropy of the votes.
    """
    voted = with_votes(counts, probabilities.shape[1])
    probabilities, labels = probabilities[voted], labels[voted]
    shares = distribution(counts[voted], probabilities.shape[1])
    by_label = torch.zeros_like(shares)
    for label in labels.unique():
        by_label[labels == label] = shares[labels == label].mean(dim=0)
    guesses = {"model": probabilities, "constant": shares.mean(dim=0).expand_as(shares), "label": by_label}
    return {
        "n": len(shares),
        "entropy": _cross_entropy(shares, shares),
        **{
            name: {
                "cross_entropy": _cross_entropy(guess, shares),
                "total_variation": _total_variation(guess, shares),
            }
            for name, guess in guesses.items()
        },
    }


def as_people(guess: Tensor, unsure: Tensor, counts: Tensor) -> dict[str, Any]:
    """How well a network that learned from votes tells what people say, and whether it is unsure where they disagree.

    Args:
        guess: float32 (N, classes), the shares of people that it expects. unsure: bool (N,). counts: int64 (N, 10).
    """
    classes = guess.shape[1]
    voted, agreed = with_votes(counts, classes), majority(counts, classes) >= 0
    return {
        "n": int(voted.sum()),
        # of ten people, this share is expected to say another thing than it does
        "total_variation": _total_variation(guess[voted], distribution(counts[voted], classes)),
        "unsure_where_agreed": _share(unsure[agreed]),
        "unsure_where_disputed": _share(unsure[voted & ~agreed]),
    }


def _total_variation(guess: Tensor, shares: Tensor) -> float:
    return float((guess - shares).abs().sum(dim=1).mean() / 2)


def _cross_entropy(guess: Tensor, shares: Tensor) -> float:
    return float(-(shares * guess.clamp(min=1e-12).log()).sum(dim=1).mean())


def ferplus(probabilities: Tensor, usage: tuple[str, ...], counts: Tensor) -> dict[str, Any]:
    """FER+'s own benchmark: accuracy on PrivateTest's images with a majority among eight expressions and two others.

    As https://github.com/microsoft/FERPlus counts it in its mode "majority": answers with a single vote are left out,
    a majority is more than half of the rest, and images that are then unknown or not a face are left out. Contempt is
    an answer there and none of a network here, so its images count as wrong; "without_contempt" leaves them out.

    Args:
        probabilities: float (N, 7). counts: int64 (N, 10).
    """
    kept = torch.where(10 * counts > counts.sum(dim=1, keepdim=True), counts, 0)
    votes, most = kept.max(dim=1)
    private = torch.tensor([name.strip().lower() == "privatetest" for name in usage])
    tested = private & (2 * votes > kept.sum(dim=1)) & (most < _FERPLUS_EMOTIONS)
    contempt = most == ANSWERS.index("contempt")
    right = probabilities.argmax(dim=1) == most
    return {
        "accuracy": _share(right[tested]),
        "contempt": int((tested & contempt).sum()),
        "without_contempt": _share(right[tested & ~contempt]),
    }


def _value(figure: Measured | None) -> float | None:
    return figure["value"] if figure else None


def _share(hits: Tensor) -> Measured | None:
    correct, count = int(hits.sum()), len(hits)
    if not count:
        return None
    return {"value": correct / count, "ci": bootstrap_interval(correct, count), "n": count}


def add_votes(metrics: Metrics, model: FERModel, logits: Tensor, faces: FERData) -> None:
    """Add to metrics.json's content: "votes", and for seven classes "ferplus" and the votes of "six_classes".

    Args:
        logits: (N, classes), the answers to `faces`, test images of all seven labels for six classes too.
    """
    counts = find_votes(faces.images, "test").counts
    probabilities = model.probabilities(logits)
    metrics["votes"] = against_votes(probabilities, faces.labels, counts)
    people = model.crowd_shares(logits)
    if people is not None:
        unsure = probabilities.max(dim=1).values < model.unsure_below
        metrics["votes"]["people"] = as_people(people, unsure, counts)
    if "six_classes" in metrics:
        of_six = model.probabilities(logits[:, : len(EMOTIONS)])
        metrics["six_classes"]["votes"] = against_votes(of_six, faces.labels, counts)
        if faces.usage:
            metrics["ferplus"] = ferplus(probabilities, faces.usage, counts)


def summary(metrics: Metrics) -> str:
    """What evaluate.py prints of the votes."""
    found = metrics["votes"]
    parts = [
        ("ten people's favourite is the label", found["crowd_accuracy"]),
        ("the answer is their majority's", found["majority_agreement"]),
        ("and the label, where both are the same", found["clean_accuracy"]),
        ("and the label, where their favourite is another", found["disputed_accuracy"]),
    ]
    if benchmark := metrics.get("ferplus"):
        parts.append(("FER+'s benchmark, eight expressions on PrivateTest", benchmark["accuracy"]))
    lines = []
    for name, figure in parts:
        if figure:
            low, high = figure["ci"]
            lines.append(f"{name}: {figure['value']:.2%} of {figure['n']:,} images (95 % {low:.2%} to {high:.2%})")
    return "\n".join(lines)
