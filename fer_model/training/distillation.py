"""Soft targets: a run learns also from networks that were trained before, and from what ten people said.

The networks' probabilities are part of every training image's target, beside the one label that a person gave:
knowledge distillation (Hinton et al. 2015, https://arxiv.org/abs/1503.02531). A teacher of the student's own design
can still make it better (born-again networks, Furlanello et al. 2018, https://arxiv.org/abs/1805.04770). The votes of
a crowd (Barsoum et al. 2016, https://arxiv.org/abs/1608.01041) are one more teacher.

With the shares t of the networks and v of the votes, a target is (1 - t - v) label + t networks + v votes. Smoothing
and the focal factor change the label's part alone. The label's class weight and mixed images change all three.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor

from fer_model.data.dataset import FERData, batches
from fer_model.data.votes import (
    Votes,
    agrees_with_majority,
    distribution,
    find_votes,
    majority,
    votes_digest,
    with_votes,
)
from fer_model.errors import TrainingError
from fer_model.evaluation.predict import EVALUATION_BATCH, predict
from fer_model.model.calibration import Opinions
from fer_model.records import VoteScores
from fer_model.training.warm_start import Trained, load_trained


@dataclass
class TeacherTargets:
    """What is mixed into the label of every training image: float32 (N, classes), and its share of the target."""

    probabilities: Tensor
    share: float

    def beside(self, other: "TeacherTargets | None") -> "TeacherTargets":
        """Both in one, each with its own share of the target."""
        if other is None:
            return self
        share = self.share + other.share
        mean = (self.share * self.probabilities + other.share * other.probabilities) / share
        return TeacherTargets(mean, share)


@dataclass
class Teachers:
    """Trained networks, and the share of their mean probabilities in every target, in (0, 1]."""

    trained: list[Trained]
    share: float

    def describe(self) -> dict:
        """For the history: {"share", "models": [{"model", "sha256"}]}."""
        return {"share": self.share, "models": [teacher.init for teacher in self.trained]}

    def ask(self, train: FERData, accelerator: Accelerator, memory_format: torch.memory_format) -> TeacherTargets:
        """Their mean calibrated probabilities for each training image, on the accelerator's device.

        They are computed once, from the image and its mirror image, and not again for every augmentation of it. The
        temperature was fitted on images that a teacher had not learned. Most of these it has learned, so it is surer
        here than it is right. Each teacher takes two forward passes over the training images, which are in no epoch of
        the history.
        """
        answers, loader = [], accelerator.prepare(batches(train, EVALUATION_BATCH))
        for teacher in self.trained:
            model = teacher.model.to(accelerator.device).to(memory_format=memory_format)
            with accelerator.autocast():
                name = f"asking {teacher.init['model']}"
                logits, _ = predict(model, loader, accelerator, name, memory_format, views="flip")
            answers.append(teacher.model.probabilities(logits))
            model.cpu()  # done: the training needs the memory
        return TeacherTargets(torch.stack(answers).mean(dim=0).to(accelerator.device), self.share)


def load_teachers(sources: list[str], share: float, class_names: tuple[str, ...]) -> Teachers | None:
    """The networks of folders or Hub ids; None for none.

    Raises:
        ModelError: one cannot be loaded.
        TrainingError: one has other classes than `class_names`.
    """
    trained = [load_trained(source) for source in sources]
    for teacher in trained:
        theirs = len(teacher.model.class_names)
        if theirs != len(class_names):
            raise TrainingError(
                f"--teacher {teacher.init['model']} knows {theirs} classes, and {len(class_names)} are to be learned; "
                f"name another, or add --classes {theirs}."
            )
    return Teachers(trained, share) if trained else None


@dataclass
class Crowd:
    """The votes for a run's training and validation images, and their share of every target, in (0, 1]."""

    train: Votes
    validation: Votes
    share: float
    classes: int

    def describe(self) -> dict:
        """For the history: {"share", "sha256" of the file of votes, and how many images have votes}.

        "train" and "validation" count the images with a vote for one of the model's classes, "validation_majority"
        those of which `VoteScores.majority_agreement` tells.
        """
        return {
            "share": self.share,
            "sha256": votes_digest(),
            "train": int(with_votes(self.train.counts, self.classes).sum()),
            "validation": int(with_votes(self.validation.counts, self.classes).sum()),
            "validation_majority": int((majority(self.validation.counts, self.classes) >= 0).sum()),
        }

    def targets(self, train: FERData, device: torch.device) -> TeacherTargets:
        """Shares of the votes for the model's classes; the label alone where nobody chose one of them."""
        voted = with_votes(self.train.counts, self.classes)[:, None]
        labels = F.one_hot(train.labels, self.classes).float()
        found = torch.where(voted, distribution(self.train.counts, self.classes), labels)
        return TeacherTargets(found.to(device), self.share)

    def opinions(self, labels: Tensor) -> Opinions | None:
        """Of the validation images, for `calibrate`; None where the votes only judge."""
        return opinions(self.validation.counts, labels, self.classes) if self.share else None

    def judge(self, logits: Tensor) -> VoteScores:
        """How well answers to the validation images agree with the crowd."""
        counts = self.validation.counts
        voted = with_votes(counts, self.classes)
        losses = F.cross_entropy(logits[voted], distribution(counts[voted], self.classes), reduction="none")
        agrees = agrees_with_majority(logits.argmax(dim=1), counts, self.classes).float()
        return {
            "majority_agreement": float(agrees.mean()) if len(agrees) else None,
            "cross_entropy": float(losses.mean()),
        }


def opinions(counts: Tensor, labels: Tensor, classes: int) -> Opinions:
    """What people said of N images, from their votes (N, 10) and the labels (N,)."""
    asked = counts.sum(dim=1) > 0
    return Opinions(distribution(counts, classes), torch.where(asked, majority(counts, classes), labels))


def load_crowd(share: float | None, train: FERData, validation: FERData, classes: int, progress: bool) -> Crowd | None:
    """The votes for a run's images, all of FER2013's training set; None for no share. At 0 the votes only judge.

    Raises:
        TrainingError: fewer than half of the images of either part have votes.
    """
    if share is None:
        return None
    learned, held_back = (find_votes(data.images, "train", progress) for data in (train, validation))
    crowd = Crowd(learned, held_back, share, classes)
    for name, votes in (("training", crowd.train), ("validation", crowd.validation)):
        voted = int(with_votes(votes.counts, classes).sum())
        if 2 * voted < len(votes):
            raise TrainingError(
                f"Only {voted:,} of {len(votes):,} {name} images have votes, which are for FER2013's training set; "
                "name a copy of it with --dataset, or leave out --votes."
            )
    return crowd
