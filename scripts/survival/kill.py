"""Trainings that are killed at random moments and resumed, beside one that was left alone."""

import json
import multiprocessing
import os
import random
import signal
import socket
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

from tqdm.auto import tqdm

from fer_model.model.network import FERModel
from fer_model.runs import WEIGHTS_FILE, Run

# the second epoch is better than the first, so the best model is written twice
OPTIONS = ("--version", "v1", "--batch-size", "12", "--threads", "1", "--epochs", "3", "--lr", "0.003")
OPTIONS += ("--set", "size=48")

Moments = list[tuple[str, float]]
"""What a training entered, and when: a phase, and the clock's seconds."""


def kill_at_random(count: int, seed: int) -> dict:
    """Kill `count` trainings, in each phase in turn, at a random moment of a random one of its occurrences.

    Returns:
        How many were killed, what the signal really met, and how many of the resumed ones ended with the history, the
        model and the repository of the training that was left alone.
    """
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as listener:
        os.environ |= {
            "HF_HOME": f"{folder}/cache",
            "HF_ENDPOINT": "http://{}:{}".format(*listener.getsockname()),
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1",  # no proxy of this machine shall stand between
            "ACCELERATE_USE_CPU": "true",
        }
        # these read the variables when they are imported
        from helpers.hub.repos import WRITE_TOKEN
        from helpers.hub.server import running_hub
        from helpers.small_run import drawn_dataset

        os.environ["HF_TOKEN"] = WRITE_TOKEN
        with running_hub(listener) as hub:
            trial = _Trial(Path(folder), drawn_dataset(Path(folder) / "faces"), hub)
            return trial.kill_all(count, random.Random(seed))


class _Trial:
    """Trainings in processes of their own, forked from one that has imported everything."""

    def __init__(self, folder: Path, dataset: Path, hub):
        self.folder, self.dataset, self.hub = folder, dataset, hub
        self.processes = multiprocessing.get_context("forkserver")
        self.processes.set_forkserver_preload(["survival.training"])

    def kill_all(self, count: int, chance: random.Random) -> dict:
        from survival.training import PHASES

        whole, status = self.train("whole")
        if status:
            raise RuntimeError(f"the training that is left alone ends with {status}")
        expected = self.result("whole")
        met: Counter[str] = Counter()
        unequal = []
        for number in tqdm(range(count), desc="kills"):
            phase = list(PHASES)[number % len(PHASES)]
            durations = [after - at for (what, at), (_, after) in zip(whole, whole[1:], strict=False) if what == phase]
            occurrence = chance.randrange(len(durations))
            name = f"run-{number}"
            moments, status = self.train(name, kill=(phase, occurrence, chance.uniform(0, durations[occurrence])))
            if status != -signal.SIGKILL:  # on a busy machine the signal may come too late
                met["after its end"] += 1
                continue
            met[moments[-1][0]] += 1
            _, status = self.train(name, "--resume")
            if status or self.result(name) != expected:
                unequal.append({"met": moments[-1][0], "status": status})
        killed = met.total() - met["after its end"]
        return {"killed": killed, "equal": killed - len(unequal), "met": dict(met), "unequal": unequal}

    def train(self, name: str, *more: str, kill: tuple[str, int, float] | None = None) -> tuple[Moments, int | None]:
        """A training in self.folder/name; returns what it entered, and its exit status.

        Args:
            kill: a phase, which of its occurrences, counted from 0, and how many seconds after its beginning.
        """
        from survival.training import training

        heard, told = self.processes.Pipe(duplex=False)
        words = [*OPTIONS, "--dataset", str(self.dataset), "--output-dir", name, "--push-to-hub", f"tester/{name}"]
        process = self.processes.Process(target=training, args=([*words, *more], self.folder, told))
        process.start()
        told.close()
        moments: Moments = []
        while (moment := _next(heard)) is not None:
            moments.append(moment)
            if kill and [what for what, _ in moments].count(kill[0]) > kill[1]:
                time.sleep(kill[2])
                process.kill()
                kill = None
        process.join()
        return moments, process.exitcode

    def result(self, name: str) -> tuple:
        """What must be the same: the history but for seconds and paths, the model, and what was pushed."""
        run = Run(self.folder / name)
        history = json.loads(run.history_file.read_text(encoding="utf-8"))
        for key in ("command", "environment"):
            del history["run"][key]
        for epoch in history["epochs"]:
            for key in ("seconds", "images_per_second"):
                del epoch[key]
        model = FERModel.from_pretrained(run.models)
        pushed = self.hub.repo("models", f"tester/{name}").files()
        the_same = pushed.get(WEIGHTS_FILE) == (run.models / WEIGHTS_FILE).read_bytes()
        return history, model.digest(), model.temperature, model.unsure_below, the_same, sorted(pushed)


def _next(heard: Connection) -> tuple[str, float] | None:
    try:
        return heard.recv()
    except EOFError:
        return None
