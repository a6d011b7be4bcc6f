"""How long a visitor of a sleeping Space waits: from the start of `python app.py` to the first answer.

    python scripts/cold_start.py                # writes results/cold_start.json

Every round starts a new process of the app, in this folder and with its weights; files may be in the
operating system's cache. What a Space does before, such as starting its container, is not counted.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import torch
from gradio_client import Client, handle_file

from fer_model import cli
from fer_model.machine import environment
from helpers.app import running_app


def one_start() -> dict[str, float]:
    """Seconds until the page is served, and until the first photo has been answered."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        with running_app(Path(folder), model="") as app:
            served = time.perf_counter() - started
            client = Client(app.url, verbose=False)
            answer = client.predict(handle_file(ROOT / "examples" / "astronaut.jpg"), api_name="/predict")[0]
            assert len(answer["faces"]) == 1
            return {"page": served, "answer": time.perf_counter() - started}


def main() -> None:
    parser = cli.parser("cold_start.py", __doc__)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    rounds = [one_start() for _ in range(args.rounds)]
    result = {
        "command": cli.repeat(["python", "scripts/cold_start.py"], args, ["rounds"]),
        "rounds": len(rounds),
        "seconds_to_page": statistics.median(row["page"] for row in rounds),
        "seconds_to_first_answer": statistics.median(row["answer"] for row in rounds),
        "slowest_first_answer": max(row["answer"] for row in rounds),
        "cores": os.cpu_count(),
        "environment": environment(torch.device("cpu")),
    }
    (ROOT / "results" / "cold_start.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
