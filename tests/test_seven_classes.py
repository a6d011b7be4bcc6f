"""The six classes and neutral: trained, measured, calibrated anew, and kept apart from what has six."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from fer_model.labels import EMOTIONS
from fer_model.model.network import FERModel
from fer_model.runs import trained_models
from helpers.scripts import python
from helpers.small_run import OPTIONS, TEST_FACES


@pytest.fixture(scope="module")
def seven(dataset, tmp_path_factory) -> Path:
    """The folder in which a training of seven classes was started."""
    folder = tmp_path_factory.mktemp("seven")
    python("train.py", "--classes", 7, *OPTIONS, "--epochs", 1, "--dataset", dataset, cwd=folder)
    return folder


def test_training_with_neutral_goes_to_a_folder_that_nobody_takes_for_six_classes(seven):
    assert [path.name for path in (seven / "results").iterdir()] == ["v1-7"]
    assert trained_models(seven / "results", 6) == []
    assert [Path(folder).parent.name for folder in trained_models(seven / "results", 7)] == ["v1-7"]
    history = json.loads((seven / "results" / "v1-7" / "history.json").read_text())
    assert history["run"]["classes"] == 7
    assert history["run"]["images"] == {"train": 42, "validation": 14}
    assert history["run"]["class_weights"] == pytest.approx([1.0] * 7)
    assert "--classes 7" in history["run"]["command"]
    model = FERModel.from_pretrained(seven / "results" / "v1-7" / "models")
    assert model.class_names == (*EMOTIONS, "neutral")


def test_evaluation_takes_the_classes_from_the_model_and_counts_twins_among_seven(seven, dataset):
    file = seven / "results" / "data.json"
    python("-m", "fer_model", "duplicates", "--dataset", dataset, "--output", file)
    found = json.loads(file.read_text())
    rows = found["seven_class_test"]["rows_with_twin_in_train"]
    assert len(rows) == 7 * TEST_FACES, "faces drawn alike under noise are twins all"
    found["seven_class_test"]["rows_with_twin_in_train"] = rows[:10]
    file.write_text(json.dumps(found))

    done = python("evaluate.py", "--model", "results/v1-7/models", "--dataset", dataset, cwd=seven)
    folder = seven / "results" / "v1-7"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["n"], metrics["private_test"]["n"]) == (7 * TEST_FACES, 7 * TEST_FACES // 2)
    assert metrics["without_twins"]["n"] == 7 * TEST_FACES - 10
    assert list(metrics["per_class"]) == [*EMOTIONS, "neutral"]
    assert [sum(row) for row in metrics["confusion_matrix"]] == [TEST_FACES] * 7
    assert metrics["expectations"] is None
    assert "about six classes and do not apply to seven" in done.stdout
    assert "\nneutral " in done.stdout
    assert len(list((folder / "visualizations").glob("*.png"))) == 6
    assert "| neutral |" in (folder / "models" / "README.md").read_text()


def test_a_run_of_seven_classes_is_calibrated_anew_on_its_own_validation_images(seven, tmp_path):
    folder = shutil.copytree(seven / "results" / "v1-7", tmp_path / "v1-7")
    calibrated = FERModel.from_pretrained(folder / "models").temperature
    done = python("-m", "fer_model", "recalibrate", folder)
    assert "unsure below" in done.stdout
    model = FERModel.from_pretrained(folder / "models")
    assert len(model.class_names) == 7
    assert model.temperature == pytest.approx(calibrated)


def test_weights_rounded_to_float16_are_half_as_large_and_calibrated_as_they_are(seven, tmp_path):
    folder = shutil.copytree(seven / "results" / "v1-7", tmp_path / "v1-7")
    file = folder / "models" / "model.safetensors"
    full, size = FERModel.from_pretrained(folder / "models"), file.stat().st_size
    (folder / "metrics.json").write_text("{}")
    python("-m", "fer_model", "recalibrate", folder, "--half")
    assert file.stat().st_size == pytest.approx(size / 2, rel=0.01)
    rounded = FERModel.from_pretrained(folder / "models")
    for name, weight in rounded.named_parameters():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, full.get_parameter(name).half().float())
    assert not (folder / "metrics.json").exists(), "what was measured was measured of other weights"


def test_a_run_does_not_go_on_with_other_classes(seven, dataset):
    folder = seven / "results" / "v1-7"
    done = python("train.py", *OPTIONS, "--dataset", dataset, "--output-dir", folder, "--resume", check=False)
    assert done.returncode == 2
    assert "classes was 7 and is 6" in done.stderr
