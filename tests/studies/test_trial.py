"""What `train.py --fast` tries, takes and records; the timings are made up."""

import json
from collections.abc import Iterator

import pytest
import torch
from accelerate.state import AcceleratorState

from fer_model.studies import trial
from fer_model.studies.trial import Way, possible_ways
from helpers.small_run import run, without_seconds

CPU = torch.device("cpu")


def test_what_is_asked_for_is_not_tried_otherwise(monkeypatch):
    monkeypatch.setattr(trial, "has_bfloat16", lambda device: True)
    monkeypatch.setattr(trial, "usable_cores", lambda: 6)
    free = possible_ways(CPU, None, False, None)
    assert len(free) == len(set(free)) == 2 * 2 * 4
    assert {way.threads for way in free} == {1, 2, 4, 6}
    assert {way.precision for way in possible_ways(CPU, "no", False, None)} == {"no"}, "the launcher's is obeyed"
    assert {way.precision for way in possible_ways(CPU, "bf16", False, None)} == {"bf16"}
    assert possible_ways(CPU, "no", True, 3) == [Way("no", True, 3)]
    monkeypatch.setattr(trial, "has_bfloat16", lambda device: False)
    assert {way.precision for way in possible_ways(CPU, None, False, None)} == {"no"}


@pytest.fixture
def fresh_state() -> Iterator[None]:
    """The precision is one for all Accelerators of a process."""
    AcceleratorState._reset_state()
    yield
    AcceleratorState._reset_state()


@pytest.mark.usefixtures("fresh_state")
@pytest.mark.parametrize("fastest", [Way("no", True, 1), Way("bf16", False, 1)])
def test_the_fastest_way_is_taken_and_recorded_as_plain_options(dataset, tmp_path, monkeypatch, fastest, capsys):
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    monkeypatch.setattr(trial, "has_bfloat16", lambda device: True)
    monkeypatch.setattr(trial, "measure", lambda way, *rest: 200.0 if way == fastest else 100.0)
    settings = run(dataset, tmp_path / "fast", "--fast")["run"]
    assert capsys.readouterr().out.splitlines()[1].split()[0] == fastest.precision, "the table begins with it"
    assert settings["mixed_precision"] == fastest.precision
    assert settings["channels_last"] is fastest.channels_last
    assert f"--mixed_precision {fastest.precision} " in settings["command"]
    assert ("--channels-last" in settings["command"]) is fastest.channels_last
    assert "--fast" not in settings["command"]
    plain = ["--channels-last"] if fastest.channels_last else []
    AcceleratorState._reset_state()
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", fastest.precision)
    run(dataset, tmp_path / "plain", *plain)
    assert without_seconds(tmp_path / "plain") == without_seconds(tmp_path / "fast")
    monkeypatch.setattr(trial, "measure", lambda *way: pytest.fail("a resumed run tries nothing"))
    run(dataset, tmp_path / "fast", "--fast", "--resume")
    assert json.loads((tmp_path / "fast" / "history.json").read_text())["run"]["command"] == settings["command"]


def test_a_way_is_measured_in_real_steps(monkeypatch):
    monkeypatch.setattr(trial, "SECONDS", 0.0)
    recipe = trial.Recipe(lr=0.1, weight_decay=0.0, batch_size=2, size=16, size_at_end=16)
    torch.manual_seed(0)
    before = torch.rand(1)
    torch.manual_seed(0)
    speeds = trial.try_ways([Way("no", False, 1), Way("no", True, 1)], "v1", 6, recipe, CPU)
    assert all(speed > 0 for speed in speeds.values())
    assert torch.equal(torch.rand(1), before), "the run draws the same random numbers as without --fast"
