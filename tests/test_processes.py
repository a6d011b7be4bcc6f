"""What only other processes can show: several at once, one that is killed, and a start from another folder."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from fer_model.__main__ import main
from fer_model.data.fer2013 import load_fer
from fer_model.data.splits import validation_split
from fer_model.errors import ImageError
from fer_model.evaluation.predict import EVALUATION_BATCH
from fer_model.inference import bulk, shared
from fer_model.inference.shared import parts_of
from fer_model.labels import EMOTIONS
from fer_model.model.network import FERModel
from fer_model.model.preprocess import preprocess
from helpers import ROOT
from helpers.scripts import python
from helpers.small_run import OPTIONS, TEST_FACES, without_seconds
from helpers.synthetic import draw_faces, image_table, write_parquet


def run(*command, cwd=ROOT, check=True) -> subprocess.CompletedProcess:
    words = [str(part) for part in command]
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", 2, "--multi_gpu"]
LAUNCH += ["--mixed_precision", "no", "--num_machines", 1, "--dynamo_backend", "no"]
# port 0, any free one: two test runs on one machine must not meet
LAUNCH += ["--main_process_port", 0]


def launch(*command) -> subprocess.CompletedProcess:
    """`accelerate launch` of two processes. --multi_gpu says so; what ACCELERATE_USE_CPU makes of it is on CPUs."""
    return run(*LAUNCH, *command)


@pytest.mark.parametrize(
    ("script", "option"), [pytest.param("train.py", "--dataset", marks=pytest.mark.slow), ("evaluate.py", "--model")]
)
def test_a_script_runs_from_any_folder_and_a_mistake_is_a_sentence_and_exit_code_2(script, option, tmp_path):
    done = run(sys.executable, ROOT / script, option, "./nowhere", cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"{script}: ")
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_two_processes_count_every_image_once_and_validate_the_one_network_that_is_saved(tmp_path):
    """96 and 18 images do not divide evenly; 144 are more than go into the first process's first batch."""
    dataset = write_parquet(
        tmp_path / "faces", train=image_table(draw_faces(40, seed=3)), test=image_table(draw_faces(TEST_FACES, seed=1))
    )
    folder = tmp_path / "v1"
    command = [ROOT / "train.py", *OPTIONS, "--dataset", dataset, "--output-dir", folder, "--batch-size", 7]
    # the average has BatchNorm statistics of the first process alone
    command += ["--set", "ema=0.9", "--set", "validation_fraction=0.6", "--set", "lr=0.01"]
    launch(*command, "--epochs", 1)
    history = json.loads((folder / "history.json").read_text())
    assert history["run"]["num_processes"] == 2
    assert history["run"]["images"]["validation"] > EVALUATION_BATCH
    right = history["epochs"][0]["train_accuracy"] * history["run"]["images"]["train"]
    assert right == pytest.approx(round(right)), "of images counted once; that each was, the training itself checks"
    assert validation_loss(folder, dataset) == pytest.approx(history["epochs"][0]["validation_loss"], rel=1e-5)
    assert "resumed" in launch(*command, "--epochs", 2, "--resume").stdout
    assert len(json.loads((folder / "history.json").read_text())["epochs"]) == 2
    launch(ROOT / "evaluate.py", "--model", folder / "models", "--dataset", dataset)
    together = json.loads((folder / "metrics.json").read_text())
    assert together["n"] == 6 * TEST_FACES
    python("evaluate.py", "--model", folder / "models", "--dataset", dataset)
    alone = json.loads((folder / "metrics.json").read_text())
    assert together["confusion_matrix"] == alone["confusion_matrix"]


def validation_loss(folder: Path, dataset: Path) -> float:
    """Of the model in a run's folder, on the run's validation images."""
    run = json.loads((folder / "history.json").read_text())["run"]
    faces = load_fer(str(dataset), "train", progress=False)
    _, faces = validation_split(faces, None, run["recipe"]["validation_fraction"], run["seed"], False)
    model = FERModel.from_pretrained(folder / "models").eval()
    with torch.no_grad():
        logits = model(preprocess(faces.images, model.input_size))
    return float(F.cross_entropy(logits, faces.labels, weight=torch.tensor(run["class_weights"])))


