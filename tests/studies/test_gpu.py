"""The run that is prepared for a GPU, here on a CPU with few, small images."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import gpu_check
from fer_model.runs import read_json
from fer_model.studies import gpu
from helpers import ROOT
from helpers.scripts import python


def test_on_a_cpu_all_ways_in_float32_agree():
    faces = torch.randint(0, 256, (24, 1, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = gpu.measure_correct(torch.device("cpu"), True, gpu.FERData(faces, torch.arange(24) % 7))
    assert found["eager, float32"]["gradients_apart"] == found["eager, float32"]["losses_apart"] == 0
    assert 0 < found["captured, bfloat16"]["losses_apart"] < 0.01, "bfloat16 has three digits"


def test_a_part_that_runs_out_of_time_leaves_the_others_whatever_it_has_printed(tmp_path, monkeypatch):
    said = {"speed": b'{"rows": [1]}\n', "training": b"    1       1.790\n", "peak": None, "more": b"{}\n"}

    def run(command, timeout, **options):
        if command[-1] == "more":
            return SimpleNamespace(stdout=said["more"].decode(), stderr="a word")
        raise subprocess.TimeoutExpired(command, timeout, output=said[command[-1]])

    names = {name: getattr(subprocess, name) for name in ("TimeoutExpired", "CalledProcessError")}
    monkeypatch.setattr(gpu_check, "subprocess", SimpleNamespace(run=run, **names))
    monkeypatch.setattr(gpu_check, "PARTS", dict.fromkeys(said, 60))
    monkeypatch.setattr(sys, "argv", ["gpu_check.py", "--device", "cpu", "--output", str(tmp_path)])
    gpu_check.main()
    found = read_json(tmp_path / "gpu_check.json")
    late = "it took too long"
    assert [found[part]["failed"] for part in said] == [late, late, late, "a word"]
    assert found["speed"]["rows"] == [1]


@pytest.mark.parametrize(("words", "said"), [([], "--output is needed"), (["--prepare", "x"], "needs --dataset")])
def test_what_is_missing_is_said_before_anything_is_measured(words, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu_check.py", *words])
    with pytest.raises(SystemExit):
        gpu_check.main()
    assert said in capsys.readouterr().err


def test_the_time_of_a_kernel_does_not_count_for_the_operation_too_that_started_it():
    kinds = torch.autograd.DeviceType
    events = [
        SimpleNamespace(key="aten::mm", device_type=kinds.CPU, is_user_annotation=False, time=3e6),
        SimpleNamespace(key="gemm", device_type=kinds.CUDA, is_user_annotation=False, time=3e6),
        SimpleNamespace(key="Optimizer.step", device_type=kinds.CUDA, is_user_annotation=True, time=4e6),
    ]
    assert gpu.seconds_on(torch.device("cuda"), events, "time") == {"gemm": 3}


@pytest.mark.slow
def test_all_parts_run_through_and_one_that_fails_leaves_the_others(tmp_path):
    wide = np.zeros((96, 1, 48, 48), dtype=np.uint8)
    np.savez(tmp_path / "faces.npz", pixels=wide, labels=np.arange(96) % 7, count=84)
    options = ["--device", "cpu", "--tiny", "--minutes", 60, "--output", tmp_path, "--data", tmp_path / "faces.npz"]
    python("scripts/gpu_check.py", *options)
    found = read_json(tmp_path / "gpu_check.json")
    assert "votes" in found["training"].pop("failed"), "blank images have none"
    parts = ("peak", "correct", "speed", "profile", "more")
    assert not any("failed" in found[part] for part in parts)
    assert found["speed"]["rows"][0]["now"] > 0
    assert (tmp_path / "profile.txt").stat().st_size > 1000
    command = [sys.executable, "scripts/gpu_check.py", *map(str, options[:7]), "--part", "training"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert len(read_json(tmp_path / "history.json")["epochs"]) == 2
    assert (tmp_path / "model" / "model.safetensors").is_file()
