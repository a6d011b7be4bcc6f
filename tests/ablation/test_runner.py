"""A study trains its rows on one budget, goes on after an interruption, and keeps its commands."""

import json
import shlex
import shutil
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from fer_model.__main__ import main
from fer_model.ablation import runner, studies
from fer_model.ablation.studies import STUDIES, Row, Study, output_file
from fer_model.configs import CONFIGS, changed
from fer_model.errors import TrainingError
from helpers import ROOT
from helpers.scripts import python

COMMAND = "python -m fer_model ablation s"
OPTIONS = ["--threads", "1", "--set", "size=16"]


def train_here(command: list[str], cwd: Path, check: bool) -> subprocess.CompletedProcess:
    """A row's training in this process, instead of one that `accelerate launch` starts."""
    return python(*command[command.index("train.py") :], cwd=cwd, check=check)


def test_a_study_goes_on_after_a_failed_row_and_trains_no_row_twice(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "subprocess", SimpleNamespace(run=train_here))
    good = Row("plain", ("--version", "v1"))
    bad = Row("bad", ("--version", "v1", "--set", "nonsense=1"))
    other = Row("focal", ("--version", "v1", "--set", "focal=2"))
    where = (str(dataset), tmp_path / "runs", tmp_path / "out.json", OPTIONS, COMMAND)
    with pytest.raises(TrainingError, match="'bad' failed"):
        runner.run_study("s", Study("?", 1, None, (good, bad)), *where)
    assert [row["name"] for row in json.loads(where[2].read_text())["rows"]] == ["plain"]
    (first,) = (tmp_path / "runs").glob("s/*/history.json")
    before = first.read_bytes()
    result = runner.run_study("s", Study("?", 1, None, (good, other)), *where)
    assert first.read_bytes() == before
    with pytest.raises(TrainingError, match="--output"):  # another budget is another run
        runner.run_study("s", Study("?", 2, None, (good,)), *where)
    assert json.loads(where[2].read_text()) == result
    longer = (str(dataset), tmp_path / "runs", tmp_path / "longer.json", OPTIONS, COMMAND)
    found = runner.run_study("s", Study("?", 2, None, (good,)), *longer)
    assert len(found["rows"][0]["validation_accuracy_by_epoch"]) == 2
    result = runner.run_study("s", Study("?", 1, None, (good, other)), *where)
    assert [row["name"] for row in result["rows"]] == ["plain", "focal"]
    assert result["rows"][1]["command"].startswith("accelerate launch --num_processes 1 --mixed_precision no train.py")
    assert "--set focal=2" in result["rows"][1]["command"]
    # typed as it stands, a row's command writes where the study did, and not over published weights
    assert all(f"--output-dir {where[1] / 's'}" in row["command"] for row in result["rows"])
    assert result["rows"][0]["train_loss_by_epoch"] != result["rows"][1]["train_loss_by_epoch"]
    assert result["rows"][0]["training_flops"] == result["rows"][1]["training_flops"] > 0
    assert json.loads(where[2].read_text()) == result
    assert where[2].with_suffix(".png").is_file()

    # on another machine only the result is there: its rows stand, in the study's order, and what is new is trained
    shutil.rmtree(tmp_path / "runs")
    new = Row("smoothed", ("--version", "v1", "--set", "label_smoothing=0.2"))
    after = runner.run_study("s", Study("?", 1, None, (good, new, other)), *where)
    assert [row["name"] for row in after["rows"]] == ["plain", "smoothed", "focal"]
    assert [after["rows"][0], after["rows"][2]] == result["rows"]
    assert len(list((tmp_path / "runs").glob("s/*/history.json"))) == 1

    # a row of another recipe under the same command is another row
    before = runner._key("no", ["train.py"], good)
    changed_recipe = replace(CONFIGS["v1"], recipe=replace(CONFIGS["v1"].recipe, lr=1e-3))
    monkeypatch.setitem(CONFIGS, "v1", changed_recipe)
    assert runner._key("no", ["train.py"], good) != before


