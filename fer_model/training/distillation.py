"""Knowledge distillation: networks that were trained before say what else a face looks like.

Part of every training image's target are the teachers' probabilities instead of the one label that a person gave
(Hinton et al. 2015, https://arxiv.org/abs/1503.02531). A teacher may be of the student's own kind and still make it
better (born-again networks, Furlanello et al. 2018, https://arxiv.org/abs/1805.04770).
"""

from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor

from fer_model.data.dataset import FERData, batches
from fer_model.errors import TrainingError
from fer_model.evaluation.predict import EVALUATION_BATCH, predict
from fer_model.training.warm_start import Start, load_trained


@dataclass
class TeacherTargets:
    """What teachers say of every training image, float32 (N, classes), and its share of the image's target."""

    probabilities: Tensor
    share: float


@dataclass
class Teachers:
    """Trained networks, and the share of every target that their mean probabilities make up, in (0, 1]."""

    trained: list[Start]
    share: float

    def describe(self) -> dict:
        """For the history: {"share", "models": [{"model", "sha256"}]}."""
        return {"share": self.share, "models": [teacher.init for teacher in self.trained]}

    def ask(self, train: FERData, accelerator: Accelerator, memory_format: torch.memory_format) -> TeacherTargets:
        """Their mean calibrated probabilities for each training image, on the accelerator's device.

        Once, of the image and its mirror image, and not again of every change that augmentation makes to it. At the
        temperature that was calibrated on images it had not learned, so on those that it has, most of these, a teacher
        is surer than it is right. What this costs, two forward passes over the training images for each teacher, is in
        no epoch of the history.
        """
        answers, loader = [], accelerator.prepare(batches(train, EVALUATION_BATCH))
        for teacher in self.trained:
            model = teacher.model.to(accelerator.device, memory_format=memory_format)
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
