"""The training loop: how it goes on after a kill, and bfloat16."""

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
from fer_model.errors import TrainingError
from fer_model.model.network import FERModel
from fer_model.model.preprocess import preprocess
from fer_model.runs import Run
from fer_model.training import checkpoints, fit, losses, step
from fer_model.training.warm_start import Start

PLAIN = Recipe(lr=0.1, weight_decay=0.01)


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


def killed_after(epochs: int, folder: Path, recipe: Recipe, monkeypatch) -> None:
    """A run that is killed when it has written so many checkpoints, and the model of each best epoch."""
    saved = []

    def save(*arguments):
        save_checkpoint(*arguments)
        saved.append(arguments)
        if len(saved) == epochs:
            raise KeyboardInterrupt

    save_checkpoint = fit.save_checkpoint
    with monkeypatch.context() as patch:
        patch.setattr(fit, "save_checkpoint", save)
        with pytest.raises(KeyboardInterrupt):
            run(folder, recipe)


THREE = replace(CONFIGS["v1"].recipe, batch_size=12, epochs=3, size=16)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("optimizer.bin", cut),
        ("random_states_0.pkl", lambda file: file.write_bytes(bytes(file.stat().st_size))),
        ("custom_checkpoint_0.pkl", Path.unlink),
        ("digests.json", cut),
    ],
)
def test_a_damaged_checkpoint_costs_one_epoch(name, damage, whole, tmp_path, monkeypatch, capsys):
    killed_after(2, tmp_path, THREE, monkeypatch)
    damage(tmp_path / "checkpoints" / "epoch-002" / name)
    history = run(tmp_path, THREE, resume=True)
    assert "epoch-001: 1 epochs done" in capsys.readouterr().out
    assert alike(history, json.loads((whole / "history.json").read_text()))
    digests = {FERModel.from_pretrained(folder / "models").digest() for folder in (whole, tmp_path)}
    assert len(digests) == 1


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    run(folder, THREE)
    return folder


def alike(one: dict, other: dict) -> bool:
    """Whether two histories tell of the same epochs, but for their seconds."""
    drop = ("seconds", "images_per_second")
    rows = [[{k: v for k, v in row.items() if k not in drop} for row in h["epochs"]] for h in (one, other)]
    return rows[0] == rows[1] and one["best_epoch"] == other["best_epoch"]


def test_the_only_checkpoint_is_damaged_so_the_run_begins_anew(whole, tmp_path, monkeypatch, capsys):
    killed_after(1, tmp_path, THREE, monkeypatch)
    cut(tmp_path / "checkpoints" / "epoch-001" / "model.safetensors")
    assert alike(run(tmp_path, THREE, resume=True), json.loads((whole / "history.json").read_text()))
    assert "starting at epoch 1" in capsys.readouterr().out


def test_nothing_is_begun_anew_where_more_than_an_epoch_would_be_lost(tmp_path, monkeypatch):
    killed_after(2, tmp_path, THREE, monkeypatch)
    for number in (1, 2):
        cut(tmp_path / "checkpoints" / f"epoch-00{number}" / "model.safetensors")
    with pytest.raises(TrainingError, match="No checkpoint in .* is whole; begin anew with --overwrite"):
        run(tmp_path, THREE, resume=True)


@pytest.mark.parametrize("content", ["{}", '{"run": {'])
def test_a_damaged_history_is_written_anew_from_the_checkpoint(content, whole, tmp_path, monkeypatch):
    killed_after(2, tmp_path, THREE, monkeypatch)
    (tmp_path / "history.json").write_text(content)
    assert alike(run(tmp_path, THREE, resume=True), json.loads((whole / "history.json").read_text()))


def test_a_damaged_best_model_comes_back_from_the_checkpoint(tmp_path):
    run(tmp_path, THREE)
    history = json.loads((tmp_path / "history.json").read_text())
    assert history["best_epoch"] < 3, "the last epoch is not the best, or this shows nothing"
    expected = FERModel.from_pretrained(tmp_path / "models").digest()
    cut(tmp_path / "models" / "model.safetensors")
    run(tmp_path, THREE, resume=True)
    assert FERModel.from_pretrained(tmp_path / "models").digest() == expected


def test_a_folder_beside_the_checkpoints_is_no_checkpoint(tmp_path):
    run(tmp_path, THREE)
    (tmp_path / "checkpoints" / "epoch-009-copy").mkdir()
    assert checkpoints.newest_whole(Run(tmp_path)).name == "epoch-003"


def test_a_run_begun_before_a_setting_existed_is_resumed(tmp_path, monkeypatch):
    killed_after(1, tmp_path, THREE, monkeypatch)
    history = json.loads((tmp_path / "history.json").read_text())
    for settings, name in ((history["run"]["recipe"]["augmentation"], "noise"), (history["run"], "train_sha256")):
        del settings[name]
    (tmp_path / "history.json").write_text(json.dumps(history))
    for name in ("history.json", "digests.json"):  # which earlier releases did not write
        (tmp_path / "checkpoints" / "epoch-001" / name).unlink()
    assert len(run(tmp_path, THREE, resume=True)["epochs"]) == 3
    other = replace(THREE, clip=2.0, augmentation=replace(THREE.augmentation, noise=0.1))
    with pytest.raises(TrainingError, match="recipe.augmentation.noise was 0.0 and is 0.1; recipe.clip was 0.0"):
        run(tmp_path, other, resume=True)


def test_a_loss_that_is_not_finite_stops_with_its_epoch_and_step_and_the_last_finite_state(tmp_path, monkeypatch):
    taken = []

    def loss(logits, *arguments):
        taken.append(logits)
        return weighted_cross_entropy(logits, *arguments) * (math.nan if len(taken) == 4 else 1)

    weighted_cross_entropy = losses.weighted_cross_entropy
    monkeypatch.setattr(step, "weighted_cross_entropy", loss)
    with pytest.raises(TrainingError, match=r"in epoch 2, step 2 of 2\. The last finite state is in .*epoch-001, "):
        run(tmp_path, THREE)
    assert checkpoints.newest_whole(Run(tmp_path)).name == "epoch-001"
    assert len(json.loads((tmp_path / "history.json").read_text())["epochs"]) == 1


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
