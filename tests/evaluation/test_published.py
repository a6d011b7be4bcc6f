"""The published weights really score what their metrics.json says, on the real test set."""

import json
import shlex
from dataclasses import asdict
from functools import cache

import pytest
from accelerate import Accelerator

import train
from fer_model.configs import Augmentation
from fer_model.data.fer2013 import load_fer
from fer_model.evaluation.expectations import check_expectations
from fer_model.evaluation.measure import measure, predict_all
from fer_model.model.network import FERModel
from fer_model.runs import lineage
from helpers import ROOT

# another processor sums in another order, which may turn over an image or two that lie on a border
TOLERANCE = 0.002


@pytest.fixture(scope="module")
def faces(fer_dataset):
    """The test images by the number of classes, each set decoded once."""
    return cache(lambda classes: load_fer(str(fer_dataset), "test", progress=False, classes=classes))


PUBLISHED = ("v1", "v2", "v3", "v3-7", "v4")
PICTURES = {"class_scores", "confusion_matrix", "coverage", "mean_grad_cam", "reliability", "training_curves"}


@pytest.mark.parametrize("version", PUBLISHED)
def test_what_is_published_of_a_version_is_complete(version):
    folder = ROOT / "results" / version
    assert {file.name for file in (folder / "models").iterdir()} == {"config.json", "model.safetensors", "README.md"}
    assert (folder / "models" / "model.safetensors").stat().st_size < 25e6
    beside_votes = {"votes"} if "votes" in json.loads((folder / "metrics.json").read_text()) else set()
    assert {file.stem for file in (folder / "visualizations").iterdir()} == PICTURES | beside_votes
    run = json.loads((folder / "history.json").read_text())["run"]
    assert {"command", "seed", "recipe", "mixed_precision", "compile", "channels_last", "environment"} <= run.keys()


@pytest.mark.parametrize("file", sorted((ROOT / "results").glob("*/history.json")), ids=lambda file: file.parent.name)
def test_the_commands_of_the_published_trainings_give_their_recipes_today(file):
    for history in lineage(json.loads(file.read_text())):
        run = history["run"]
        words = shlex.split(run["command"])
        args = train.parse_args(words[words.index("train.py") + 1 :])
        recipe, then = asdict(train.recipe_of(args)), run["recipe"]
        default = asdict(Augmentation())  # what a history is too old to tell has its default
        assert {name: recipe[name] for name in then} == then | {"augmentation": default | then["augmentation"]}
        assert {name: getattr(args, name) for name in ("version", "classes", "seed", "dataset", "limit")} == {
            name: run[name] for name in ("version", "classes", "seed", "dataset", "limit")
        }


@pytest.mark.slow
@pytest.mark.parametrize("version", PUBLISHED)
def test_the_published_weights_score_what_is_published(version, faces):
    folder = ROOT / "results" / version
    published = json.loads((folder / "metrics.json").read_text())
    model = FERModel.from_pretrained(folder / "models")
    tested = faces(len(model.class_names))
    logits, labels = predict_all(model, tested, Accelerator(cpu=True))
    measured = measure(model.probabilities(logits), labels, tested.usage)
    for figure in ("accuracy", "macro_recall", "macro_f1", "ece"):
        assert measured[figure] == pytest.approx(published[figure], abs=TOLERANCE)
    assert measured["private_test"]["accuracy"] == pytest.approx(published["private_test"]["accuracy"], abs=TOLERANCE)
    supports = {name: scores["support"] for name, scores in published["per_class"].items()}
    assert {name: scores["support"] for name, scores in measured["per_class"].items()} == supports
    found = check_expectations(measured, json.loads((folder / "history.json").read_text()))
    assert met(found) == met(published["expectations"])


def met(expectations: dict | None) -> dict | None:
    """Which are met; None of seven classes, for which there are none."""
    return expectations and {name: item["met"] for name, item in expectations.items()}
