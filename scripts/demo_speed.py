"""How fast the demo is and how much memory it takes, asked over HTTP on 127.0.0.1; writes results/demo.json.

    python scripts/demo_speed.py                        # all parts, about ten minutes on two quiet cores
    python scripts/demo_speed.py --only load,film       # these parts anew; the other parts' figures stay
    python scripts/demo_speed.py --quick                # few requests: a try, only printed

Parts: photo (one visitor), load (eight at once, for each choice of --workers and --threads), live (frames of a
webcam, over HTTP and in headless Chromium), memory (over many photos), film. Each starts `python app.py` anew, with
the weights in results/. Needs requirements-dev.txt; whoever asks shares the cores with the server, so nothing else
should run here meanwhile.
"""

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import torch
from tqdm import tqdm

from demo_clients import (
    HEIGHT,
    VIDEO_RATE,
    VISITORS,
    WIDTH,
    Crowd,
    Visitor,
    demo,
    frames_in_browser,
    frames_over_http,
    latency,
    write_mp4,
)
from fer_model import cli
from fer_model.demo.versions import Versions
from fer_model.machine import environment

CHOICES = ((1, 1), (1, 2), (2, 1), (2, 2))
"""--workers and --threads of the servers that are compared."""

BUSY = 0.5
"""Load average above which figures would be those of other programs, too."""


@dataclass(frozen=True)
class Amounts:
    """How much is asked of each part."""

    photos: int = 50
    rounds: int = len(CHOICES)  # so that each is the first once
    photos_a_round: int = 60
    frames: int = 150
    seconds_in_browser: int = 20
    photos_for_memory: int = 1000
    warm_up_for_memory: int = 100
    films: int = 3
    seconds_of_film: int = 5


QUICK = Amounts(
    photos=5,
    rounds=1,
    photos_a_round=VISITORS,
    frames=10,
    seconds_in_browser=4,
    photos_for_memory=24,
    warm_up_for_memory=8,
    films=1,
    seconds_of_film=1,
)


def photo(amounts: Amounts) -> dict:
    with demo() as app:
        visitor = Visitor(app.url)
        for _ in range(3):
            visitor.photo()
        seconds = [visitor.photo() for _ in tqdm(range(amounts.photos), "photo")]
    return {
        "what": "examples/astronaut.jpg to /predict by one visitor, from the upload to the answer and both pictures",
        "requests": len(seconds),
        **defaults(),
        **latency(seconds),
    }


def load(amounts: Amounts) -> dict:
    """All servers stand ready and are asked in turn, so that what disturbs the machine for a while disturbs all."""
    with ExitStack() as stack:
        crowds = {}
        for workers, threads in CHOICES:
            app = stack.enter_context(demo("--workers", str(workers), "--threads", str(threads)))
            crowds[workers, threads] = Crowd(app.url)
        total = (amounts.rounds * amounts.photos_a_round + VISITORS) * len(CHOICES)
        bar = stack.enter_context(tqdm(total=total, desc="load"))
        for crowd in crowds.values():
            crowd.photos(VISITORS, bar)
        seconds = {choice: [] for choice in CHOICES}
        rates = {choice: [] for choice in CHOICES}
        for number in range(amounts.rounds):
            first = number % len(CHOICES)
            for choice in CHOICES[first:] + CHOICES[:first]:
                started = time.perf_counter()
                seconds[choice] += crowds[choice].photos(amounts.photos_a_round, bar)
                rates[choice].append(amounts.photos_a_round / (time.perf_counter() - started))
    default = tuple(defaults().values())
    return {
        "what": f"photos to /predict by {VISITORS} visitors at once, each asking again when answered; same cores",
        "visitors": VISITORS,
        "rounds": amounts.rounds,
        "choices": [
            {
                "workers": choice[0],
                "threads": choice[1],
                "default": choice == default,
                "requests": len(seconds[choice]),
                # rounds are equally long in photos, so what counts is the mean of their durations
                "answers_a_second": round(statistics.harmonic_mean(rates[choice]), 2),
                "slowest_and_fastest_round": [round(min(rates[choice]), 2), round(max(rates[choice]), 2)],
                **latency(seconds[choice]),
            }
            for choice in CHOICES
        ],
    }


def live(amounts: Amounts) -> dict:
    with demo() as app:
        over_http = [frames_over_http(app.url, amounts.frames, maps) for maps in (False, True)]
        in_browser = frames_in_browser(app.url, amounts.seconds_in_browser)
    return {
        "what": f"frames of {WIDTH} x {HEIGHT}, the next one sent when the last answer has come",
        **defaults(),
        "over_http": over_http,
        "in_browser": in_browser,
    }


