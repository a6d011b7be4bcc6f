"""A run whose validation images earlier runs have learned is refused, or warned of where that is not known."""

import shutil
from pathlib import Path

import pytest
import torch

from fer_model.data.splits import stratified_split
from fer_model.errors import TrainingError
from fer_model.hub.card import render
from fer_model.model.network import FERModel
from fer_model.training.leakage import check_validation
from fer_model.training.warm_start import Start
from helpers.small_run import run
from helpers.synthetic import draw_faces, image_table, write_parquet


@pytest.mark.parametrize("change", [("--seed", "1"), ("--set", "validation_fraction=0.4"), ("--limit", "20")])
def test_validation_images_that_were_learned_before_are_refused(first, dataset, tmp_path, change):
    with pytest.raises(TrainingError, match="it has learned some of this run's validation images"):
        run(dataset, tmp_path, "--init", str(first / "models"), *change)


def test_a_run_on_another_dataset_does_not_hide_that_a_later_one_learned_validation_images():
    recipe = {"validation_fraction": 0.2, "together": False}
    now = {"dataset": "d", "seed": 0, "limit": None, "classes": 6, "recipe": recipe}
    now |= {"images": {"train": 80, "validation": 20}, "validation_sha256": "of these", "init": None}
    elsewhere, before = now | {"dataset": "e"}, now | {"seed": 1}
    start = Start(FERModel("v1"), {"model": "somewhere", "sha256": ""}, [{"run": elsewhere}, {"run": before}])
    with pytest.raises(TrainingError, match="some of this run's validation images"):
        check_validation(start, now)