@pytest.mark.slow
def test_a_run_killed_and_resumed_has_the_history_of_one_that_was_not(trained, dataset, tmp_path):
    """kill -9 at two different moments: in the middle of an epoch, and right after a checkpoint."""
    command = ["train.py", *OPTIONS, "--epochs", "3", "--dataset", str(dataset), "--output-dir", str(tmp_path)]
    command.append("--resume")
    for delay in (0.0, 0.1):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen([sys.executable, *command], cwd=ROOT, start_new_session=True, **quiet)
        before = newest(tmp_path)
        deadline = time.monotonic() + 120
        while newest(tmp_path) == before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(delay)
        assert process.poll() is None, "the run ended before it could be killed"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert newest(tmp_path) != before, "no epoch was finished before the kill"
    assert "resumed" in python(*command).stdout
    assert without_seconds(tmp_path) == without_seconds(trained)
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["epoch-002", "epoch-003"], "older ones are removed"
    assert (
        json.loads((tmp_path / "history.json").read_text())["best_epoch"]
        == json.loads((trained / "history.json").read_text())["best_epoch"]
    )
    first, second = (FERModel.from_pretrained(folder / "models").state_dict() for folder in (trained, tmp_path))
    assert all(torch.equal(first[key], second[key]) for key in first)


def newest(output_dir: Path) -> str:
    return max((path.name for path in (output_dir / "checkpoints").glob("epoch-*")), default="")


