"""Trainings and measured runs on drawn faces, as small as can be, in this process."""

import json
from pathlib import Path

import pytest

import train
from fer_model.evaluation.expectations import check_expectations
from fer_model.evaluation.metrics import FERMetric
from fer_model.model.network import FERModel
from fer_model.records import History
from fer_model.runs import Run
from fer_model.training import fit
from helpers.synthetic import draw_faces, image_table, usages, write_parquet

TRAIN_FACES, TEST_FACES = 8, 3  # of each class
OPTIONS = ("--version", "v1", "--batch-size", "12", "--threads", "1", "--set", "size=16")


def drawn_dataset(folder: Path) -> Path:
    """Eight faces of each class to train on, three to test on, with a column usage."""
    faces, tested = draw_faces(TRAIN_FACES, seed=0), draw_faces(TEST_FACES, seed=1)
    usage, usage_tested = usages(faces, tested)
    return write_parquet(folder, train=image_table(faces, usage), test=image_table(tested, usage_tested))


def run(dataset: Path, folder: Path, *more: str) -> History:
    """Train V1 for an epoch into `folder`, with `more` arguments; returns the history."""
    options = [*OPTIONS, "--epochs", "1", "--dataset", str(dataset), "--output-dir", str(folder), *more]
    return train.main(train.parse_args(options))


def whole_and_resumed(dataset: Path, folder: Path, monkeypatch, *arguments: str) -> tuple[History, History]:
    """A run without a break, and the same in folder/parts, killed after its first checkpoint and resumed."""
    whole = run(dataset, folder / "whole", *arguments)
    with monkeypatch.context() as patch:

        def killed(*arguments):
            raise KeyboardInterrupt

        patch.setattr(fit, "save_model", killed)
        with pytest.raises(KeyboardInterrupt):
            run(dataset, folder / "parts", *arguments)
    return whole, run(dataset, folder / "parts", *arguments, "--resume")


def without_seconds(folder: Path) -> list[dict]:
    """The epochs in a run's folder, without what is another every time."""
    epochs = json.loads((folder / "history.json").read_text())["epochs"]
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in epochs]


def measured_run(folder: Path) -> Run:
    """Untrained weights and figures that belong together, as if five of eight images had been right."""
    model = FERModel(version="v1", seed=4)
    model.save_pretrained(folder / "models")
    labels, predicted = [0, 1, 2, 3, 4, 5, 0, 1], [0, 1, 2, 3, 0, 0, 0, 2]
    probabilities = [[0.9 if index == p else 0.02 for index in range(6)] for p in predicted]
    metrics = FERMetric().compute(predictions=probabilities, references=labels)
    metrics |= {
        "private_test": None,
        "expectations": check_expectations(metrics, None),
        "version": "v1",
        "model_sha256": model.digest(),
        "dataset": "some/faces",
        "command": "python evaluate.py",
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return Run(folder)
