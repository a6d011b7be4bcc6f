"""How long a start takes: of the package, of a first answer, of the demo's page, each beside that of PyTorch."""

import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tqdm.auto import tqdm

from fer_model.runs import ROOT

PHOTO = ROOT / "examples" / "astronaut.jpg"

LONGEST = 300
"""Seconds that the page may take, also on a machine that does much else."""

Cost = tuple[float, float]
"""Seconds by the clock, and of processor time."""

AFTER = {
    "package": ("torch", 0.5),
    "first_answer": ("package", 1.0),
    "page": ("torch", 3.0),
}
"""For each start, the one that it is compared to, and how many seconds longer it should take at most."""


def measure(model: Path, rounds: int) -> dict[str, dict]:
    """How much longer each start takes than the one that `AFTER` compares it to: medians over the rounds.

    On a busy machine the processor time says more, because it does not count waiting for other programs.

    Args:
        model: the folder whose weights answer.
    """
    pipeline = f"from fer_model import FERPipeline; FERPipeline.from_pretrained({str(model)!r})({str(PHOTO)!r})"
    starts: dict[str, Callable[[], Cost]] = {
        "torch": lambda: python("import torch"),
        "package": lambda: python("import fer_model"),
        "first_answer": lambda: python(pipeline),
        "page": _page,
    }
    costs: dict[str, list[Cost]] = {name: [] for name in starts}
    for _ in tqdm(range(rounds), desc="start", unit="round", leave=False):
        for name, start in starts.items():
            costs[name].append(start())
    torch = {
        f"{kind}seconds": round(statistics.median(cost[index] for cost in costs["torch"]), 3)
        for index, kind in enumerate(("", "cpu_"))
    }
    found: dict[str, dict] = {"torch": torch}
    for name, (after, aim) in AFTER.items():
        more = _more(costs[after], costs[name], costs["torch"])
        found[name] = {"after": after, "aim_seconds": aim, **more}
    return found


def _more(before: list[Cost], now: list[Cost], torch: list[Cost]) -> dict[str, float]:
    """Medians of the differences, and of their ratios to the start of PyTorch."""
    found = {}
    for index, kind in enumerate(("", "cpu_")):
        more = [b[index] - a[index] for a, b in zip(before, now, strict=True)]
        found[f"{kind}seconds_more"] = round(statistics.median(more), 3)
        ratios = [value / own[index] for value, own in zip(more, torch, strict=True)]
        found[f"{kind}ratio_to_torch"] = round(statistics.median(ratios), 3)
    return found


def python(code: str) -> Cost:
    """What a new Python process costs that runs this code."""
    return timed([sys.executable, "-c", code])


def timed(command: list[str]) -> Cost:
    """What a command costs, the processes that it starts included.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    before, started = _of_children(), time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - started, _of_children() - before


def _of_children() -> float:
    """Seconds of processor time that all ended child processes of this one have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _page() -> Cost:
    """What `python app.py` costs until its page is served."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    before, started, seconds = _of_children(), time.perf_counter(), 0.0
    command = [sys.executable, "app.py", "--port", str(port)]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    quiet = subprocess.DEVNULL
    with (
        tempfile.TemporaryDirectory() as folder,  # the demo deletes its own at its end, but it is killed here
        subprocess.Popen(
            command, cwd=ROOT, env=os.environ | {"GRADIO_TEMP_DIR": folder}, stdout=quiet, stderr=quiet
        ) as app,
    ):
        while app.poll() is None and not seconds and time.perf_counter() - started < LONGEST:
            try:
                opener.open(f"http://127.0.0.1:{port}/config", timeout=5).close()
                seconds = time.perf_counter() - started
            except OSError:
                time.sleep(0.05)
        app.kill()
    if not seconds:
        raise RuntimeError(f"python app.py ended, or took {LONGEST} seconds, without a page")
    return seconds, _of_children() - before


def summary(found: dict) -> str:
    """A line for each start."""
    lines = [f"import torch: {found['torch']['seconds']} s ({found['torch']['cpu_seconds']} s of processor time)"]
    for name, (after, _) in AFTER.items():
        one = found[name]
        lines.append(
            f"{name}: {one['seconds_more']} s more than {after} ({one['cpu_seconds_more']} s of processor time, aim "
            f"{one['aim_seconds']}), {one['cpu_ratio_to_torch']:.2f} of import torch"
        )
    return "\n".join(lines)