@pytest.mark.slow
def test_a_machine_that_dies_ends_the_training_of_the_other_within_a_minute_and_it_goes_on(dataset, tmp_path):
    """Two launchers, as on two machines, of which one is killed with its process: nobody tells the other."""
    command = [ROOT / "train.py", *OPTIONS, "--epochs", 200, "--dataset", dataset, "--output-dir", tmp_path]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    machines = []
    for rank in range(2):
        words = [*LAUNCH[:-2], "--main_process_port", port, "--main_process_ip", "127.0.0.1", "--machine_rank", rank]
        words[words.index("--num_machines") + 1] = 2
        machines.append(subprocess.Popen([*map(str, ("timeout", 300, *words, *command))], start_new_session=True))
    deadline = time.monotonic() + 200
    while not newest(tmp_path):
        assert time.monotonic() < deadline and all(one.poll() is None for one in machines), "no epoch was finished"
        time.sleep(0.05)
    for process in (*psutil.Process(machines[1].pid).children(recursive=True), machines[1]):
        process.kill()
    assert machines[0].wait(timeout=60) != 0
    command[command.index(200)] = int(newest(tmp_path).removeprefix("epoch-")) + 1
    assert "resumed" in launch(*command, "--resume").stdout


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """A folder of drawn faces, one file that is no image, and V1's untrained weights."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "in").mkdir()
    for number, (_, pixels) in enumerate(draw_faces(20, seed=2)):
        Image.fromarray(pixels).save(folder / "in" / f"{number:03}.png")
    (folder / "in" / "100.png").write_bytes(b"no image")
    FERModel(version="v1", seed=0).save_pretrained(folder / "model")
    options = ["-m", "fer_model", "predict", folder / "in", "--model", folder / "model", "--output"]
    run(sys.executable, *options, folder / "alone.csv")
    return folder


def predict_command(folder: Path) -> list:
    return ["-m", "fer_model", "predict", folder / "in", "--model", folder / "model", "--output", folder / "two.csv"]


@pytest.mark.slow
def test_two_processes_write_the_table_that_one_writes(many):
    launch(*predict_command(many))
    assert (many / "two.csv").read_text() == (many / "alone.csv").read_text()
    assert not list(many.glob("two.csv.*")), "the parts are removed"


@pytest.mark.slow
def test_a_killed_process_ends_the_others_with_a_sentence_and_the_same_command_goes_on(many):
    (many / "two.csv").unlink(missing_ok=True)
    parts = parts_of(many / "two.csv")
    command = [str(word) for word in (*LAUNCH, *predict_command(many))]
    launcher = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 200
    while finished(parts) < 10 and launcher.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    (victim, _) = psutil.Process(launcher.pid).children()
    victim.kill()
    killed = time.monotonic()
    said = launcher.communicate(timeout=60)[0]
    assert time.monotonic() - killed < 60
    assert launcher.returncode != 0
    assert "the same command goes on" in said
    assert not (many / "two.csv").exists()
    left = len(list((many / "in").iterdir())) - finished(parts)
    assert left > 1, "it was killed too late to show anything"
    bar = launch(*predict_command(many)).stderr
    assert f"/{-(-left // 2)} " in bar, "what was finished is not done again"
    assert (many / "two.csv").read_text() == (many / "alone.csv").read_text()


def finished(parts: Path) -> int:
    """How many files are finished."""
    return sum(part.read_text().count('"rows": ') for part in parts.glob("*.jsonl"))


# several processes: parts that a kill may have cut off anywhere become one table

SETTINGS = {"model": "one"}


def rows_of(file: Path) -> list[dict]:
    """None, one or several for a file, told by its name."""
    return [{"file": str(file), "face": str(face)} for face in range(int(file.stem) % 3)]


def write_parts(parts: Path, files: list[Path], rng: np.random.Generator, *, cut: bool = False) -> set[Path]:
    """What three processes have finished of the files, in any order; a kill may have cut off last lines. Returns the
    files that count as finished."""
    parts.mkdir(parents=True)
    finished: set[Path] = set()
    for number, share in enumerate(np.array_split(rng.permutation(len(files)), 3)):
        lines = [json.dumps({"settings": SETTINGS})]
        lines += [json.dumps({"file": str(files[index]), "rows": rows_of(files[index])}) for index in share]
        text = "\n" + "\n".join(lines) + "\n"
        if cut:
            text = text[: rng.integers(2, len(text))]
        (parts / f"{number}.jsonl").write_text(text)
        finished |= {file for file in files if json.dumps({"file": str(file), "rows": rows_of(file)}) in text}
    return finished


@pytest.mark.parametrize("seed", range(5))
def test_parts_in_any_order_become_the_table_in_the_order_of_the_files(seed, tmp_path):
    files = [Path(f"{number:02}.jpg") for number in range(20)]
    write_parts(tmp_path / "t.csv.parts", files, np.random.default_rng(seed))
    expected = [row for file in files for row in rows_of(file)]
    output = tmp_path / "t.csv"
    assert shared.join(files, shared.parts_of(output), output, EMOTIONS) == len(expected)
    with output.open(newline="") as table:
        written = list(csv.DictReader(table))
    assert [(row["file"], row["face"]) for row in written] == [(row["file"], row["face"]) for row in expected]
    assert list(written[0]) == list(bulk.columns(EMOTIONS))


@pytest.mark.parametrize("seed", range(20))
def test_a_file_is_unfinished_until_its_whole_line_is_there_and_a_later_one_replaces_half_of_it(seed, tmp_path):
    files = [Path(f"{number:02}.jpg") for number in range(20)]
    finished = write_parts(tmp_path / "parts", files, np.random.default_rng(seed), cut=True)
    left = shared.unfinished(files, tmp_path / "parts", SETTINGS)
    assert {files[number] for number in left} == set(files) - finished
    with (tmp_path / "parts" / "0.jsonl").open("a") as part:
        part.write("\n" + json.dumps({"settings": SETTINGS}) + "\n")
        part.writelines(json.dumps({"file": str(files[n]), "rows": rows_of(files[n])}) + "\n" for n in left)
    assert shared.unfinished(files, tmp_path / "parts", SETTINGS) == []
    assert shared.join(files, tmp_path / "parts", tmp_path / "t.csv", EMOTIONS) == sum(map(len, map(rows_of, files)))


def test_an_unfinished_run_with_other_options_is_not_mixed_in(tmp_path):
    write_parts(tmp_path / "parts", [Path("1.jpg"), Path("2.jpg"), Path("3.jpg")], np.random.default_rng(0))
    with pytest.raises(ImageError, match="another model or other options.*delete the folder"):
        shared.unfinished([Path("1.jpg")], tmp_path / "parts", {"model": "another"})


def test_a_process_without_a_sign_of_life_ends_the_others_unless_it_has_finished(tmp_path, monkeypatch, capfd):
    ended = threading.Event()

    def end(status: int) -> None:
        assert status == 2
        ended.set()
        raise FileNotFoundError  # which ends the watch

    monkeypatch.setattr(shared, "BEAT", 0.01)
    monkeypatch.setattr(shared, "SILENCE", 0.2)
    monkeypatch.setattr(shared.os, "_exit", end)
    monkeypatch.setattr(shared.signal, "signal", lambda *_: None)
    mine, other, finished = (tmp_path / f"{number}.jsonl" for number in range(3))
    for part in (mine, other, finished):
        part.write_text("\n")
    finished.write_text(shared._END)
    shared._stop_with_the_others(mine, [mine, finished])
    assert not ended.wait(1), "one that has finished needs no sign of life"
    shared._stop_with_the_others(mine, [mine, other, finished])
    assert ended.wait(5)
    assert f"what is finished is in {tmp_path}, and the same command goes on" in capfd.readouterr().err
    mine.unlink()  # ends the first watch


def test_several_processes_need_a_file_for_their_table(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ImageError, match="--output table.csv"):
        main(["predict", "examples"])
