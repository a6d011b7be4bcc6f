"""train.py, judged by the files it leaves, what it prints and its exit status."""

import json
import shlex
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import train
from fer_model.configs import CONFIGS, Augmentation, Recipe, changed
from fer_model.errors import TrainingError
from fer_model.model.network import FERModel
from fer_model.runs import Run
from helpers.hub.faults import Fault
from helpers.scripts import python
from helpers.small_run import OPTIONS, run, without_seconds


def weights(folder) -> dict[str, torch.Tensor]:
    return FERModel.from_pretrained(folder / "models").state_dict()


def test_training_leaves_all_its_artefacts(trained):
    names = {path.name for path in trained.iterdir()}
    assert {"models", "visualizations", "history.json"} <= names
    models = sorted(path.name for path in (trained / "models").iterdir())
    assert models == ["README.md", "config.json", "model.safetensors"]
    assert (trained / "visualizations" / "training_curves.png").stat().st_size > 5000
    history = json.loads((trained / "history.json").read_text())
    assert [row["epoch"] for row in history["epochs"]] == [1, 2, 3]
    best = max(history["epochs"], key=lambda row: row["validation_accuracy"])
    assert history["best_epoch"] == best["epoch"]
    assert history["stopped"] == "3 epochs done"
    assert history["run"]["images"] == {"train": 36, "validation": 12}
    assert history["run"]["class_weights"] == pytest.approx([1.0] * 6)


def test_the_same_seed_gives_the_same_history_and_weights(trained, dataset, tmp_path):
    done = python("train.py", *OPTIONS, "--epochs", 3, "--dataset", dataset, "--output-dir", tmp_path)
    assert done.stdout.count("\n    3 ") == 1, "one row per epoch"
    assert without_seconds(tmp_path) == without_seconds(trained)
    first, second = weights(trained), weights(tmp_path)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_an_unfinished_run_is_not_overwritten_by_accident(trained, dataset):
    before = (trained / "history.json").read_text()
    done = python("train.py", *OPTIONS, "--dataset", dataset, "--output-dir", trained, check=False)
    assert done.returncode == 2
    assert "--resume" in done.stderr
    assert "--overwrite" in done.stderr
    assert (trained / "history.json").read_text() == before


def test_resuming_with_other_settings_is_refused(trained, dataset):
    command = ["train.py", *OPTIONS, "--dataset", dataset, "--output-dir", trained, "--resume", "--lr", "0.5"]
    done = python(*command, check=False)
    assert done.returncode == 2
    assert "other settings" in done.stderr


def test_a_new_run_removes_the_figures_of_the_old_weights(trained, dataset, tmp_path):
    shutil.copy(trained / "history.json", tmp_path / "metrics.json")
    run(dataset, tmp_path)
    assert not (tmp_path / "metrics.json").exists()


def test_help_teaches():
    done = python("train.py", "--help")
    assert "python train.py" in done.stdout
    assert "accelerate launch" in done.stdout


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--dataset", "./nowhere"], "nowhere"),
        (["--dataset", "DATASET", "--limit", "5"], "--limit"),
        (["--epochs", "0"], "--epochs"),
        (["--lr", "-1"], "--lr"),
        (["--classes", "5"], "choose from"),
        (["--dataset", "DATASET", "--tracker", "wandb"], "pip install wandb"),
        (["--dataset", "DATASET", "--push-to-hub", "nobody/x"], "nobody/x cannot be pushed to"),
    ],
)
def test_mistakes_end_in_one_sentence_and_exit_code_2_before_the_training(options, says, dataset, tmp_path):
    options = [str(dataset) if word == "DATASET" else word for word in options]
    done = python("train.py", *options, "--output-dir", tmp_path, check=False)
    assert done.returncode == 2
    assert says in done.stderr
    assert not (tmp_path / "history.json").exists()


def test_a_push_to_the_hub_that_fails_after_the_training_loses_nothing(hub, user, dataset, tmp_path):
    command = ["train.py", *OPTIONS, "--epochs", 1, "--dataset", dataset, "--output-dir", tmp_path]
    with hub.playing(Fault("POST /api/models/tester/late/commit", 500)):
        done = user.script(*command, "--push-to-hub", "tester/late", check=False)
    assert done.returncode == 2
    assert f"python -m fer_model push {tmp_path} tester/late" in done.stderr
    assert sorted(p.name for p in (tmp_path / "models").iterdir()) == ["README.md", "config.json", "model.safetensors"]
    user.script("-m", "fer_model", "push", tmp_path, "tester/late")
    assert "model.safetensors" in hub.repo("models", "tester/late").files()


def test_a_tracker_gets_every_epoch(dataset, tmp_path):
    run(dataset, tmp_path, "--tracker", "tensorboard")
    assert list((tmp_path / "runs").rglob("events.out.tfevents.*"))


@pytest.mark.parametrize(("device", "processes", "size"), [("cuda", 1, 512), ("cuda", 4, 128), ("cpu", 1, 64)])
def test_an_automatic_batch_size_becomes_plain_options(monkeypatch, tmp_path, device, processes, size):
    state = SimpleNamespace(device=torch.device(device), num_processes=processes)
    monkeypatch.setattr(train, "PartialState", lambda cpu: state)
    args = train.parse_args(["--version", "v4", "--batch-size", "auto", "--set", "label_smoothing=0.2"])
    assert train.settle(args, Run(tmp_path)) is None
    recipe, own = train.recipe_of(args), CONFIGS["v4"].recipe
    assert recipe.batch_size == size
    assert recipe.label_smoothing == 0.2
    k = size * processes / own.batch_size
    assert (recipe.lr, recipe.ema) == (pytest.approx(k * own.lr), pytest.approx(own.ema**k))
    command = train._command(args, SimpleNamespace(num_processes=processes, mixed_precision="no"))
    assert "auto" not in command
    assert train.recipe_of(train.parse_args(shlex.split(command.partition("train.py ")[2]))) == recipe


# any option of a recipe can be set by its name

PLAIN = Recipe(lr=0.1, weight_decay=0.01)


def test_any_option_can_be_set_by_name():
    found = changed(PLAIN, ["focal=2", "cosine=true", "epochs=7", "optimizer=sgd", "augmentation.mixup=0.2"])
    expected = replace(PLAIN, focal=2.0, cosine=True, epochs=7, optimizer="sgd", augmentation=Augmentation(mixup=0.2))
    assert found == expected
    assert changed(PLAIN, []) is PLAIN


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("fokal=2", "label_smoothing"),
        ("optimizer=smg", "adamw"),
        ("ema=2", "ema is 2"),
        ("epochs=0", "at least 1"),
        ("size=8", "from 16"),
        ("lr=nan", "lr is nan"),
        ("augmentation.shrink=2", "enlarge"),
        ("epochs=many", "int"),
        ("cosine=maybe", "bool"),
        ("x.y=1", "options"),
        ("", "options"),
    ],
)
def test_an_option_that_is_none_is_refused_with_the_list(assignment, says):
    with pytest.raises(TrainingError, match=says):
        changed(PLAIN, [assignment])
