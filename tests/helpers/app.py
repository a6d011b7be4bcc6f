"""The demo in a process of its own: what the tests of the app and the browser share, and docs/ with them.

By default with an untrained network.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from fer_model import FERModel
from helpers import ROOT


class RunningApp:
    """A started demo: its address, its process id, and all that it has printed."""

    def __init__(self, url: str, process: subprocess.Popen, log: Path):
        self.url = url
        self.pid = process.pid
        self._process, self._log = process, log

    @property
    def output(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def stop(self) -> float:
        """Seconds from SIGTERM to its end."""
        started = time.monotonic()
        self._process.terminate()
        self._process.wait(60)
        return time.monotonic() - started


@contextmanager
def running_app(
    folder: Path,
    start: tuple[str, ...] = ("app.py",),
    model: "str | tuple[str, ...] | None" = None,
    cwd: Path = ROOT,
    environment: dict[str, str] | None = None,
) -> Iterator[RunningApp]:
    """`python START --model MODEL --port FREE`, ready to answer; stopped at the end.

    model: one or several; default, an untrained network in FOLDER/model; "": leave it to the app.
    """
    if model is None:
        FERModel(version="v1", seed=0).save_pretrained(folder / "model")
        model = str(folder / "model")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "app.log"
    # its own cache, so that tests see what becomes of the uploads
    environment = (environment or os.environ) | {"GRADIO_TEMP_DIR": str(folder / "cache"), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, *start, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--model", *([model] if isinstance(model, str) else model)] if model else []
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=output, stderr=subprocess.STDOUT)
    app = RunningApp(f"http://127.0.0.1:{port}", process, log)
    try:
        _wait_until_ready(app, process)
        yield app
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(app: RunningApp, process: subprocess.Popen, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    with httpx.Client(timeout=5, trust_env=False) as client:
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise RuntimeError(f"The app ended with {process.returncode}:\n{app.output}")
            try:
                if client.get(f"{app.url}/config").is_success:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.05)
    raise RuntimeError(f"The app was not ready within {seconds} seconds:\n{app.output}")


def wait_until(true: Callable[[], bool], seconds: float = 30) -> bool:
    """Whether it becomes true in that time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
