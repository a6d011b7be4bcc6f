"""A study trains its rows on one budget, goes on after an interruption, and keeps its commands."""

import json
import shlex
import shutil
import threading
import time
from dataclasses import replace

import pytest

from fer_model.ablation import runner
from fer_model.configs import CONFIGS, Config, changed
from fer_model.errors import TrainingError
from helpers.synthetic import draw_faces, image_table, write_parquet


@pytest.fixture
def dataset(tmp_path) -> str:
    table = image_table(draw_faces(4))
    return str(write_parquet(tmp_path / "dataset", train=table, test=table))


def test_a_study_goes_on_after_a_failed_row_and_trains_no_row_twice(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setenv("TQDM_DISABLE", "1")
    good = runner.Row("plain", ("--version", "v1"))
    bad = runner.Row("bad", ("--version", "v1", "--set", "nonsense=1"))
    other = runner.Row("focal", ("--version", "v1", "--set", "focal=2"))
    where = (dataset, tmp_path / "runs", tmp_path / "out.json", ["--threads", "1"])
    with pytest.raises(TrainingError, match="'bad' failed"):
        runner.run_study("s", runner.Study("?", 1, None, (good, bad)), *where)
    assert [row["name"] for row in json.loads(where[2].read_text())["rows"]] == ["plain"]
    (first,) = (tmp_path / "runs").rglob("history.json")
    before = first.read_bytes()
    result = runner.run_study("s", runner.Study("?", 1, None, (good, other)), *where)
    assert first.read_bytes() == before
    with pytest.raises(TrainingError, match="--output"):  # another budget is another run
        runner.run_study("s", runner.Study("?", 2, None, (good,)), *where)
    assert json.loads(where[2].read_text()) == result
    longer = (dataset, tmp_path / "runs", tmp_path / "longer.json", ["--threads", "1"])
    found = runner.run_study("s", runner.Study("?", 2, None, (good,)), *longer)
    assert len(found["rows"][0]["validation_accuracy_by_epoch"]) == 2
    result = runner.run_study("s", runner.Study("?", 1, None, (good, other)), *where)
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
    new = runner.Row("smoothed", ("--version", "v1", "--set", "label_smoothing=0.2"))
    after = runner.run_study("s", runner.Study("?", 1, None, (good, new, other)), *where)
    assert [row["name"] for row in after["rows"]] == ["plain", "smoothed", "focal"]
    assert [after["rows"][0], after["rows"][2]] == result["rows"]
    assert len(list((tmp_path / "runs").rglob("history.json"))) == 1

    # a row of another recipe under the same command is another row
    before = runner._key("no", ["train.py"], good)
    changed_recipe = replace(CONFIGS["v1"], recipe=replace(CONFIGS["v1"].recipe, lr=1e-3))
    monkeypatch.setitem(CONFIGS, "v1", changed_recipe)
    assert runner._key("no", ["train.py"], good) != before


def test_rows_can_be_trained_at_once_and_none_begins_after_one_has_failed(tmp_path, monkeypatch):
    rows = [runner.Row(str(seed), ("--version", "v1", "--seed", str(seed))) for seed in range(6)]
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
    where = ("d", tmp_path / "runs", tmp_path / "out.json", [])
    result = runner.run_study("s", runner.Study("?", 1, None, tuple(rows[:2])), *where, jobs=2)
    assert [row["name"] for row in result["rows"]] == ["0", "1"], "in the study's order, whichever ended first"
    with pytest.raises(TrainingError, match="failed"):
        runner.run_study("s", runner.Study("?", 1, None, tuple(rows)), *where, jobs=2)
    assert begun.count("0") == begun.count("1") == 1, "what stands in the result is not trained again"
    assert {"4", "5"}.isdisjoint(begun)
    assert [row["name"] for row in json.loads(where[2].read_text())["rows"]] == ["0", "1", "3"]


def test_a_row_is_trained_for_the_whole_budget_however_long_it_is():
    row = runner.Row("plain", ("--version", "v1"))
    command = runner._command(runner.Study("?", 25, None, (row,)), row, "d", [])
    assert changed(CONFIGS["v1"].recipe, [command[command.index("--set") + 1]]).patience == 25


def test_another_budget_does_not_replace_the_result_of_the_study(capsys):
    with pytest.raises(SystemExit):
        runner.main(["collapse", "--epochs", "1"])
    assert "--output" in capsys.readouterr().err


PUBLISHED = [name for name in runner.STUDIES if (runner.ROOT / runner.output_file(name)).is_file()]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_study_is_of_the_rows_and_recipes_of_today(name, monkeypatch, tmp_path):
    """Its command, as it stands in the README, has nothing to train and writes the same file."""
    published = (runner.ROOT / runner.output_file(name)).read_text()
    file = tmp_path / "study.json"
    file.write_text(published)
    monkeypatch.setattr(runner, "output_file", lambda name: file)
    monkeypatch.setattr(runner, "_trained", lambda row, *others: pytest.fail(f"not trained yet: {row.name}"))
    command = shlex.split(json.loads(published)["command"])
    assert command[:3] == ["python", "-m", "fer_model.ablation"]
    runner.main(command[3:])
    assert file.read_text() == published
    assert file.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("name", runner.STUDIES)
def test_every_row_of_a_study_names_a_version_and_options_that_exist(name):
    study = runner.STUDIES[name]
    assert len({row.name for row in study.rows}) == len(study.rows)
    assert len({row.arguments for row in study.rows}) == len(study.rows), "no row is another's twin"
    for row in study.rows:
        config_of(study, row)


def config_of(study: runner.Study, row: runner.Row) -> Config:
    """The architecture and recipe that a row trains."""
    words = [*row.arguments, *study.arguments]
    config = CONFIGS[words[words.index("--version") + 1]]
    settings = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    settings += [f"lr={words[i + 1]}" for i, word in enumerate(words) if word == "--lr"]
    return replace(config, recipe=changed(config.recipe, settings))


def test_the_way_from_v2_to_v3_begins_at_the_one_recipe_and_ends_at_the_other():
    study = runner.STUDIES["v2-to-v3"]
    versions = [row.arguments[1] for row in study.rows]
    recipes = [config_of(study, row).recipe for row in study.rows]
    assert {(recipe.together, recipe.validation_fraction) for recipe in recipes} == {(True, 0.2)}, "one split for all"
    steps = versions.index("v3"), next(i for i, row in enumerate(study.rows) if row.name.endswith(": V3"))
    v2 = replace(CONFIGS["v2"].recipe, size=48, size_at_end=48)
    ignored = {"epochs": 1, "patience": 1, "together": True, "validation_fraction": 0.2}
    assert replace(recipes[steps[0]], **ignored) == replace(v2, **ignored)
    assert replace(recipes[steps[1]], **ignored) == replace(CONFIGS["v3"].recipe, **ignored)


def test_the_way_from_v1_to_v2_changes_one_thing_a_row():
    study = runner.STUDIES["v1-to-v2"]
    configs = [config_of(study, row) for row in study.rows]
    v1, blocks, attention, rate, v2 = configs[:5]
    assert (v1, v2) == (CONFIGS["v1"], CONFIGS["v2"])
    assert blocks.recipe == v1.recipe and blocks.architecture.filters == v2.architecture.filters
    assert attention.recipe == v1.recipe and attention.architecture == v2.architecture
    assert replace(attention.architecture, channel_attention=False) == blocks.architecture
    assert rate == replace(attention, recipe=replace(attention.recipe, lr=v2.recipe.lr))
    assert v2 == replace(rate, recipe=replace(rate.recipe, weight_decay=v2.recipe.weight_decay))
    assert [config == end for config, end in zip(configs[5:], (v1, v2), strict=True)] == [True, True], "other seeds"


def test_the_list_shows_every_row(capsys):
    runner.main(["--list"])
    shown = capsys.readouterr().out
    for study in runner.STUDIES.values():
        assert all(shlex.join(row.arguments) in shown for row in study.rows)
