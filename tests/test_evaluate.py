"""evaluate.py, judged by the figures and pictures it leaves and by what it prints."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from fer_model.labels import EMOTIONS
from helpers.scripts import python
from helpers.small_run import TEST_FACES
from helpers.synthetic import draw_faces, encode


@pytest.fixture(scope="module")
def measured(trained, dataset, tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """A copy of the trained run with its figures, and what evaluate.py printed."""
    folder = shutil.copytree(trained, tmp_path_factory.mktemp("measured") / "v1")
    return folder, python("evaluate.py", "--model", folder / "models", "--dataset", dataset)


def test_evaluation_writes_every_promised_figure_and_picture(measured):
    folder, done = measured
    metrics = json.loads((folder / "metrics.json").read_text())
    promised = {"n", "accuracy", "accuracy_ci", "macro_recall", "macro_f1", "ece", "per_class", "confusion_matrix"}
    assert promised | {"private_test", "expectations", "model", "dataset", "command", "environment"} <= metrics.keys()
    assert promised <= metrics["private_test"].keys()
    assert metrics["n"] == 6 * TEST_FACES
    assert metrics["private_test"]["n"] == 6 * TEST_FACES // 2
    assert list(metrics["per_class"]) == list(EMOTIONS)
    assert [sum(row) for row in metrics["confusion_matrix"]] == [TEST_FACES] * 6
    assert metrics["accuracy_ci"][0] <= metrics["accuracy"] <= metrics["accuracy_ci"][1]
    assert all(expectation.keys() >= {"met", "value"} for expectation in metrics["expectations"].values())
    assert len(metrics["expectations"]) == 5
    recognised = metrics["heat_maps"]["recognised"]
    assert recognised == {
        name: row[i] for i, (name, row) in enumerate(zip(EMOTIONS, metrics["confusion_matrix"], strict=True))
    }
    assert all(0 <= metrics["heat_maps"]["empty"][name] <= count for name, count in recognised.items())
    pictures = {path.stem for path in (folder / "visualizations").glob("*.png")}
    assert pictures == {
        "confusion_matrix",
        "class_scores",
        "reliability",
        "coverage",
        "mean_grad_cam",
        "training_curves",
    }
    assert metrics["tta"] is None
    assert f"accuracy {metrics['accuracy']:.2%}" in done.stdout
    card = (folder / "models" / "README.md").read_text()
    assert f"{metrics['accuracy']:.1%}".replace("%", " %") in card


def test_measuring_again_gives_the_same_figures_and_words(measured, dataset):
    folder, done = measured
    before = json.loads((folder / "metrics.json").read_text())
    again = python("evaluate.py", "--model", folder / "models", "--dataset", dataset)
    assert again.stdout == done.stdout
    assert json.loads((folder / "metrics.json").read_text()) == before


def test_ten_crops_are_reported_apart_and_with_what_they_cost(measured, dataset, tmp_path):
    folder, plain = measured
    metrics = json.loads((folder / "metrics.json").read_text())
    copy = shutil.copytree(folder, tmp_path / "v1")
    with_crops = python("evaluate.py", "--model", copy / "models", "--dataset", dataset, "--tta")
    tta = json.loads((copy / "metrics.json").read_text())
    others = ("tta", "command", "model")
    assert {key: value for key, value in tta.items() if key not in others} == {
        key: value for key, value in metrics.items() if key not in others
    }, "the plain figures are the same"
    tta = tta["tta"]
    assert (tta["views"], tta["passes"], tta["n"]) == ("ten-crop", 10, 6 * TEST_FACES)
    assert tta["times_the_seconds_of_plain"] > 0  # how many times is the machine's affair
    assert tta["ece"] != metrics["ece"]
    assert "ten-crop views" in with_crops.stdout
    assert "ten-crop views" not in plain.stdout
    assert "ten-crop views of each face, 10 times the work" in (copy / "models" / "README.md").read_text()


def test_other_data_is_measured_on_the_classes_that_it_has(measured, tmp_path):
    folder = shutil.copytree(measured[0], tmp_path / "v1")
    names = ("surprise", "happy", "sad", "bored", "neutral")  # classes 1 to 5, in folders without splits
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "classnames.txt").write_text("\n".join(names))
    for number, name in enumerate(names, 1):
        (tmp_path / "mine" / str(number)).mkdir()
        for copy, (_, pixels) in enumerate(draw_faces(2, classes=("angry" if name == "bored" else name,))):
            (tmp_path / "mine" / str(number) / f"{copy}.png").write_bytes(encode(pixels))
    options = ["--model", folder / "models", "--dataset", tmp_path / "mine"]
    refused = python("evaluate.py", *options, check=False)
    assert (refused.returncode, "--skip-unknown-classes" in refused.stderr) == (2, True)
    done = python("evaluate.py", *options, "--skip-unknown-classes")
    metrics = json.loads((folder / "metrics.json").read_text())
    present = ["happiness", "surprise", "sadness"]
    assert (metrics["n"], metrics["classes_present"]) == (6, present)
    assert metrics["skipped"] == {"bored": 2, "neutral": 2}
    recall = [metrics["per_class"][name]["recall"] for name in present]
    assert metrics["macro_recall"] == pytest.approx(sum(recall) / 3)
    assert metrics["expectations"] is None
    assert metrics["command"].endswith("--skip-unknown-classes")
    assert "classes present: happiness, surprise, sadness; the means are over these" in done.stdout
    assert "left out: 2 bored, 2 neutral" in done.stdout
    card = (folder / "models" / "README.md").read_text()
    assert "There were images of happiness, surprise, sadness only; the means are over these classes." in card
    assert "Images of other classes were left out: 2 bored, 2 neutral." in card


def test_help_teaches():
    done = python("evaluate.py", "--help")
    assert "python evaluate.py" in done.stdout
    assert "accelerate launch" in done.stdout


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--model", "./nowhere"], "nowhere"),
        (["--model", "results"], r"config.json"),
        (["--version", "v2", "--limit", "30"], "--output-dir"),
        (["--version", "v2", "--limit", "0"], "--output-dir"),
        (["--version", "v1", "--limit", "-5", "--dataset", "DATASET", "--output-dir", "OUT"], "above 0"),
    ],
)
def test_mistakes_end_in_one_sentence_and_exit_code_2(options, says, dataset, tmp_path):
    options = [{"DATASET": str(dataset), "OUT": str(tmp_path)}.get(word, word) for word in options]
    done = python("evaluate.py", *options, check=False)
    assert done.returncode == 2
    assert says in done.stderr
