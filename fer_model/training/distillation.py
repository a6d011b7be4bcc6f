"""Knowledge distillation: a run learns also from the probabilities of networks that were trained before.

They are part of every training image's target, beside the one label that a person gave (Hinton et al. 2015,
https://arxiv.org/abs/1503.02531). A teacher of the student's own design can still make it better (born-again networks,
Furlanello et al. 2018, https://arxiv.org/abs/1805.04770).
"""

from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor

from fer_model.data.dataset import FERData, batches
from fer_model.errors import TrainingError
from fer_model.evaluation.predict import EVALUATION_BATCH, predict
from fer_model.training.warm_start import Trained, load_trained


@dataclass
class TeacherTargets:
    """The teachers' probabilities for every training image, float32 (N, classes), and their share of its target."""

    probabilities: Tensor
    share: float


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
