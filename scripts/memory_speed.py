"""How much time is saved by keeping freed memory (`machine.keep_freed_memory`), with and without it side by side.

    python scripts/memory_speed.py                # writes results/memory_speed.json

Each round starts a process with it and one without, in float32 on the CPU. V3 answers mini-batches of 128 images, as in
evaluate.py, and takes training steps of 64. The faces are noise. The figures are medians over all rounds.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

import torch
from tqdm import tqdm

from fer_model import cli
from fer_model.configs import CONFIGS, DATA_SIZE
from fer_model.evaluation.predict import EVALUATION_BATCH
from fer_model.labels import EMOTIONS
from fer_model.machine import environment, keep_freed_memory
from fer_model.model.network import FERModel
from fer_model.model.preprocess import preprocess

BATCHES = 5
"""Mini-batches of each kind in a process, after one that does not count."""


def main() -> None:
    parser = cli.parser("memory_speed.py", __doc__)
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--one", choices=("keep", "give-back"), help=argparse.SUPPRESS)  # for a round's processes
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one_process(keep=args.one == "keep")))
        return
    seconds = {(kind, way): [] for kind in ("evaluation", "training") for way in ("keep", "give-back")}
    for _ in tqdm(range(args.rounds), unit="round"):
        for way in ("keep", "give-back"):
            command = [sys.executable, __file__, "--one", way]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            for kind, found in json.loads(done.stdout).items():
                seconds[kind, way] += found
    medians = {key: statistics.median(values) for key, values in seconds.items()}
    result = {
        "command": cli.repeat(["python", "scripts/memory_speed.py"], args, ["rounds"]),
        **{
            kind: {
                "seconds_per_batch": medians[kind, "keep"],
                "seconds_per_batch_without": medians[kind, "give-back"],
                "times_as_fast": medians[kind, "give-back"] / medians[kind, "keep"],
            }
            for kind in ("evaluation", "training")
        },
        "environment": environment(torch.device("cpu")),
    }
    (ROOT / "results" / "memory_speed.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def one_process(keep: bool) -> dict[str, list[float]]:
    """Seconds of every mini-batch, by kind."""
    if keep:
        keep_freed_memory()
    model, batch = FERModel(version="v3"), CONFIGS["v3"].recipe.batch_size
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    size = model.input_size

    def evaluate() -> None:
        with torch.no_grad():
            model.eval()(preprocess(noise(EVALUATION_BATCH), size))

    def train() -> None:
        labels = torch.randint(len(EMOTIONS), (batch,))
        torch.nn.functional.cross_entropy(model.train()(preprocess(noise(batch), size)), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return {"evaluation": timed(evaluate), "training": timed(train)}


def noise(count: int) -> torch.Tensor:
    return torch.randint(256, (count, 1, DATA_SIZE, DATA_SIZE), dtype=torch.uint8)


def timed(work: Callable[[], None]) -> list[float]:
    found = []
    for _ in range(BATCHES + 1):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return found[1:]


if __name__ == "__main__":
    main()
