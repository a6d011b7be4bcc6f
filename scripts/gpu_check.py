"""One prepared run of at most 8 minutes for a machine with a GPU and nothing else.

Here, once: the images of the training set, their labels and the split go into one file. What travels may have 64 MiB
in all, so the results and pages, which git brings back, stay behind:

    mkdir -p runs && python scripts/gpu_check.py --prepare runs/faces.npz --dataset ../shared/data/fer2013
    rm -r results docs

There, with the tool `run`, runs/ being ignored by git: carry ["runs/faces.npz"], timeout_s 560, and the command

    python3 scripts/gpu_check.py --data runs/faces.npz --output $OUT

Here, after it: `git checkout results docs`, and gpu_check.json, which each part joins as it ends, to results/gpu.json.
`python -m fer_model report` then fills docs/speed.md. On a CPU, `--device cpu --tiny` runs through all parts.

Each part is a process of its own, so that one that fails or hangs leaves the others alone. The script needs torch and
accelerate, but neither datasets nor evaluate. No test image is read.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

import numpy as np
import torch

from fer_model import cli
from fer_model.data.dataset import FERData
from fer_model.machine import environment
from fer_model.model.network import FERModel
from fer_model.runs import write_json
from fer_model.studies import gpu
from fer_model.studies.gpu import V4
from fer_model.training.distillation import load_crowd
from fer_model.training.fit import fit, make_accelerator
from fer_model.training.losses import class_weights
from fer_model.training.optim import AUTO_BATCH, for_batch
from fer_model.training.warm_start import starting_point

PARTS = {"peak": 60, "correct": 120, "speed": 150, "profile": 90, "training": 400, "more": 120}
"""What is measured, in this order, and how many seconds each may take: also no more than what is left of --minutes."""


def main() -> None:
    parser = cli.parser("gpu_check.py", __doc__)
    parser.add_argument("--prepare", type=Path, metavar="FILE", help="write the faces to this file, and end")
    parser.add_argument("--dataset", metavar="ID_OR_PATH", help="FER2013, with --prepare")
    parser.add_argument("--data", type=Path, metavar="FILE", help="what --prepare wrote; noise without it")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where gpu_check.json, the history and the model go")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="few, small images, to see whether all parts run through")
    parser.add_argument("--minutes", type=cli.positive_float, default=8.0, help="for all parts (default: %(default)s)")
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)  # for a part's process
    args = parser.parse_args()
    if args.prepare and not args.dataset:
        parser.error("--prepare needs --dataset")
    if not args.prepare and not args.output:
        parser.error("--output is needed; or --prepare, with --dataset")
    if args.prepare:
        prepare(args.prepare, args.dataset)
    elif args.part:
        measure_part(args)
    else:
        run_parts(args)


def run_parts(args: argparse.Namespace) -> None:
    """Each part in its own process; gpu_check.json is whole after each."""
    ends = time.monotonic() + 60 * args.minutes
    file = args.output / "gpu_check.json"
    found: dict = {"date": time.strftime("%Y-%m-%d"), "environment": environment(torch.device(args.device))}
    environ = os.environ | ({"ACCELERATE_USE_CPU": "true"} if args.device == "cpu" else {})
    for part, seconds in PARTS.items():
        left = ends - time.monotonic()
        seconds = left if args.tiny else seconds  # a busy CPU may take long
        command = [sys.executable, __file__, *sys.argv[1:], "--part", part]
        started = time.monotonic()
        try:
            done = subprocess.run(
                command, env=environ, capture_output=True, text=True, timeout=max(1, min(seconds, left)), check=True
            )
            found[part] = last_json(done.stdout) or {"failed": done.stderr[-3000:]}
        except subprocess.TimeoutExpired as stopped:  # it holds bytes
            found[part] = last_json((stopped.stdout or b"").decode(errors="replace")) | {"failed": "it took too long"}
        except subprocess.CalledProcessError as error:
            found[part] = {"failed": error.stderr[-3000:]}
        found[part]["seconds"] = round(time.monotonic() - started, 1)
        write_json(file, found)
        print(part, json.dumps(found[part])[:1500], flush=True)


def last_json(said: str) -> dict:
    """What a part found, from its last line; nothing where that is another line, such as an epoch's."""
    try:
        found = json.loads(said.splitlines()[-1])
    except (ValueError, IndexError):
        return {}
    return found if isinstance(found, dict) else {}


