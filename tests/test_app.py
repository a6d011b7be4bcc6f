"""The demo's command line."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import app as demo
from fer_model import FERModel
from fer_model.errors import ModelError
from fer_model.runs import default_model
from helpers import ROOT


def test_the_help_shows_the_commands_and_every_option(capsys):
    with pytest.raises(SystemExit) as leaving:
        demo.parse_args(["--help"])
    assert leaving.value.code == 0
    text = capsys.readouterr().out
    wanted = ("python app.py", "--model", "--host", "--port", "--workers", "--threads", "FER_MODEL", "/gradio_api/mcp/")
    assert all(option in text for option in wanted)


def test_a_wrong_model_is_one_sentence_and_exit_code_2(tmp_path):
    command = [sys.executable, "app.py", "--model", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "has no config.json" in done.stderr


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    FERModel(version="v1", seed=0).save_pretrained(folder)
    return folder


def test_a_port_that_cannot_be_is_one_sentence(model):
    with pytest.raises(ModelError, match="another --host or --port"):
        demo.main(demo.parse_args(["--model", str(model), "--host", "127.0.0.1", "--port", "70000"]))


def test_a_taken_port_is_an_error_that_names_the_fix(model):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ModelError, match="another --host or --port"):
        port = str(taken.getsockname()[1])
        demo.main(demo.parse_args(["--model", str(model), "--host", "127.0.0.1", "--port", port]))


def test_the_newest_version_with_weights_is_taken(tmp_path):
    for name in ("v2", "v9", "v10", "vfinal", "v12-7"):
        (tmp_path / name / "models").mkdir(parents=True)
        (tmp_path / name / "models" / "model.safetensors").touch()
    (tmp_path / "v11" / "models").mkdir(parents=True)  # a run that has not finished
    assert default_model(tmp_path) == str(tmp_path / "v10" / "models")


def test_without_weights_the_environment_names_the_model(tmp_path, monkeypatch):
    monkeypatch.setenv("FER_MODEL", "user/name")
    assert default_model(tmp_path) == "user/name"


def test_without_any_model_the_error_names_the_fix(tmp_path, monkeypatch):
    monkeypatch.delenv("FER_MODEL", raising=False)
    with pytest.raises(ModelError, match=r"no weights under .*--model .*FER_MODEL"):
        default_model(tmp_path)


@pytest.mark.parametrize(
    ("option", "value"), [("--workers", "0"), ("--threads", "0"), ("--workers", "-1"), ("--threads", "many")]
)
def test_numbers_of_workers_and_threads_that_cannot_be_are_refused(capsys, option, value):
    with pytest.raises(SystemExit):
        demo.parse_args([option, value])
    assert "whole number above 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ALL_PROXY", "socks9://x", "proxy"),
        ("GRADIO_SERVER_PORT", "abc", "GRADIO_SERVER_PORT"),
        ("GRADIO_SERVER_PORT", "70000", "GRADIO_SERVER_PORT"),
        ("GRADIO_TEMP_DIR", "/proc/nowhere", "GRADIO_TEMP_DIR or TMPDIR"),
    ],
)
def test_what_gradio_would_stumble_over_is_said_before_anything_starts(monkeypatch, name, value, said):
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv(name, value)
    with pytest.raises(ModelError, match=said):
        demo.check_surroundings(demo.parse_args([]))


def test_a_proxy_is_not_asked_for_the_demo_itself(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "example.com")
    monkeypatch.setenv("no_proxy", "example.com")
    demo.check_surroundings(demo.parse_args(["--host", "192.168.0.7"]))
    assert {"example.com", "127.0.0.1", "localhost", "192.168.0.7"} <= set(os.environ["NO_PROXY"].split(","))
