"""Fit the temperature and the threshold of a trained model anew, on its own run's validation images."""

from accelerate import Accelerator

from fer_model.data.dataset import batches, fingerprint
from fer_model.data.fer2013 import load_fer
from fer_model.data.splits import validation_images
from fer_model.data.votes import find_votes
from fer_model.errors import FERError
from fer_model.evaluation.predict import EVALUATION_BATCH, predict
from fer_model.machine import keep_freed_memory
from fer_model.model.calibration import calibrate
from fer_model.model.network import FERModel
from fer_model.runs import Run
from fer_model.training.checkpoints import remove_old_results, save_model
from fer_model.training.distillation import opinions

TOLERANCE = 0.01
"""Of the accuracy. bfloat16 against float32 changes less, training images among the validation images more."""


def recalibrate(run: Run, dataset: str | None = None, *, half: bool = False, skip_corrupt: bool = False) -> FERModel:
    """Calibrate the model in the run's folder, centre its Grad-CAM layer, and save it. Old metrics are removed.

    Args:
        dataset: a Hub id or path; by default the one in the run's history.
        half: round the weights to float16 first, and store them so.
        skip_corrupt: leave unreadable images out, as the run did.

    Raises:
        FERError: there is no history, or the dataset does not hold the run's validation images.
    """
    keep_freed_memory()
    history = run.required_history()
    settings = history["run"]
    model = FERModel.from_pretrained(run.models)
    everything = load_fer(
        dataset or settings["dataset"],
        "train",
        revision=settings["dataset_revision"],
        skip_corrupt=skip_corrupt,
        classes=len(model.class_names),
    )
    validation = validation_images(settings, everything)
    model.centre_grad_cam_layer()
    if half:
        model = model.half().float()  # rounded, as everyone will load them
    accelerator = Accelerator(mixed_precision="no")
    prepared, loader = accelerator.prepare(model, batches(validation, EVALUATION_BATCH))
    logits, labels = predict(prepared, loader, accelerator, "calibrating")
    accuracy = float((logits.argmax(dim=1) == labels).double().mean())
    best = history["epochs"][history["best_epoch"] - 1]["validation_accuracy"]
    # of the same photos in another order some would be training images, and the accuracy higher
    same = settings["validation_sha256"] == fingerprint(validation.images)
    if not same or abs(accuracy - best) > TOLERANCE:
        raise FERError(
            f"These are not the run's validation images: its accuracy on them is {accuracy:.2%}, and was {best:.2%}. "
            "Name the dataset it was trained on with --dataset."
        )
    said = None
    if settings.get("votes", {}).get("share"):
        said = opinions(find_votes(validation.images, "train").counts, labels, len(model.class_names))
    calibrate(model, logits, labels, said)
    model = model.cpu().half() if half else model.cpu()
    save_model(model, run.models, accelerator)
    remove_old_results(run, accelerator)
    return FERModel.from_pretrained(run.models)
