"""Trainings that go on from trained weights: `train.py --init`, its history, and what it refuses."""

import json
import shutil

import pytest
import torch

from fer_model.errors import TrainingError
from fer_model.hub.card import render
from fer_model.model.network import FERModel
from fer_model.runs import all_epochs, begun_at, length, lineage
from fer_model.training import fit
from fer_model.training.warm_start import starting_point
from helpers.small_run import run


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
    assert history["run"]["init"] == {"model": str(first / "models"), "sha256": begun.digest()}


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


@pytest.mark.parametrize(
    ("last", "mean"),
    [
        ("write_history", False),
        ("save_checkpoint", False),
        ("save_model", False),
        ("write_history", True),
        ("save_model", True),
    ],
)
def test_a_run_that_replaces_the_weights_it_began_with_resumes_like_an_uninterrupted_one(
    first, dataset, tmp_path, monkeypatch, last, mean
):
    """Killed in its first epoch after each of the three things that an epoch leaves behind.

    The weights may be the second part of a mean.
    """
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        shutil.copytree(first, folder)
        shutil.rmtree(folder / "checkpoints")
    arguments = ["--epochs", "2", "--set", "validation_fraction=0.2"]
    if mean:
        run(dataset, tmp_path / "other", "--init", str(first / "models"), "--lr", "0.01")
        arguments = ["--init", str(tmp_path / "other" / "models"), *arguments]
    expected = run(dataset, whole, *arguments, "--init", str(whole / "models"))
    with monkeypatch.context() as patch:
        real = getattr(fit, last)

        def killed(*arguments):
            real(*arguments)
            raise KeyboardInterrupt

        patch.setattr(fit, last, killed)
        with pytest.raises(KeyboardInterrupt):
            run(dataset, parts, *arguments, "--init", str(parts / "models"))
    resumed = run(dataset, parts, *arguments, "--init", str(parts / "models"), "--resume")
    assert [row["train_loss"] for row in resumed["epochs"]] == [row["train_loss"] for row in expected["epochs"]]
    assert len(resumed["epochs"]) == 2
    digests = {FERModel.from_pretrained(folder / "models").digest() for folder in (whole, parts)}
    assert len(digests) == 1
    assert begun_at(resumed) == begun_at(expected) and len(begun_at(resumed)[-1]) == 1
    assert resumed["run"]["init"]["sha256"] == expected["run"]["init"]["sha256"]


def test_a_run_may_begin_at_the_mean_of_several_and_keeps_the_histories_of_all(first, dataset, tmp_path):
    second, third = tmp_path / "second", tmp_path / "third"
    run(dataset, second, "--init", str(first / "models"), "--lr", "0.01")
    sources = [str(folder / "models") for folder in (first, second)]
    weights = [FERModel.from_pretrained(source).state_dict() for source in sources]
    begun = starting_point("v1", 6, 0, sources)
    for name, tensor in begun.model.state_dict().items():
        if tensor.is_floating_point():
            assert torch.equal(tensor, (weights[0][name] + weights[1][name]) / 2), name
    arguments = [word for source in sources for word in ("--init", source)]
    history = run(dataset, third, *arguments)
    assert [part["model"] for part in history["run"]["init"]["mean_of"]] == sources
    assert history["run"]["init"]["sha256"] == begun.model.digest()
    assert [len(before) for before in begun_at(history)] == [1, 2]
    assert len(list(lineage(history))) == 4
    assert length(history) == "mean of 2, + 1"
    text = render("v1", 1, history=history).replace("\n", " ")
    assert f"It began at the mean of the weights of `{first.name}/models` and `second/models` (Wortsman" in text
    assert "minutes and pixels are those of the first of them and of this run." in text
    text = render("v1", 1, history=history | {"earlier": []}).replace("\n", " ")
    assert "of the first of them no training was recorded, so minutes and pixels are those of this run." in text
    resumed = run(dataset, third, *arguments, "--resume")
    assert resumed["run"]["init"] == history["run"]["init"] and begun_at(resumed) == begun_at(history)


def test_a_mean_takes_what_only_one_has_from_that_one(tmp_path):
    for version in ("v2", "v3"):
        FERModel(version=version, seed=len(version)).save_pretrained(tmp_path / version)
    mean = starting_point("v3", 6, 0, [str(tmp_path / "v2"), str(tmp_path / "v3")]).model.state_dict()
    v2, v3 = (FERModel.from_pretrained(tmp_path / version).state_dict() for version in ("v2", "v3"))
    for name, tensor in v3.items():
        if tensor.is_floating_point():
            assert torch.equal(mean[name], (v2[name] + tensor) / 2 if name in v2 else tensor), name


def test_weights_that_do_not_fit_are_refused(first, dataset, tmp_path):
    with pytest.raises(TrainingError, match="holds V1, whose weights do not fit into V2"):
        run(dataset, tmp_path, "--version", "v2", "--init", str(first / "models"))


def test_v3_may_begin_at_v2s_weights_with_spatial_attention_as_new(tmp_path):
    v2 = FERModel(version="v2", seed=3)
    v2.save_pretrained(tmp_path / "v2")
    v3 = starting_point("v3", 6, 0, [str(tmp_path / "v2")]).model
    for name, weight in v3.named_parameters():
        expected = torch.zeros_like(weight) if "spatial" in name else v2.get_parameter(name)
        assert torch.equal(weight, expected), name


def test_the_command_in_the_history_names_the_weights_too(first, dataset, tmp_path):
    history = run(dataset, tmp_path, "--init", str(first / "models"))
    assert f"--init {first / 'models'}" in history["run"]["command"]
    written = json.loads((tmp_path / "history.json").read_text())
    assert written["run"]["command"] == history["run"]["command"]