def test_a_dataset_by_another_path_is_the_same_dataset(first, dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(dataset.parent)
    with pytest.raises(TrainingError, match="some of this run's validation images"):
        run(Path(dataset.name), tmp_path, "--init", str(first / "models"), "--seed", "1")


def test_weights_of_unknown_origin_are_taken_with_a_warning(first, dataset, tmp_path, capsys):
    shutil.copytree(first / "models", tmp_path / "found")
    history = run(dataset, tmp_path / "run", "--init", str(tmp_path / "found"))
    assert "Warning: Nothing is recorded of how" in capsys.readouterr().out
    assert history["earlier"] == []
    assert "of whose training nothing was recorded" in render("v1", 1, history=history)


def test_another_dataset_is_allowed_with_a_warning(first, tmp_path, capsys):
    faces = image_table(draw_faces(6, seed=7))
    other = write_parquet(tmp_path / "other", train=faces, test=faces)
    history = run(other, tmp_path / "run", "--init", str(first / "models"))
    assert "its images may be among these" in capsys.readouterr().out
    assert len(history["earlier"]) == 1


HERE = {"dataset": "here", "seed": 0, "limit": None, "classes": 6, "validation_sha256": "a", "init": None}
HERE |= {"images": {"train": 80, "validation": 20}, "recipe": {"validation_fraction": 0.2, "together": False}}


def checked(*histories: dict) -> str | None:
    """What is said of weights with these histories behind them, when a run on `HERE` begins at them."""
    return check_validation(Start(FERModel("v1"), {"model": "somewhere", "sha256": ""}, list(histories)), HERE)


def test_the_same_images_under_another_name_are_recognised():
    elsewhere = HERE | {"dataset": "user/the-same"}
    assert checked({"run": elsewhere}) is None, "the very same validation images"
    smaller = elsewhere | {"recipe": {"validation_fraction": 0.3, "together": False}, "validation_sha256": "b"}
    assert "in another order" in checked({"run": smaller})
    with pytest.raises(TrainingError, match="some of this run's validation images"):
        checked({"run": elsewhere | {"seed": 1, "validation_sha256": "b"}})
    assert "in part" in checked({"run": elsewhere | {"images": {"train": 8, "validation": 2}}})


def test_what_a_teacher_of_earlier_weights_learned_counts_too():
    assert checked({"run": HERE, "taught_by": [[{"run": HERE}]]}) is None
    with pytest.raises(TrainingError, match=r"Use --set split_seed=1 --set validation_fraction=0.2,"):
        checked({"run": HERE, "taught_by": [[{"run": HERE | {"seed": 1}}]]})


def test_every_model_of_a_mean_is_checked():
    init = {"model": "a + b", "sha256": "", "mean_of": [{"model": "a", "sha256": ""}, {"model": "b", "sha256": ""}]}
    for others in (
        [[{"run": HERE | {"seed": 1}}]],
        [[{"run": HERE, "averaged_with": [[{"run": HERE | {"seed": 1}}]]}]],
    ):
        with pytest.raises(TrainingError, match="b was trained on another split"):
            check_validation(Start(FERModel("v1"), init, [{"run": HERE}], others), HERE)
    assert "how b, or" in check_validation(Start(FERModel("v1"), init, [{"run": HERE}], [[]]), HERE)
    both = check_validation(Start(FERModel("v1"), init, [], [[]]), HERE)
    assert "how a, or" in both and "how b, or" in both


@pytest.mark.parametrize(
    "doubtful",
    [
        {"run": HERE, "taught_by": [[]]},
        {"run": HERE | {"init": {"model": "found", "sha256": ""}}},
        {"run": HERE, "taught_by": [[{"run": HERE | {"init": {"model": "found", "sha256": ""}}}]]},
    ],
    ids=["taught by", "begun at", "taught by one begun at"],
)
def test_weights_of_unknown_origin_are_doubted_generations_later(doubtful):
    assert "Nothing is recorded" in checked(doubtful)


def test_the_remedy_names_the_options_that_help():
    kept = HERE | {"recipe": {"validation_fraction": 0.1, "together": True}, "limit": 100}
    with pytest.raises(TrainingError, match="--limit 100 --set validation_fraction=0.1 --set together=true, or a sma"):
        checked({"run": kept})


@pytest.mark.parametrize(
    ("change", "accepted"),
    [
        ({}, True),
        ({"together": True}, True),  # the same split, less the photos that occur more than once
        ({"validation_fraction": 0.1}, True),  # a part of the same
        ({"together": True, "validation_fraction": 0.3}, False),
        ({"together": True, "seed": 1}, False),
        ({"seed": 1}, False),
        ({"split_seed": 1}, False),
    ],
)
def test_only_splits_whose_validation_images_nobody_learned_are_accepted(change, accepted):
    recipe = {"validation_fraction": 0.2, "together": False}
    then = {"dataset": "d", "seed": 0, "limit": None, "recipe": recipe, "images": {"train": 80, "validation": 20}}
    then |= {"classes": 6, "init": None, "validation_sha256": "of those" if change else "of these"}
    now = then | {"seed": change.get("seed", 0), "validation_sha256": "of these"}
    now["recipe"] = recipe | {name: value for name, value in change.items() if name != "seed"}
    start = Start(FERModel("v1"), {"model": "somewhere", "sha256": ""}, [{"run": then}])
    if accepted:
        assert check_validation(start, now) is None
    else:
        with pytest.raises(TrainingError, match="some of this run's validation images"):
            check_validation(start, now)


def test_runs_of_other_seeds_may_share_the_validation_images():
    then = HERE | {"seed": 0, "validation_sha256": "a"}
    now = then | {"seed": 1, "recipe": then["recipe"] | {"split_seed": 0}}
    start = Start(FERModel("v1"), {"model": "somewhere", "sha256": ""}, [{"run": then}])
    assert check_validation(start, now) is None


def test_a_smaller_validation_split_is_a_part_of_a_larger_one():
    labels = torch.arange(97) % 6
    smaller, larger = (set(stratified_split(labels, fraction, seed=3)[1].tolist()) for fraction in (0.1, 0.25))
    assert smaller < larger
