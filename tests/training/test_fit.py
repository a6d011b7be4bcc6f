"""The training loop: what it counts as best, how it goes on after a kill, and bfloat16."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from fer_model.configs import CONFIGS, Recipe
from fer_model.data.dataset import FERData
from fer_model.model.network import FERModel
from fer_model.model.preprocess import preprocess
from fer_model.training import checkpoints, fit, losses
from fer_model.training.history import Progress
from fer_model.training.warm_start import Start

PLAIN = Recipe(lr=0.1, weight_decay=0.01)


def test_epochs_over_smaller_images_neither_count_as_best_nor_end_the_training():
    recipe = replace(PLAIN, epochs=8, patience=2, size=32, size_at_end=64, share_at_end=0.5)
    epochs = [
        {"epoch": epoch, "size": recipe.size_in(epoch), "validation_accuracy": accuracy}
        for epoch, accuracy in enumerate((0.5, 0.3, 0.2, 0.2, 0.4, 0.3, 0.3), start=1)
    ]
    assert Progress(recipe, epochs[:4]).stopped is None, "although the first of four is the best"
    larger = Progress(recipe, epochs[:5])
    assert larger.best_epoch == 5
    assert larger.waited() == 0
    assert Progress(recipe, epochs).stopped == "no better validation accuracy for 2 epochs"


FACES = FERData(
    torch.randint(0, 256, (24, 1, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)),
    torch.arange(24) % 6,
)


def run(folder: Path, recipe: Recipe, **options) -> dict:
    """V1 on `FACES`, which are noise, and validated on them, too."""
    accelerator = fit.make_accelerator(folder, seed=0)
    start, weights = Start(FERModel(version="v1", seed=0)), losses.class_weights(FACES.labels)
    about = {"command": "", "dataset": "noise", "dataset_revision": None, "limit": None}
    return fit.fit(start, FACES, FACES, weights, recipe, accelerator, folder, seed=0, about=about, **options)


def killed(*arguments):
    raise KeyboardInterrupt


def test_a_resumed_run_with_schedule_and_average_goes_on_as_if_it_had_not_stopped(tmp_path, monkeypatch):
    recipe = replace(
        CONFIGS["v3"].recipe, batch_size=16, epochs=3, warmup=1, size=24, size_at_end=32, share_at_end=0.34, clip=1.0
    )
    recipe = replace(recipe, augmentation=replace(recipe.augmentation, mixup=0.4, cutmix=1.0))
    whole = run(tmp_path / "whole", recipe)
    with monkeypatch.context() as patch:
        patch.setattr(fit, "save_model", killed)  # after the first checkpoint
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "parts", recipe)
    parts = run(tmp_path / "parts", recipe, resume=True)
    drop = ("seconds", "images_per_second")
    strip = [[{k: v for k, v in row.items() if k not in drop} for row in h["epochs"]] for h in (whole, parts)]
    assert strip[0] == strip[1]
    assert [row["size"] for row in parts["epochs"]] == [24, 24, 32]
    saved = [FERModel.from_pretrained(tmp_path / name / "models") for name in ("whole", "parts")]
    assert saved[0].digest() == saved[1].digest()


def test_a_run_killed_before_its_best_model_was_written_writes_it_when_resumed(tmp_path, monkeypatch):
    """Although a finished run trains no more; and resumed once again it changes nothing."""
    recipe = replace(CONFIGS["v1"].recipe, epochs=1, size=16)
    with monkeypatch.context() as patch:
        patch.setattr(fit, "save_model", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, recipe)
    (row,) = run(tmp_path, recipe, resume=True)["epochs"]
    model = FERModel.from_pretrained(tmp_path / "models")
    with torch.no_grad():
        correct = model(preprocess(FACES.images, 64)).argmax(dim=1) == FACES.labels
    assert float(correct.double().mean()) == pytest.approx(row["validation_accuracy"])
    (tmp_path / "metrics.json").write_text("{}")
    run(tmp_path, recipe, resume=True)
    assert (tmp_path / "metrics.json").is_file(), "what was measured of the model stays"
    assert json.loads((tmp_path / "history.json").read_text())["stopped"] == "1 epochs done"


def test_a_run_that_saves_seldom_ends_with_its_best_weights_also_when_killed(tmp_path, monkeypatch):
    """As on a GPU. The first epoch is the best, the second is saved; the kill comes before the model is written."""
    recipe = replace(CONFIGS["v1"].recipe, epochs=1, size=16)
    run(tmp_path / "first", recipe)
    recipe = replace(recipe, epochs=3)
    epochs_saved = []

    def save(checkpoints: Path, epoch: int, accelerator) -> None:
        epochs_saved.append(epoch)
        save_checkpoint(checkpoints, epoch, accelerator)

    def scores(logits, labels, weights) -> dict:
        scored.append(0.5 - 0.1 * len(scored))
        return {"validation_loss": 1.0, "validation_accuracy": scored[-1], "validation_macro_recall": 0.5}

    save_checkpoint, scored = fit.save_checkpoint, []
    monkeypatch.setattr(fit, "save_checkpoint", save)
    monkeypatch.setattr(fit, "_validation_scores", scores)
    monkeypatch.setattr(fit, "_is_due", lambda saved, accelerator: len(scored) == 2)
    with monkeypatch.context() as patch:
        patch.setattr(fit, "save_model", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "parts", recipe)
    assert epochs_saved == [2]
    history = run(tmp_path / "parts", recipe, resume=True)
    assert epochs_saved == [2, 3], "the end is always saved"
    assert history["best_epoch"] == 1
    first, parts = (FERModel.from_pretrained(tmp_path / name / "models") for name in ("first", "parts"))
    assert parts.digest() == first.digest()


def test_a_model_killed_between_its_files_is_written_anew(tmp_path, monkeypatch):
    """Before its weights, and so before it is taken for finished: its temperature would be another epoch's."""
    recipe = replace(CONFIGS["v1"].recipe, epochs=1, size=16)
    run(tmp_path, recipe)
    expected = FERModel.from_pretrained(tmp_path / "models")
    FERModel(version="v1", seed=7).save_pretrained(tmp_path / "models")  # as an earlier epoch may have left it
    replaced = []

    def replace_one(source, target):
        if Path(target).parent.name == "models" and len(replaced) == 2:
            raise KeyboardInterrupt
        replaced.append(Path(target).name)
        rename(source, target)

    with monkeypatch.context() as patch:
        rename = checkpoints.os.replace
        patch.setattr(checkpoints.os, "replace", replace_one)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save_model(expected, tmp_path / "models", fit.make_accelerator(tmp_path, seed=0))
    run(tmp_path, recipe, resume=True)
    found = FERModel.from_pretrained(tmp_path / "models")
    assert found.digest() == expected.digest()
    assert found.temperature == expected.temperature


