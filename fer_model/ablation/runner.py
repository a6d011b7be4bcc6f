"""Trains the rows of a study, one `train.py` each, and writes and plots the result.

An interrupted study is resumed: a row of the result is trained again only if its command, network or recipe has
changed. No test image is read, so all accuracies are those of validation images.
"""

import hashlib
import json
import shlex
import subprocess
import sys
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from fer_model.ablation.studies import Row, Study
from fer_model.configs import CONFIGS
from fer_model.data.fer2013 import load_fer
from fer_model.data.splits import validation_images
from fer_model.data.votes import agrees_with_majority, find_votes
from fer_model.errors import TrainingError
from fer_model.evaluation import plots
from fer_model.evaluation.measure import predict_all
from fer_model.evaluation.predict import start_accelerator
from fer_model.model.network import FERModel
from fer_model.records import History
from fer_model.runs import ROOT, Run, read_json, write_json


def run_study(
    name: str,
    study: Study,
    dataset: str,
    folder: Path,
    output: Path,
    options: list[str],
    repeated_by: str,
    precision: str = "no",
    jobs: int = 1,
) -> dict[str, Any]:
    """Train every row that is not done yet; write and return the result.

    Args:
        folder: where the runs go, one folder a row.
        output: the JSON file. It and the plot of the same name are rewritten after every row.
        options: more arguments for every train.py.
        command: the command that repeats the study, for the result.
        precision: of the trainings, a value of `accelerate launch --mixed_precision`.
        jobs: how many rows are trained at once.

    Raises:
        TrainingError: a training failed, or none of the rows in `output` is this study's.
    """
    output = output.resolve()
    commands = [_command(study, row, dataset, options) for row in study.rows]
    keys = [_key(precision, command, row) for command, row in zip(commands, study.rows, strict=True)]
    known = {row["key"]: row for row in read_json(output)["rows"]} if output.is_file() else {}
    if known and not known.keys() & set(keys):
        raise TrainingError(
            f"{output} holds trainings on another dataset, budget or precision, or of another recipe; "
            "give --dataset and --mixed-precision as they were then, name another file with --output, or delete it."
        )
    runs = [folder / name / key for key in keys]
    typed = [
        _typed(precision, [*command, "--output-dir", str(run)]) for command, run in zip(commands, runs, strict=True)
    ]

    failed = threading.Event()

    def train(index: int) -> dict[str, Any]:
        if failed.is_set():
            raise CancelledError
        print(f"[{index + 1}/{len(keys)}] {study.rows[index].name}: {typed[index]}", flush=True)
        try:
            history = _trained(study.rows[index], commands[index], dataset, runs[index].resolve(), precision)
            crops = _ten_crops(Run(runs[index]), dataset) if study.ten_crops else {}
        except BaseException:
            failed.set()
            raise
        return {"key": keys[index], **_summary(history), **crops}

    def write() -> dict[str, Any]:
        rows = [
            {"name": row.name, **known[key], "command": command}
            for key, row, command in zip(keys, study.rows, typed, strict=True)
            if key in known
        ]
        result = {
            "command": repeated_by,
            "question": study.question,
            "epochs": study.epochs,
            "limit": study.limit,
            "rows": rows,
        }
        write_json(output, result)
        plots.study(result, output.with_suffix(".png"))
        return result

    for index, (key, row) in enumerate(zip(keys, study.rows, strict=True)):
        if key in known:
            print(f"[{index + 1}/{len(keys)}] {row.name}: done before", flush=True)
    with ThreadPoolExecutor(jobs) as pool:
        missing = [pool.submit(train, index) for index, key in enumerate(keys) if key not in known]
        try:
            for done in as_completed(missing):
                if done.exception() is None:  # rows that ran beside one that failed are kept too
                    known[done.result()["key"]] = done.result()
                    write()
        except BaseException:  # Ctrl-C
            failed.set()
            raise
    for done in missing:
        done.result()  # raises the first failure; rows that were not begun come after it
    return write()


def _command(study: Study, row: Row, dataset: str, options: list[str]) -> list[str]:
    command = ["train.py", "--dataset", dataset, "--epochs", str(study.epochs), *row.arguments, *study.arguments]
    command += ["--set", f"patience={study.epochs}", *options]  # all epochs of the budget
    return command + (["--limit", str(study.limit)] if study.limit else [])


def _key(precision: str, command: list[str], row: Row) -> str:
    """A digest of all that decides a row's figures, so that it is never shown with another row's."""
    config = CONFIGS[row.arguments[row.arguments.index("--version") + 1]]
    everything = json.dumps([precision, command, _chosen(config)])
    return hashlib.sha256(everything.encode()).hexdigest()[:12]


def _chosen(settings: Any) -> dict[str, Any]:
    """All that differs from a dataclass's defaults, so that a setting that is new changes no row's key."""
    found = {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            found[field.name] = _chosen(value)
        elif value != field.default:
            found[field.name] = value
    return found


def _typed(precision: str, command: list[str]) -> str:
    """The command of a row's training, for any machine."""
    return shlex.join(["accelerate", "launch", "--num_processes", "1", "--mixed_precision", precision, *command])


def _trained(row: Row, command: list[str], dataset: str, folder: Path, precision: str) -> History:
    """The history of the row's training in `folder`, which is finished first if need be."""
    run = Run(folder)
    history = run.history()
    if history is None or history["stopped"] is None:
        launcher = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "1"]
        launcher += ["--num_machines", "1", "--mixed_precision", precision, "--dynamo_backend", "no"]
        # train.py is started in the repository, so the dataset's path must not be relative
        here = [str(Path(word).resolve()) if word == dataset and Path(word).exists() else word for word in command]
        done = subprocess.run([*launcher, *here, "--output-dir", str(folder), "--resume"], cwd=ROOT, check=False)
        history = run.history()
        if done.returncode or history is None:
            raise TrainingError(f"The row {row.name!r} failed; the same command goes on with it.")
    return history


def _ten_crops(run: Run, dataset: str) -> dict[str, float | None]:
    """How often a row's best model is right where it sees ten crops of each validation image.

    The agreement with the majority is None where no image has one.
    """
    settings, model = run.required_history()["run"], FERModel.from_pretrained(run.models)
    validation = validation_images(settings, load_fer(dataset, "train", classes=settings["classes"]))
    logits, labels = predict_all(model, validation, start_accelerator(mixed_precision="no"), "ten-crop")
    predicted, counts = logits.argmax(dim=1), find_votes(validation.images, "train").counts
    agrees = agrees_with_majority(predicted, counts, settings["classes"])
    hits = {"accuracy": predicted == labels, "majority_agreement": agrees}
    return {f"ten_crop_{name}": float(hit.double().mean()) if len(hit) else None for name, hit in hits.items()}


def _summary(history: History) -> dict[str, Any]:
    epochs = history["epochs"]
    best = epochs[history["best_epoch"] - 1]
    return {
        "validation_accuracy": best["validation_accuracy"],
        "validation_macro_recall": best["validation_macro_recall"],
        **best.get("validation_votes", {}),
        "validation_accuracy_by_epoch": [epoch["validation_accuracy"] for epoch in epochs],
        "macro_recall_by_epoch": [epoch["validation_macro_recall"] for epoch in epochs],
        "train_loss_by_epoch": [epoch["train_loss"] for epoch in epochs],
        "seconds": sum(epoch["seconds"] for epoch in epochs),
        "training_flops": sum(epoch["training_flops"] for epoch in epochs),
        "processor": history["run"]["environment"]["processor"],
        "device": history["run"]["environment"]["device"],
        "images": history["run"]["images"],
    }