def memory(amounts: Amounts) -> dict:
    total, start = amounts.photos_for_memory, amounts.warm_up_for_memory
    marks = (start, (start + total) // 2, total)
    if not Path("/proc/self/status").is_file():
        return {"skipped": "it is read from Linux's /proc"}
    held = []
    with demo() as app, tqdm(total=total, desc="memory") as bar:
        crowd = Crowd(app.url)
        for before, mark in itertools.pairwise((0, *marks)):
            crowd.photos(mark - before, bar)
            held.append(resident(app.pid))
    return {
        "what": f"the server's resident memory after so many photos by {VISITORS} visitors at once, warm-up included",
        **defaults(),
        "requests": list(marks),
        "mb": [round(size, 1) for size in held],
        "growth_mb_per_1000": round(1000 * (held[2] - held[0]) / (marks[2] - marks[0]), 1),
        # what is remembered of each upload for a minute still grows in the first half
        "growth_mb_per_1000_second_half": round(1000 * (held[2] - held[1]) / (marks[2] - marks[1]), 1),
    }


def resident(pid: int) -> float:
    """The memory that a process holds now, in MB (10^6 bytes)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmRSS"))


def film(amounts: Amounts) -> dict:
    length, taken = amounts.seconds_of_film, []
    with demo() as app, tempfile.TemporaryDirectory() as folder:
        content = write_mp4(Path(folder) / "film.mp4", length).read_bytes()
        visitor = Visitor(app.url)
        visitor.photo()  # loads what is loaded once
        for _ in tqdm(range(amounts.films), "film"):
            started = time.perf_counter()
            annotated, table = visitor.ask(visitor.endpoint("film"), [visitor.upload("film.mp4", content), 0.1, None])
            files = [visitor.fetch(file) for file in (annotated, table)]
            taken.append(time.perf_counter() - started)
    return {
        "what": f"a film of {WIDTH} x {HEIGHT}, {VIDEO_RATE} frames a second, to /film, from the upload to both files",
        **defaults(),
        "films": amounts.films,
        "seconds_of_film": length,
        "searches_a_second_of_film": 10,
        "seconds_per_second_of_film": round(statistics.median(taken) / length, 3),
        "slowest": round(max(taken) / length, 3),
        "rows_in_table": files[1].decode().count("\n") - 1,
    }


PARTS: dict[str, Callable[[Amounts], dict]] = {
    "photo": photo,
    "load": load,
    "live": live,
    "memory": memory,
    "film": film,
}


def defaults() -> dict[str, int]:
    """What the demo chooses here without --workers and --threads."""
    from app import parse_args  # imports gradio, for which --help need not wait

    args = parse_args([])
    return {"workers": args.workers, "threads": args.threads}


def described(name: str, figures: dict, quick: bool) -> dict:
    """A part's figures, with what is needed to compare them."""
    machine = environment(torch.device("cpu"))
    del machine["threads"]  # of this process; the servers' stand beside the figures
    repeated = argparse.Namespace(only=name, quick=quick)
    command = cli.repeat(["python", "scripts/demo_speed.py"], repeated, ["only", "quick"])
    version = Versions.among(ROOT / "results").default
    return {"command": command, "version": version, "cores": os.cpu_count(), "environment": machine, **figures}


def parse_args() -> argparse.Namespace:
    parser = cli.parser("demo_speed.py", __doc__)
    parser.add_argument("--only", metavar="PART,PART", help=f"of {','.join(PARTS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="few requests; nothing is written without --output")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: results/demo.json")
    args = parser.parse_args()
    args.parts = args.only.split(",") if args.only else list(PARTS)
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; choose of {', '.join(PARTS)}")
    if args.output is None and not args.quick:
        args.output = ROOT / "results" / "demo.json"
    return args


def warn_if_busy() -> None:
    load = os.getloadavg()[0]
    if load > BUSY:
        print(
            f"Warning: this machine is busy (load average {load:.1f}); the figures will be worse than they should.",
            file=sys.stderr,
        )


def write(file: Path, measured: dict) -> None:
    """Replace the measured parts in `file` and keep the others, all in the order of PARTS."""
    kept = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    merged = kept | measured
    ordered = {name: merged[name] for name in PARTS if name in merged}
    file.write_text(json.dumps(ordered, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    args = parse_args()
    warn_if_busy()
    for name in args.parts:
        figures = described(name, PARTS[name](QUICK if args.quick else Amounts()), args.quick)
        print(json.dumps({name: figures}, indent=2), flush=True)
        if args.output:
            write(args.output, {name: figures})  # at once: a break keeps what is done


if __name__ == "__main__":
    main()