def test_resuming_a_finished_run_leaves_weights_that_were_rounded_to_float16(tmp_path):
    recipe = replace(CONFIGS["v1"].recipe, epochs=1, size=16)
    run(tmp_path, recipe)
    FERModel.from_pretrained(tmp_path / "models").half().save_pretrained(tmp_path / "models")
    size = (tmp_path / "models" / "model.safetensors").stat().st_size
    run(tmp_path, recipe, resume=True)
    assert (tmp_path / "models" / "model.safetensors").stat().st_size == size


@pytest.fixture
def bfloat16(monkeypatch) -> Iterator[None]:
    """As under `accelerate launch --mixed_precision bf16`."""
    AcceleratorState._reset_state()  # it is one for all Accelerators of a process
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    yield
    AcceleratorState._reset_state()


@pytest.mark.usefixtures("bfloat16")
def test_training_in_bfloat16_keeps_weights_and_history_in_more_digits(tmp_path):
    history = run(tmp_path, replace(CONFIGS["v3"].recipe, batch_size=16, epochs=1, size=16), channels_last=True)
    assert history["run"]["mixed_precision"] == "bf16"
    assert math.isfinite(history["epochs"][0]["validation_loss"])
    weights = FERModel.from_pretrained(tmp_path / "models").state_dict().values()
    assert all(weight.dtype == torch.float32 for weight in weights if weight.is_floating_point())
    assert any((weight != weight.bfloat16().float()).any() for weight in weights if weight.is_floating_point())
