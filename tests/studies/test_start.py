"""What starts, crowds and peers are measured by, with clocks and packages of the tests' own."""

import json
import sys
from pathlib import Path

import pytest
import torch

from fer_model.data.dataset import FERData
from fer_model.errors import FERError
from fer_model.inference.detector import shared_detector
from fer_model.labels import LABEL2ID
from fer_model.model.network import FERModel
from fer_model.runs import Run
from fer_model.studies import crowds, peers, start


def test_a_start_is_counted_from_the_one_before_it(monkeypatch):
    def timed(command: list[str]) -> start.Cost:
        seconds = 4.0 if "FERPipeline" in command[-1] else 2.5 if "fer_model" in command[-1] else 2.0
        return seconds, seconds / 2

    monkeypatch.setattr(start, "timed", timed)
    monkeypatch.setattr(start, "_page", lambda: (5.0, 2.0))
    found = start.measure(Path("weights"), rounds=3)
    assert found["torch"] == {"seconds": 2.0, "cpu_seconds": 1.0}
    more = {name: (found[name]["seconds_more"], found[name]["cpu_seconds_more"]) for name in start.AFTER}
    assert more == {"package": (0.5, 0.25), "first_answer": (1.5, 0.75), "page": (3.0, 1.0)}
    assert found["page"]["ratio_to_torch"] == 1.5
    assert all(str(one["seconds_more"]) in start.summary(found) for one in found.values() if "after" in one)


def test_the_time_for_a_file_leaves_the_start_out(monkeypatch, tmp_path):
    counted = []

    def timed(command: list[str]) -> start.Cost:
        files = len(list(Path(command[command.index("predict") + 1]).iterdir()))
        processes = 2 if "torch.distributed.run" in command else 1
        counted.append((processes, files))
        return 7.0 + 0.5 * files / processes, 9.0 + 0.6 * files

    monkeypatch.setattr(crowds, "timed", timed)
    found = crowds._files(tmp_path, rounds=3, images=12)
    assert found["one"] == {"seconds_an_image": 0.5, "cpu_seconds_an_image": 0.6}
    assert found["several"] == {"seconds_an_image": 0.25, "cpu_seconds_an_image": 0.6}
    assert found["times_as_fast"] == 2
    assert sorted(set(counted)) == [(1, 2), (1, 12), (2, 2), (2, 12)]


def test_a_crowd_is_a_square_of_faces():
    photo = crowds.crowd(across=2, side=300)
    assert photo.size == (600, 600)
    assert len(shared_detector().detect(photo)) == 4


FER = """
import sys

import numpy

class FER:
    def detect_emotions(self, photo):
        print("a warning" * 20_000, file=sys.stderr)  # more than a pipe holds
        return [photo.shape]

    def _get_labels(self):
        return {0: "angry", 1: "disgust", 2: "fear", 3: "happy", 4: "sad", 5: "surprise", 6: "neutral"}

    def _classify_emotions(self, faces):
        # neutral above all, then happiness for bright faces and anger for dark ones
        assert faces.shape[1:] == (64, 64) and abs(faces).max() <= 1
        answers = numpy.zeros((len(faces), 7))
        answers[:, 6] = 0.9
        answers[range(len(faces)), numpy.where(faces.mean(axis=(1, 2)) > 0, 3, 0)] = 0.1
        return answers
"""


@pytest.fixture
def venv(tmp_path) -> Path:
    """A folder with a bin/python that knows a package fer of our own."""
    packages = tmp_path / "packages"
    for file, text in (("fer/__init__.py", ""), ("fer/fer.py", FER), ("fer-9.9.dist-info/METADATA", "Version: 9.9\n")):
        (packages / file).parent.mkdir(parents=True, exist_ok=True)
        (packages / file).write_text(text)
    script = tmp_path / "venv" / "bin" / "python"
    script.parent.mkdir(parents=True)
    # without -I, which would hide the packages
    script.write_text(f'#!/bin/sh\nshift\nPYTHONPATH="{packages}" exec "{sys.executable}" "$@"\n')
    script.chmod(0o755)
    return tmp_path / "venv"


def test_a_peers_answer_is_the_most_probable_of_our_six_classes(venv, tmp_path):
    FERModel(version="v1", seed=0).save_pretrained(tmp_path / "run" / "models")
    images = torch.tensor([250, 250, 5, 5], dtype=torch.uint8)[:, None, None, None].expand(4, 1, 48, 48)
    labels = torch.tensor([LABEL2ID[name] for name in ("happiness", "fear", "anger", "anger")])
    found = peers.measure(venv, Run(tmp_path / "run"), FERData(images.contiguous(), labels), rounds=2)
    ours, theirs = found["rows"]
    assert (ours["name"], theirs["name"]) == ("run", "fer 9.9")
    assert theirs["accuracy"] == 0.75
    assert all(row[f"{what}_ms"] > 0 for row in found["rows"] for what in ("photo", "face"))
    assert "75.00%" in peers.summary(found)
    json.dumps(found)


def test_a_venv_without_the_package_is_named(venv, tmp_path):
    faces = FERData(torch.zeros(1, 1, 48, 48, dtype=torch.uint8), torch.zeros(1, dtype=torch.long))
    FERModel(version="v1", seed=0).save_pretrained(tmp_path / "run" / "models")
    with pytest.raises(FERError, match="holds no bin/python"):
        peers.measure(tmp_path, Run(tmp_path / "run"), faces, rounds=1)
    (tmp_path / "packages" / "fer" / "fer.py").unlink()
    with pytest.raises(FERError, match="fer failed in its venv: ModuleNotFoundError"):
        peers.measure(venv, Run(tmp_path / "run"), faces, rounds=1)