@pytest.mark.slow
def test_a_row_is_trained_by_accelerate_launch(dataset, tmp_path):
    study = Study("?", 1, None, (Row("plain", ("--version", "v1")),), ten_crops=True)
    result = runner.run_study("s", study, str(dataset), tmp_path / "runs", tmp_path / "out.json", OPTIONS, COMMAND)
    assert [row["name"] for row in result["rows"]] == ["plain"]
    assert 0 <= result["rows"][0]["ten_crop_accuracy"] <= 1
    assert result["rows"][0]["ten_crop_majority_agreement"] is None, "of drawn faces there are no votes"


def test_rows_can_be_trained_at_once_and_none_begins_after_one_has_failed(tmp_path, monkeypatch):
    rows = [Row(str(seed), ("--version", "v1", "--seed", str(seed))) for seed in range(6)]
    epoch = {"validation_accuracy": 0.5, "validation_macro_recall": 0.4, "train_loss": 1.0}
    epoch |= {"seconds": 1.0, "training_flops": 1}
    run = {"environment": {"processor": "p", "device": "d"}, "images": {}}
    both_are_there, begun = threading.Barrier(2), []

    def trained(row, *others):
        begun.append(row.name)
        both_are_there.wait(timeout=30)  # alone, a row would wait in vain
        if row.name == "2":
            raise TrainingError("failed")
        if row.name == "3":
            time.sleep(1)  # until "2" has failed
        return {"epochs": [epoch], "best_epoch": 1, "run": run}

    monkeypatch.setattr(runner, "_trained", trained)
    where = ("d", tmp_path / "runs", tmp_path / "out.json", [], COMMAND)
    result = runner.run_study("s", Study("?", 1, None, tuple(rows[:2])), *where, jobs=2)
    assert [row["name"] for row in result["rows"]] == ["0", "1"], "in the study's order, whichever ended first"
    with pytest.raises(TrainingError, match="failed"):
        runner.run_study("s", Study("?", 1, None, tuple(rows)), *where, jobs=2)
    assert begun.count("0") == begun.count("1") == 1, "what stands in the result is not trained again"
    assert {"4", "5"}.isdisjoint(begun)
    assert [row["name"] for row in json.loads(where[2].read_text())["rows"]] == ["0", "1", "3"]


def test_none_begins_after_ten_crops_have_failed(tmp_path, monkeypatch):
    rows, begun = [Row(str(seed), ("--version", "v1", "--seed", str(seed))) for seed in range(3)], []

    def fails(*arguments):
        raise TrainingError("no crops")

    monkeypatch.setattr(runner, "_trained", lambda row, *others: begun.append(row.name))
    monkeypatch.setattr(runner, "_ten_crops", fails)
    where = ("d", tmp_path / "runs", tmp_path / "out.json", [], COMMAND)
    with pytest.raises(TrainingError, match="no crops"):
        runner.run_study("s", Study("?", 1, None, tuple(rows), ten_crops=True), *where)
    assert begun == ["0"]


def test_a_row_is_trained_for_the_whole_budget_however_long_it_is():
    row = Row("plain", ("--version", "v1"))
    command = runner._command(Study("?", 25, None, (row,)), row, "d", [])
    assert changed(CONFIGS["v1"].recipe, [command[command.index("--set") + 1]]).patience == 25


def test_another_budget_does_not_replace_the_result_of_the_study():
    done = python("-m", "fer_model", "ablation", "collapse", "--epochs", 1, check=False)
    assert done.returncode == 2
    assert "--output" in done.stderr


PUBLISHED = [name for name in STUDIES if (ROOT / output_file(name)).is_file()]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_study_is_of_the_rows_and_recipes_of_today(name, monkeypatch, tmp_path):
    """Its command, as it stands in the README, has nothing to train and writes the same file."""
    published = (ROOT / output_file(name)).read_text()
    file = tmp_path / "study.json"
    file.write_text(published)
    monkeypatch.setattr(studies, "output_file", lambda name: file)
    monkeypatch.setattr(runner, "_trained", lambda row, *others: pytest.fail(f"not trained yet: {row.name}"))
    command = shlex.split(json.loads(published)["command"])
    assert command[:4] == ["python", "-m", "fer_model", "ablation"]
    main(command[3:])
    assert file.read_text() == published
    assert file.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"
