"""Trainings that go on from trained weights: `train.py --init`, its history, and what it refuses."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from fer_model.model_facts import weights_digest

from fer_model.data.splits import stratified_split
from fer_model.errors import TrainingError
from fer_model.hub.card import render
from fer_model.model.network import FERModel
from fer_model.runs import all_epochs, length
from fer_model.training import fit
from fer_model.training.leakage import check_validation
from fer_model.training.warm_start import Start, starting_point
from helpers.small_run import drawn_dataset, run
from helpers.synthetic import draw_faces, image_table, write_parquet


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return drawn_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture(scope="module")
def first(dataset, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("first")
    run(dataset, folder)
    return folder


def test_what_is_saved_has_a_centred_grad_cam_layer(first):
    saved = FERModel.from_pretrained(first / "models")
    norm = saved.block3.body[-1]
    assert norm.running_mean.any()
    torch.testing.assert_close(norm.running_mean, (norm.running_var + norm.eps).sqrt() * norm.bias / norm.weight)


def test_a_run_begins_at_the_weights_it_is_given(first, dataset, tmp_path):
    begun = FERModel.from_pretrained(first / "models")
    history = run(dataset, tmp_path, "--init", str(first / "models"), "--lr", "1e-9", "--seed", "0")
    ended = FERModel.from_pretrained(tmp_path / "models").state_dict()
    random = FERModel(version="v1", seed=0).state_dict()
    for name, weight in begun.named_parameters():
        if name != "block3.body.6.bias":  # which what is saved has centred
            torch.testing.assert_close(ended[name], weight.detach(), atol=1e-6, rtol=0)
    assert not torch.allclose(ended["block3.body.0.weight"], random["block3.body.0.weight"], atol=1e-6)
    assert history["run"]["init"] == {"model": str(first / "models"), "sha256": weights_digest(begun)}


def test_a_chain_of_runs_keeps_all_their_histories(first, dataset, tmp_path):
    second, third = tmp_path / "second", tmp_path / "third"
    run(dataset, second, "--init", str(first / "models"), "--lr", "0.001")
    history = run(dataset, third, "--init", str(second / "models"), "--lr", "0.002")
    assert [run["run"]["recipe"]["lr"] for run in history["earlier"]] == [3e-4, 0.001]
    assert not any("earlier" in run for run in history["earlier"])
    assert length(history) == "1 + 1 + 1"
    assert all_epochs(history) == [row for run in (*history["earlier"], history) for row in run["epochs"]]
    text = render("v1", 1, history=history).replace("\n", " ")
    assert "It began at the weights of `second/models`; 1 + 1 + 1 epochs in all" in text
    assert "the earlier ones at 0.0003 and 0.001" in text


@pytest.mark.parametrize("last", ["write_history", "save_checkpoint", "save_model"])
def test_a_run_that_replaces_the_weights_it_began_with_resumes_like_an_uninterrupted_one(
    first, dataset, tmp_path, monkeypatch, last
):
    """Killed in its first epoch after each of the three things that an epoch leaves behind."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        shutil.copytree(first, folder)
        shutil.rmtree(folder / "checkpoints")
    arguments = ["--epochs", "2", "--set", "validation_fraction=0.2"]
    expected = run(dataset, whole, "--init", str(whole / "models"), *arguments)
    with monkeypatch.context() as patch:
        real = getattr(fit, last)

        def killed(*arguments):
            real(*arguments)
            raise KeyboardInterrupt

        patch.setattr(fit, last, killed)
        with pytest.raises(KeyboardInterrupt):
            run(dataset, parts, "--init", str(parts / "models"), *arguments)
    resumed = run(dataset, parts, "--init", str(parts / "models"), *arguments, "--resume")
    assert [row["train_loss"] for row in resumed["epochs"]] == [row["train_loss"] for row in expected["epochs"]]
    assert len(resumed["epochs"]) == 2
    digests = {weights_digest(FERModel.from_pretrained(folder / "models")) for folder in (whole, parts)}
    assert len(digests) == 1
    assert resumed["earlier"] == expected["earlier"] and len(resumed["earlier"]) == 1
    assert resumed["run"]["init"]["sha256"] == expected["run"]["init"]["sha256"]


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
    with pytest.raises(TrainingError, match=r"Use --seed 1 --set validation_fraction=0.2,"):
        checked({"run": HERE, "taught_by": [[{"run": HERE | {"seed": 1}}]]})


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


def test_weights_that_do_not_fit_are_refused(first, dataset, tmp_path):
    with pytest.raises(TrainingError, match="holds V1, whose weights do not fit into V2"):
        run(dataset, tmp_path, "--version", "v2", "--init", str(first / "models"))


def test_v3_may_begin_at_v2s_weights_with_spatial_attention_as_new(tmp_path):
    v2 = FERModel(version="v2", seed=3)
    v2.save_pretrained(tmp_path / "v2")
    v3 = starting_point("v3", 6, 0, str(tmp_path / "v2")).model
    for name, weight in v3.named_parameters():
        expected = torch.zeros_like(weight) if "spatial" in name else v2.get_parameter(name)
        assert torch.equal(weight, expected), name


@pytest.mark.parametrize(
    ("change", "accepted"),
    [
        ({}, True),
        ({"together": True}, True),  # the same split, less the photos that occur more than once
        ({"validation_fraction": 0.1}, True),  # a part of the same
        ({"together": True, "validation_fraction": 0.3}, False),
        ({"together": True, "seed": 1}, False),
        ({"seed": 1}, False),
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


def test_a_smaller_validation_split_is_a_part_of_a_larger_one():
    labels = torch.arange(97) % 6
    smaller, larger = (set(stratified_split(labels, fraction, seed=3)[1].tolist()) for fraction in (0.1, 0.25))
    assert smaller < larger


def test_the_command_in_the_history_names_the_weights_too(first, dataset, tmp_path):
    history = run(dataset, tmp_path, "--init", str(first / "models"))
    assert f"--init {first / 'models'}" in history["run"]["command"]
    written = json.loads((tmp_path / "history.json").read_text())
    assert written["run"]["command"] == history["run"]["command"]