def prepare(file: Path, dataset: str) -> None:
    """Write V4's training images, then its validation images, as differences to the pixels above and left.

    These take less room than the pixels.
    """
    from fer_model.data.fer2013 import load_fer
    from fer_model.data.splits import validation_split

    recipe, faces = V4.recipe, load_fer(dataset, "train", classes=V4.classes)
    train, validation = validation_split(faces, None, recipe.validation_fraction, 0, recipe.together, progress=True)
    both = train.joined(validation)
    pixels = np.diff(np.diff(both.images.numpy(), axis=2, prepend=np.uint8(0)), axis=3, prepend=np.uint8(0))
    with file.open("wb") as opened:  # by its name alone, np.savez would add an ending
        np.savez_compressed(opened, pixels=pixels, labels=both.labels.numpy(), count=len(train))
    print(f"{file}: {file.stat().st_size / 2**20:.1f} MiB, {len(train)} images to train on, {len(validation)} more")


def load(args: argparse.Namespace) -> tuple[FERData, FERData]:
    """Training and validation images; noise without --data."""
    if args.data is None:
        noise = torch.randint(256, (4096, 1, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        both, count = FERData(noise, torch.arange(4096) % V4.classes), 3584
    else:
        with np.load(args.data) as stored:
            pixels = stored["pixels"].cumsum(axis=3, dtype=np.uint8).cumsum(axis=2, dtype=np.uint8)
            both, count = FERData(torch.from_numpy(pixels), torch.from_numpy(stored["labels"])), int(stored["count"])
    few = 84 if args.tiny else len(both)
    return both.subset(torch.arange(min(few, count))), both.subset(torch.arange(count, min(count + few, len(both))))


def measure_part(args: argparse.Namespace) -> None:
    """Print what a part found, as JSON in the last line."""
    train, validation = load(args)
    if args.part == "training":
        found = measure_training(args, train, validation)
    else:
        found = getattr(gpu, f"measure_{args.part}")(torch.device(args.device), args.tiny, train)
    if "table" in found:
        (args.output / "profile.txt").write_text(found.pop("table"))
    print(json.dumps(found))


def measure_training(args: argparse.Namespace, train: FERData, validation: FERData) -> dict:
    """All of V4's training, as `train.py --version v4 --compile --channels-last --batch-size auto` runs it on a GPU."""
    recipe = for_batch(V4.recipe, AUTO_BATCH)
    if args.tiny:
        recipe = replace(V4.recipe, epochs=2, batch_size=16, size=16, size_at_end=24)
    crowd = load_crowd(V4.votes, train, validation, V4.classes, True) if args.data else None
    accelerator = make_accelerator(args.output, 0, compile=args.device == "cuda", mixed_precision="bf16")
    start = starting_point("v4", V4.classes, 0)
    weights = class_weights(torch.cat([train.labels, validation.labels]), recipe.weight_power, V4.classes)
    command = cli.repeat(["python3", "scripts/gpu_check.py"], args, ("data",))
    about = {"command": command, "dataset": "FER2013", "dataset_revision": None, "limit": None}
    options = {"seed": 0, "about": about, "crowd": crowd, "channels_last": True}
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        history = fit(start, train, validation, weights, recipe, accelerator, Path(folder), **options)
        wall = time.perf_counter() - started
        model = FERModel.from_pretrained(Path(folder) / "models")
    write_json(args.output / "history.json", history)
    model.half().save_pretrained(args.output / "model")  # what comes back has a limit of 16 MiB a file
    epochs = history["epochs"]
    learning = sum(len(train) / row["images_per_second"] for row in epochs)
    best = epochs[history["best_epoch"] - 1]
    return {
        "epochs": len(epochs),
        "wall_seconds": wall,  # compiling, validation and checkpoints included
        "validation_share": 1 - learning / sum(row["seconds"] for row in epochs),
        "saving_share": 1 - sum(row["seconds"] for row in epochs) / wall,
        "images_per_second": {str(row["size"]): row["images_per_second"] for row in epochs},  # of the last epoch
        "validation_accuracy": best["validation_accuracy"],
        "validation_votes": best.get("validation_votes"),
    }


if __name__ == "__main__":
    cli.run("gpu_check.py", main)
