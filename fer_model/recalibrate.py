"""Fit the temperature and the threshold of a trained model on its own run's validation images.

    python -m fer_model.recalibrate results/v2

Training does so by itself; this is for runs that were trained before it did, and needs their dataset.
"""

import argparse
import json
from pathlib import Path

from accelerate import Accelerator

from fer_model import cli
from fer_model.calibration import calibrate
from fer_model.data import batches, load_fer
from fer_model.errors import FERError
from fer_model.hub import write_card
from fer_model.modeling import FERModel
from fer_model.splitting import validation_split
from fer_model.training import EVALUATION_BATCH, predict


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m fer_model.recalibrate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("results", type=Path, metavar="FOLDER", help="a run's folder, such as results/v2")
    parser.add_argument("--dataset", metavar="ID_OR_PATH", help="default: the one in the run's history")
    args = parser.parse_args(argv)
    file = args.results / "history.json"
    if not file.is_file():
        raise FERError(f"{file} is not there; it says which images the run was validated on.")
    run = json.loads(file.read_text(encoding="utf-8"))["run"]
    everything = load_fer(args.dataset or run["dataset"], "train", revision=run["dataset_revision"])
    fraction, together = run["recipe"]["validation_fraction"], run["recipe"].get("together", False)
    _, validation = validation_split(everything, run["limit"], fraction, run["seed"], together)
    if len(validation) != run["images"]["validation"]:
        found, expected = len(validation), run["images"]["validation"]
        raise FERError(f"This dataset gives {found} validation images, but the run had {expected}; name its own.")
    model = FERModel.from_pretrained(args.results / "models")
    accelerator = Accelerator(mixed_precision="no")
    prepared, loader = accelerator.prepare(model, batches(validation, EVALUATION_BATCH))
    calibrate(model, *predict(prepared, loader, accelerator, "calibrating"))
    model.cpu().save_pretrained(args.results / "models")
    write_card(args.results)
    print(f"temperature {model.temperature:.3f}, unsure below {model.unsure_below:.3f}")


if __name__ == "__main__":
    cli.run("fer_model.recalibrate", main)
