"""The files of a training run, written so that a run that is killed at any moment leaves whole ones."""

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from fer_model.configs import Recipe
from fer_model.errors import FERError, ModelError, TrainingError
from fer_model.model.network import FERModel
from fer_model.records import History, Settings
from fer_model.runs import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE, Run, read_json, whole_path, write_json

DIGESTS_FILE = "digests.json"


def save_model(model: FERModel, folder: Path, accelerator: Accelerator) -> None:
    """Write the model's three files. At every moment the folder holds whole ones."""
    if not accelerator.is_main_process:
        return
    temporary = folder.with_name(folder.name + ".writing")
    shutil.rmtree(temporary, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / CARD_FILE).is_file():  # what a person wrote in it stays
        temporary.mkdir()
        shutil.copy(folder / CARD_FILE, temporary)
    model.save_pretrained(temporary)
    # the card first, so that it never tells the old weights' results of the new ones; the weights last, since a
    # resumed run takes the folder for finished where it finds them (`holds_weights`)
    order = (CARD_FILE, CONFIG_FILE, WEIGHTS_FILE)
    for file in sorted(temporary.iterdir(), key=lambda file: order.index(file.name)):
        os.replace(file, folder / file.name)
    temporary.rmdir()


def holds_weights(folder: Path, model: FERModel) -> bool:
    """Whether the folder holds a model with these weights, or with these rounded to float16 (`recalibrate --half`)."""
    try:
        theirs, ours = FERModel.from_pretrained(folder).state_dict(), model.state_dict()
    except ModelError:
        return False
    if theirs.keys() != ours.keys():
        return False
    rounded = {name: value.half().float() if value.is_floating_point() else value for name, value in ours.items()}
    return any(all(torch.equal(theirs[name], these[name].cpu()) for name in these) for these in (ours, rounded))


def save_checkpoint(run: Run, epoch: int, accelerator: Accelerator) -> None:
    """Write beside, then rename, so that a checkpoint that has its name is whole. The whole one before it stays, too.

    A checkpoint holds the state, the best weights so far, the history, and a digest of each of these files.
    """
    temporary = run.checkpoints / "writing"
    if accelerator.is_main_process:
        shutil.rmtree(temporary, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(temporary))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        shutil.copy(run.history_file, temporary)
        write_json(temporary / DIGESTS_FILE, _digests(temporary))
        finished = run.checkpoints / f"epoch-{epoch:03d}"
        for folder in all_checkpoints(run):
            if epoch_of(folder) >= epoch:  # a damaged one, which this run has not resumed from
                remove_checkpoints(folder)
        temporary.rename(finished)
        for folder in all_checkpoints(run)[2:]:
            # half-deleted, it is still older than the others, so no run resumes from it
            shutil.rmtree(folder)
    accelerator.wait_for_everyone()


def all_checkpoints(run: Run) -> list[Path]:
    """The checkpoints of a run, whole or not, the newest first."""
    found = [folder for folder in run.checkpoints.glob("epoch-*") if folder.name.removeprefix("epoch-").isdigit()]
    return sorted(found, key=epoch_of, reverse=True)


def epoch_of(checkpoint: Path) -> int:
    """The epoch after which a checkpoint was written."""
    return int(checkpoint.name.removeprefix("epoch-"))


def newest_whole(run: Run, say: Callable[[str], None] = lambda text: None) -> Path | None:
    """The newest checkpoint that can be resumed from; None where there is none.

    Args:
        say: told of each newer one that is damaged.
    """
    for checkpoint in all_checkpoints(run):
        damaged = _damaged(checkpoint)
        if not damaged:
            return checkpoint
        say(f"Warning: {checkpoint} is not used, for {', '.join(damaged)} in it is damaged or missing.")
    return None


def _digests(checkpoint: Path) -> dict[str, str]:
    """SHA-256 of each file in a checkpoint."""
    digests = {}
    for file in sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != DIGESTS_FILE):
        with file.open("rb") as content:
            digests[file.relative_to(checkpoint).as_posix()] = hashlib.file_digest(content, "sha256").hexdigest()
    return digests


def _damaged(checkpoint: Path) -> list[str]:
    """The files of a checkpoint that are not as they were written."""
    try:
        written = read_json(checkpoint / DIGESTS_FILE)
    except FERError:
        return [DIGESTS_FILE]
    if written is None:  # of an earlier release
        return [name for name in (WEIGHTS_FILE, "optimizer.bin") if not (checkpoint / name).is_file()]
    found = _digests(checkpoint)
    return [name for name, digest in written.items() if found.get(name) != digest]


def remove_checkpoints(folder: Path) -> None:
    """Delete one, or the folder of all. It is renamed first, so that no run resumes from half a checkpoint."""
    if folder.is_dir():
        leaving = folder.with_name(folder.name + ".leaving")
        shutil.rmtree(leaving, ignore_errors=True)
        folder.rename(leaving)
        shutil.rmtree(leaving)


def remove_old_results(run: Run, accelerator: Accelerator) -> None:
    """Remove the metrics and plots of the old weights, just before new ones take their place."""
    if accelerator.is_main_process:
        run.metrics_file.unlink(missing_ok=True)
        for plot in run.visualizations.glob("*.png"):
            plot.unlink()


def history_to_resume(run: Run) -> History | None:
    """The history of a run that is resumed: of its newest whole checkpoint, else its own; None where there is none.

    Raises:
        FERError: the checkpoint holds none, and the run's own is damaged.
    """
    checkpoint = newest_whole(run)
    return (Run(checkpoint).history() or run.history()) if checkpoint else None


def require_same_run(run: Run, settings: Settings) -> None:
    """A run is resumed only with the settings it began with, or its history would be wrong.

    They are compared by what they mean. Images and weights are known by their digests, wherever they lie. An option of
    the recipe that is not recorded, because it did not exist yet, has its default.

    Raises:
        TrainingError: it was started with other settings.
    """
    history = history_to_resume(run)
    if history is None:  # somebody removed it
        return
    before, now = _flat(history["run"]), _flat(json.loads(json.dumps(settings)))  # tuples to lists, as in the file
    ignored = {"environment", "command"}
    if before.setdefault("train_sha256", None) == now["train_sha256"]:
        ignored |= {"dataset", "dataset_revision", "limit"}
    elif before["train_sha256"] is None:  # earlier releases did not record it
        ignored |= {"train_sha256"}
    changed = [
        f"{key} was {before.get(key)!r} and is {now.get(key)!r}"
        for key in now.keys() | before.keys()
        if key.split(".")[0] not in ignored and before.get(key, DEFAULTS.get(key)) != now.get(key, DEFAULTS.get(key))
    ]
    if changed:
        raise TrainingError(
            f"The run in {run.folder} was started with other settings: {'; '.join(sorted(changed))}. "
            "Resume with the same ones, or choose another --output-dir."
        )


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted names, so that a message can name the one that changed."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if key == "model" and "sha256" in settings:
            continue
        if key == "dataset":
            value = whole_path(value)
        if isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
            value = dict(enumerate(value, start=1))
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


DEFAULTS = _flat({"recipe": dataclasses.asdict(Recipe(lr=1.0, weight_decay=0.0))})
"""Of the recipe's options, by dotted names. Every history has the two without a default."""
