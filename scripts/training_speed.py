"""How long training takes for each image, for every version and image size it was trained at, side by side.

    python scripts/training_speed.py                     # writes results/training_speed.json
    accelerate launch --mixed_precision bf16 scripts/training_speed.py --compile    # with other settings

Each round takes a few training steps of every kind in turn, so that whatever else the machine does slows all alike. The
figures are medians over all rounds. The steps are those of a training, with augmentation and optimizer. The faces are
noise.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

import torch
from tqdm import tqdm

from fer_model import cli
from fer_model.configs import CONFIGS, DATA_SIZE
from fer_model.labels import EMOTIONS
from fer_model.machine import environment
from fer_model.model.network import FERModel
from fer_model.training.fit import make_accelerator
from fer_model.training.optim import make_average, make_optimizer, make_schedule
from fer_model.training.step import Step, forward_flops

SIZES = {"v1": (64,), "v2": (64,), "v3": (32, 48)}
"""Pixels a side of the training images in the histories in results/."""


def main() -> None:
    parser = cli.parser("training_speed.py", __doc__)
    parser.add_argument("--compile", action="store_true", help="torch.compile, as train.py has it")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--steps", type=int, default=4, metavar="N", help="of a kind in a round (default: %(default)s)")
    args = parser.parse_args()
    kinds = [(version, size) for version, sizes in SIZES.items() for size in sizes]
    seconds = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory() as folder:
        accelerator = make_accelerator(Path(folder), 0, compile=args.compile)
        # the first step of each does not count: it allocates, and compiles
        steps = {kind: _prepared(*kind, accelerator) for kind in tqdm(kinds, desc="warming up", unit="kind")}
        for _ in tqdm(range(args.rounds), desc="measuring", unit="round"):
            for kind, step in steps.items():
                seconds[kind] += [step() for _ in range(args.steps)]
    rows = [
        {
            "version": version,
            "size": size,
            "batch_size": CONFIGS[version].recipe.batch_size,
            "seconds_per_image": statistics.median(seconds[version, size]) / CONFIGS[version].recipe.batch_size,
            "flops_per_image": 3 * forward_flops(FERModel(version=version), size),
        }
        for version, size in kinds
    ]
    precision = accelerator.mixed_precision
    launcher = ["python"] if precision == "no" else ["accelerate", "launch", "--mixed_precision", precision]
    result = {
        "command": cli.repeat([*launcher, "scripts/training_speed.py"], args, ["compile", "rounds", "steps"]),
        "mixed_precision": precision,
        "compile": args.compile,
        "rows": rows,
        "environment": environment(accelerator.device),
    }
    (ROOT / "results" / "training_speed.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def _prepared(version: str, size: int, accelerator):
    """A function that takes one training step, always on the same mini-batch, and returns its seconds."""
    recipe = CONFIGS[version].recipe
    model = FERModel(version=version).to(memory_format=torch.channels_last)
    model, optimizer = accelerator.prepare(model, make_optimizer(model, recipe))
    bare = accelerator.unwrap_model(model, keep_torch_compile=False)
    weights = torch.ones(len(EMOTIONS), device=accelerator.device)
    schedule = make_schedule(optimizer, recipe, 1000)
    step = Step(
        model.train(), optimizer, schedule, make_average(bare, recipe), weights, recipe, size, torch.channels_last
    )
    faces = torch.randint(256, (recipe.batch_size, 1, DATA_SIZE, DATA_SIZE), dtype=torch.uint8)
    labels = torch.randint(len(EMOTIONS), (recipe.batch_size,))
    faces, labels = faces.to(accelerator.device), labels.to(accelerator.device)
    indices = torch.arange(len(labels))

    def take() -> float:
        started = time.perf_counter()
        step(faces, labels, indices, accelerator)[0].sum().item()  # waits until the device is done
        return time.perf_counter() - started

    take()
    return take


if __name__ == "__main__":
    main()
