"""The files of a training run, written so that a run that is killed at any moment leaves whole ones."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from fer_model.errors import ModelError, TrainingError
from fer_model.model.network import FERModel
from fer_model.records import Settings
from fer_model.runs import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE, Run


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


def save_checkpoint(checkpoints: Path, epoch: int, accelerator: Accelerator) -> None:
    """Write beside, then rename, so that a checkpoint that has its name is whole."""
    temporary = checkpoints / "writing"
    if accelerator.is_main_process:
        shutil.rmtree(temporary, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(temporary))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        older = list(checkpoints.glob("epoch-*"))
        temporary.rename(checkpoints / f"epoch-{epoch:03d}")
        for folder in older:
            # half-deleted, it is still older than the new one, so no run resumes from it
            shutil.rmtree(folder)
    accelerator.wait_for_everyone()


def newest_checkpoint(checkpoints: Path) -> Path | None:
    """The checkpoint of the last finished epoch; None before any."""
    return max(checkpoints.glob("epoch-*"), key=lambda folder: int(folder.name.removeprefix("epoch-")), default=None)


def remove_checkpoints(checkpoints: Path) -> None:
    """Rename, then delete, so that no run resumes from half a checkpoint."""
    if checkpoints.is_dir():
        leaving = checkpoints.with_name(checkpoints.name + ".leaving")
        shutil.rmtree(leaving, ignore_errors=True)
        checkpoints.rename(leaving)
        shutil.rmtree(leaving)


def remove_old_results(run: Run, accelerator: Accelerator) -> None:
    """Remove the metrics and plots of the old weights, just before new ones take their place."""
    if accelerator.is_main_process:
        run.metrics_file.unlink(missing_ok=True)
        for plot in run.visualizations.glob("*.png"):
            plot.unlink()


def require_same_run(run: Run, settings: Settings) -> None:
    """A run is resumed only with the settings it began with, or its history would be wrong.

    Raises:
        TrainingError: it was started with other settings.
    """
    history = run.history()
    if history is None:  # somebody removed it
        return
    ignored = ("environment", "command")
    before, now = _flat(history["run"]), _flat(json.loads(json.dumps(settings)))  # tuples to lists, as in the file
    changed = [
        f"{key} was {before.get(key)!r} and is {now.get(key)!r}"
        for key in now.keys() | before.keys()
        if key.split(".")[0] not in ignored and before.get(key) != now.get(key)
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
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found
