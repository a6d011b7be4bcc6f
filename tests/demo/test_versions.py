"""The demo's models: those whose classes its page cannot draw are refused in a sentence."""

import subprocess
import sys

import pytest

from fer_model.demo.versions import Versions
from fer_model.errors import ModelError
from fer_model.model.network import FERModel
from helpers import ROOT


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[int, str]:
    """An untrained model of six classes and one of seven."""
    folder = tmp_path_factory.mktemp("results")
    for classes in (6, 7):
        FERModel(version="v1", classes=classes).save_pretrained(folder / f"{classes}" / "models")
    return {classes: str(folder / f"{classes}" / "models") for classes in (6, 7)}


def test_the_demo_does_not_start_with_a_model_of_seven_classes(folders):
    command = [sys.executable, "app.py", "--model", folders[7]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert f"{folders[7]} is a model of 7 classes" in done.stderr
    assert "python -m fer_model predict" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_visitor_who_chooses_one_gets_a_sentence_and_the_others_still_answer(folders):
    versions = Versions([folders[6], folders[7]])
    assert versions[None].model.class_names == versions[versions.default].model.class_names
    with pytest.raises(ModelError, match="7 classes .*neutral.*the demo shows 6"):
        versions[versions.names[1]]
