"""A training in a process of its own, which tells what it is doing."""

import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import torch

import train
from fer_model.hub import push
from fer_model.training import fit

PHASES = {
    "in a step": (fit, "train_epoch"),
    "in validation": (fit, "predict"),
    "while a checkpoint is written": (fit, "save_checkpoint"),
    "while the best model is written": (fit, "save_model"),
    "in the push": (train, "push_folder"),
}
"""What a training may be doing, and the function that does it."""

BETWEEN = "between these"


def training(words: list[str], folder: Path, listener: Connection) -> None:
    """`train.py WORDS` in `folder`; tells `listener` each phase that it enters or leaves, and the clock's seconds."""
    os.chdir(folder)
    with open(f"{words[words.index('--output-dir') + 1]}.log", "a", buffering=1) as log:
        os.dup2(log.fileno(), 1)  # what it prints, C libraries included
        os.dup2(log.fileno(), 2)
    torch.set_num_threads(1)
    push.build_wheel = lambda folder: None  # it takes longer than all else, and is the same every time
    for phase, (module, name) in PHASES.items():
        setattr(module, name, _announced(getattr(module, name), phase, listener))
    train.main(train.parse_args(words))


def _announced(function: Callable, phase: str, listener: Connection) -> Callable:
    def announced(*arguments, **options):
        listener.send((phase, time.perf_counter()))
        try:
            return function(*arguments, **options)
        finally:
            listener.send((BETWEEN, time.perf_counter()))

    return announced
