"""Fit the temperature and the threshold of a trained model on its own run's validation images.

    python -m fer_model.recalibrate results/v2
    python -m fer_model.recalibrate results/v3 --half      # and keep the weights in float16: half the download

Training fits both by itself, and centres the layer that heat maps are made of; this does it for runs that were trained
before it did, and for rounded weights. It needs the run's dataset.
"""

import argparse
import json
from pathlib import Path

from accelerate import Accelerator

from fer_model import cli
from fer_model.allocator import keep_freed_memory
from fer_model.data.duplicates import fingerprint
from fer_model.data.fer2013 import batches, load_fer
from fer_model.data.splits import validation_split
from fer_model.errors import FERError
from fer_model.evaluation import plots
from fer_model.evaluation.predict import EVALUATION_BATCH, predict
from fer_model.hub.push import write_card
from fer_model.model.calibration import calibrate
from fer_model.model.network import FERModel
from fer_model.training.checkpoints import remove_old_results, save_model

TOLERANCE = 0.01
"""In accuracy: bfloat16 against float32 turns over less, training images among the validation images more."""


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m fer_model.recalibrate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("results", type=Path, metavar="FOLDER", help="a run's folder, such as results/v2")
    parser.add_argument("--dataset", metavar="ID_OR_PATH", help="default: the one in the run's history")
    parser.add_argument("--half", action="store_true", help="round the weights to float16, and store them so")
    parser.add_argument("--skip-corrupt", action="store_true", help="as the run did")
    args = parser.parse_args(argv)
    keep_freed_memory()
    file = args.results / "history.json"
    if not file.is_file():
        raise FERError(f"{file} is not there; it says which images the run was validated on.")
    history = json.loads(file.read_text(encoding="utf-8"))
    run = history["run"]
    dataset = args.dataset or run["dataset"]
    model = FERModel.from_pretrained(args.results / "models")
    options = {"skip_corrupt": args.skip_corrupt, "classes": len(model.class_names)}
    everything = load_fer(dataset, "train", revision=run["dataset_revision"], **options)
    fraction, together = run["recipe"]["validation_fraction"], run["recipe"]["together"]
    _, validation = validation_split(everything, run["limit"], fraction, run["seed"], together)
    model.centre_grad_cam_layer()
    if args.half:
        model = model.half().float()  # rounded: what everyone will load
    accelerator = Accelerator(mixed_precision="no")
    prepared, loader = accelerator.prepare(model, batches(validation, EVALUATION_BATCH))
    logits, labels = predict(prepared, loader, accelerator, "calibrating")
    accuracy = float((logits.argmax(dim=1) == labels).double().mean())
    best = history["epochs"][history["best_epoch"] - 1]["validation_accuracy"]
    # the same photos in another order would put training images among these; then it would score higher
    same = run["validation_sha256"] == fingerprint(validation.images)
    if not same or abs(accuracy - best) > TOLERANCE:
        raise FERError(
            f"These are not the run's validation images: its accuracy on them is {accuracy:.2%}, and was {best:.2%}. "
            "Name the dataset it was trained on with --dataset."
        )
    calibrate(model, logits, labels)
    model = model.cpu().half() if args.half else model.cpu()
    save_model(model, args.results / "models", accelerator)
    remove_old_results(args.results, accelerator)  # they were measured before this
    plots.training_curves(history, args.results / "visualizations" / "training_curves.png")
    write_card(args.results)
    print(f"temperature {model.temperature:.3f}, unsure below {model.unsure_below:.3f}; now measure anew: evaluate.py")


if __name__ == "__main__":
    cli.run("fer_model.recalibrate", main)
