"""Knowledge distillation: `train.py --teacher`, what it teaches, what the history says of it, and what it refuses."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import train
from fer_model.data.fer2013 import load_fer
from fer_model.errors import TrainingError
from fer_model.hub.card import render
from fer_model.model.network import FERModel
from fer_model.model.preprocess import preprocess
from fer_model.training import distillation, fit
from helpers.small_run import run, whole_and_resumed


@pytest.fixture
def teacher(first) -> Path:
    return first / "models"


def test_teachers_are_asked_about_each_face_and_its_mirror_image(dataset, teacher, tmp_path):
    FERModel("v2", seed=5).save_pretrained(tmp_path / "other")
    faces = load_fer(str(dataset), progress=False).subset(torch.arange(12))
    accelerator = fit.make_accelerator(tmp_path, seed=0)
    sources = [str(teacher), str(tmp_path / "other")]
    targets = distillation.load_teachers(sources, 0.5, FERModel("v1").class_names).ask(
        faces, accelerator, torch.contiguous_format
    )
    expected = []
    for source in sources:
        model, shown = FERModel.from_pretrained(source), preprocess(faces.images, 64)
        with torch.no_grad():
            expected.append(model.probabilities((model(shown) + model(shown.flip(-1))) / 2))
    torch.testing.assert_close(targets.probabilities, sum(expected) / 2, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(targets.probabilities.sum(dim=1), torch.ones(len(faces)))


@pytest.mark.slow
def test_a_student_that_is_only_taught_takes_over_what_its_teacher_believes(dataset, tmp_path):
    """A teacher that calls everything fear is believed against all labels."""
    stubborn = FERModel("v1", seed=1)
    torch.nn.init.zeros_(stubborn.classifier[-1].weight)
    stubborn.classifier[-1].bias.data[5] = 10.0
    stubborn.save_pretrained(tmp_path / "stubborn")
    wrong = ["--teacher", str(tmp_path / "stubborn"), "--teacher-share", "1", "--epochs", "6", "--lr", "0.002"]
    history = run(dataset, tmp_path / "run", *wrong)
    assert history["epochs"][-1]["train_loss"] < 0.6 * history["epochs"][0]["train_loss"]
    assert history["epochs"][-1]["train_accuracy"] == pytest.approx(1 / 6, abs=0.05)


def test_history_command_and_card_name_the_teacher_and_how_it_was_trained(dataset, teacher, tmp_path):
    history = run(dataset, tmp_path, "--teacher", str(teacher), "--teacher-share", "0.3")
    digest = FERModel.from_pretrained(teacher).digest()
    assert history["run"]["teachers"] == {"share": 0.3, "models": [{"model": str(teacher), "sha256": digest}]}
    assert [run["run"]["command"] for run in history["taught_by"][0]] == [
        json.loads((teacher.parent / "history.json").read_text())["run"]["command"]
    ]
    assert f"--teacher {teacher} --teacher-share 0.3" in history["run"]["command"]
    text = render("v1", 1, history=history).replace("\n", " ")
    epochs = len(history["taught_by"][0][-1]["epochs"])
    known_as = f"`{teacher.parent.name}/models` (V1, {epochs} epochs)"
    assert f"30 % of its targets were the probabilities that {known_as} gave" in text
    history["taught_by"] = [[]]  # a teacher that came without a history
    text = render("v1", 1, history=history).replace("\n", " ")
    assert f"that `{teacher.parent.name}/models` gave" in text


@pytest.mark.slow
def test_a_taught_run_resumes_like_an_uninterrupted_one(dataset, teacher, tmp_path, monkeypatch):
    arguments = ["--teacher", str(teacher), "--set", "augmentation.mixup=0.4", "--epochs", "2"]
    whole, parts = whole_and_resumed(dataset, tmp_path, monkeypatch, *arguments)
    assert [row["train_loss"] for row in parts["epochs"]] == [row["train_loss"] for row in whole["epochs"]]
    with pytest.raises(TrainingError, match="started with other settings.*teachers"):
        run(dataset, tmp_path / "parts", "--epochs", "2", "--set", "augmentation.mixup=0.4", "--resume")


def test_a_teacher_that_has_learned_validation_images_is_refused(dataset, teacher, tmp_path):
    with pytest.raises(TrainingError, match="it has learned some of this run's validation images"):
        run(dataset, tmp_path, "--teacher", str(teacher), "--seed", "1")


def test_a_teacher_of_unknown_origin_is_taken_with_a_warning(dataset, teacher, tmp_path, capsys):
    shutil.copytree(teacher, tmp_path / "found")
    history = run(dataset, tmp_path / "run", "--teacher", str(tmp_path / "found"))
    assert "Warning: Nothing is recorded of how" in capsys.readouterr().out
    assert history["taught_by"] == [[]]


def test_a_teacher_of_other_classes_is_refused(dataset, tmp_path):
    FERModel("v1", classes=7).save_pretrained(tmp_path / "seven")
    with pytest.raises(TrainingError, match="knows 7 classes, and 6 are to be learned"):
        run(dataset, tmp_path / "run", "--teacher", str(tmp_path / "seven"))


def test_a_teacher_that_the_run_would_replace_is_refused(dataset, teacher):
    with pytest.raises(TrainingError, match="choose another --output-dir"):
        run(dataset, teacher.parent, "--teacher", str(teacher))


@pytest.mark.parametrize("share", ["0", "1.1", "half"])
def test_a_share_that_is_none_is_refused(share, capsys):
    with pytest.raises(SystemExit):
        train.parse_args(["--teacher-share", share])
    assert "--teacher-share" in capsys.readouterr().err
