"""The scripts, started as a user starts them, judged by the files they leave behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from fer_model.data.fer2013 import load_fer
from fer_model.data.splits import validation_split
from fer_model.evaluation.predict import EVALUATION_BATCH
from fer_model.labels import EMOTIONS
from fer_model.model.network import FERModel
from fer_model.model.preprocess import preprocess
from fer_model.runs import trained_models
from helpers import ROOT
from helpers.hub_server import Fault
from helpers.synthetic import draw_faces, image_table, usages, write_parquet

TRAIN_FACES, TEST_FACES = 8, 5  # of each class


def launch(processes: int) -> list:
    """`accelerate launch`. Its --multi_gpu means several processes; what ACCELERATE_USE_CPU makes of it is on CPUs."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", processes]
    command += ["--mixed_precision", "no", "--num_machines", "1", "--dynamo_backend", "no"]
    # port 0, any free one: two test runs on one machine must not meet
    return command + (["--multi_gpu", "--main_process_port", "0"] if processes > 1 else [])


def run(*command, cwd=ROOT, check=True) -> subprocess.CompletedProcess:
    environment = {"HF_HUB_OFFLINE": "1", **os.environ, "TQDM_DISABLE": "1", "ACCELERATE_USE_CPU": "true"}
    words = [str(part) for part in command]
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Eight drawn faces of each class to train on, five to test on."""
    train, test = draw_faces(TRAIN_FACES, seed=0), draw_faces(TEST_FACES, seed=1)
    train_usage, test_usage = usages(train, test)
    folder = tmp_path_factory.mktemp("dataset")
    return write_parquet(folder, train=image_table(train, train_usage), test=image_table(test, test_usage))


def train_command(dataset: Path, output_dir: Path, processes: int = 1, epochs: int = 2) -> list:
    """With `accelerate launch`, or, for no processes, with plain `python`, whose errors are ours alone."""
    launcher = launch(processes) if processes else [sys.executable]
    options = ["--version", "v1", "--batch-size", 7, "--epochs", epochs, "--threads", 1, "--output-dir", output_dir]
    return [*launcher, ROOT / "train.py", "--dataset", dataset, *options]


def without_timing(output_dir: Path) -> list[dict]:
    epochs = json.loads((output_dir / "history.json").read_text())["epochs"]
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in epochs]


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory) -> Path:
    """The output folder of an uninterrupted run of three epochs."""
    folder = tmp_path_factory.mktemp("trained") / "v1"
    done = run(*train_command(dataset, folder, epochs=3))
    assert done.stdout.count("\n    3 ") == 1, "one row per epoch"
    return folder


def test_training_leaves_all_its_artefacts(trained):
    names = {path.name for path in trained.iterdir()}
    assert {"models", "visualizations", "history.json"} <= names
    models = sorted(path.name for path in (trained / "models").iterdir())
    assert models == ["README.md", "config.json", "model.safetensors"]
    assert (trained / "visualizations" / "training_curves.png").stat().st_size > 5000
    history = json.loads((trained / "history.json").read_text())
    assert [row["epoch"] for row in history["epochs"]] == [1, 2, 3]
    best = max(history["epochs"], key=lambda row: row["validation_accuracy"])
    assert history["best_epoch"] == best["epoch"]
    assert history["stopped"] == "3 epochs done"
    assert history["run"]["images"] == {"train": 36, "validation": 12}
    assert history["run"]["class_weights"] == pytest.approx([1.0] * 6)


def test_the_same_seed_gives_the_same_history_and_weights(trained, dataset, tmp_path):
    run(*train_command(dataset, tmp_path, epochs=3))
    assert without_timing(tmp_path) == without_timing(trained)
    first, second = (FERModel.from_pretrained(folder / "models").state_dict() for folder in (trained, tmp_path))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_run_killed_and_resumed_has_the_history_of_one_that_was_not(trained, dataset, tmp_path):
    """kill -9 at two different moments: in the middle of an epoch, and right after a checkpoint."""
    command = [str(part) for part in (*train_command(dataset, tmp_path, epochs=3), "--resume")]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true"}
    for delay in (0.0, 0.2):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, **quiet)
        before = _newest(tmp_path)
        deadline = time.monotonic() + 120
        while _newest(tmp_path) == before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(delay)
        assert process.poll() is None, "the run ended before it could be killed"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert _newest(tmp_path) != before, "no epoch was finished before the kill"
    resumed = run(*command)
    assert "resumed" in resumed.stdout
    assert without_timing(tmp_path) == without_timing(trained)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["epoch-003"], "older ones are removed"
    assert (
        json.loads((tmp_path / "history.json").read_text())["best_epoch"]
        == json.loads((trained / "history.json").read_text())["best_epoch"]
    )
    first, second = (FERModel.from_pretrained(folder / "models").state_dict() for folder in (trained, tmp_path))
    assert all(torch.equal(first[key], second[key]) for key in first)


def _newest(output_dir: Path) -> str:
    return max((path.name for path in (output_dir / "checkpoints").glob("epoch-*")), default="")


def test_an_unfinished_run_is_not_overwritten_by_accident(trained, dataset, tmp_path):
    before = (trained / "history.json").read_text()
    done = run(*train_command(dataset, trained, processes=0), check=False)
    assert done.returncode != 0
    assert "--resume" in done.stderr
    assert "--overwrite" in done.stderr
    assert (trained / "history.json").read_text() == before


def test_resuming_with_other_settings_is_refused(trained, dataset):
    done = run(*train_command(dataset, trained, processes=0), "--resume", "--lr", "0.5", check=False)
    assert done.returncode != 0
    assert "other settings" in done.stderr
    assert "Traceback" not in done.stderr


def test_two_processes_count_every_image_once(dataset, tmp_path):
    """36 training and 12 validation images do not divide evenly into 2 x 7; training checks its own count."""
    average = ("--set", "ema=0.9")
    run(*train_command(dataset, tmp_path / "v1", processes=2, epochs=1), *average)
    assert "resumed" in run(*train_command(dataset, tmp_path / "v1", processes=2), *average, "--resume").stdout
    history = json.loads((tmp_path / "v1" / "history.json").read_text())
    assert history["run"]["num_processes"] == 2
    assert len(history["epochs"]) == 2
    run(*launch(2), ROOT / "evaluate.py", "--model", tmp_path / "v1" / "models", "--dataset", dataset)
    together = json.loads((tmp_path / "v1" / "metrics.json").read_text())
    assert together["n"] == 6 * TEST_FACES
    run(sys.executable, "evaluate.py", "--model", tmp_path / "v1" / "models", "--dataset", dataset)
    alone = json.loads((tmp_path / "v1" / "metrics.json").read_text())
    assert together["confusion_matrix"] == alone["confusion_matrix"]


def test_two_processes_validate_the_one_network_that_is_saved(tmp_path):
    """With the averaged BatchNorm statistics of the first, on more images than go into its first batch."""
    dataset = write_parquet(tmp_path / "faces", train=image_table(draw_faces(40, seed=3)))
    options = ("--set", "ema=0.9", "--set", "validation_fraction=0.6", "--set", "size=16", "--set", "lr=0.01")
    run(*train_command(dataset, tmp_path / "v1", processes=2, epochs=1), *options)
    history = json.loads((tmp_path / "v1" / "history.json").read_text())
    assert history["run"]["images"]["validation"] > EVALUATION_BATCH
    assert validation_loss(tmp_path / "v1", dataset) == pytest.approx(history["epochs"][0]["validation_loss"], rel=1e-5)


def validation_loss(folder: Path, dataset: Path) -> float:
    """Of the model in a run's folder, on the run's validation images."""
    run = json.loads((folder / "history.json").read_text())["run"]
    faces = load_fer(str(dataset), "train", progress=False)
    _, faces = validation_split(faces, None, run["recipe"]["validation_fraction"], run["seed"], False)
    model = FERModel.from_pretrained(folder / "models").eval()
    with torch.no_grad():
        logits = model(preprocess(faces.images, model.input_size))
    return float(F.cross_entropy(logits, faces.labels, weight=torch.tensor(run["class_weights"])))


def test_ten_crops_are_reported_apart_and_with_what_they_cost(trained, dataset, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "v1")
    command = [sys.executable, "evaluate.py", "--model", folder / "models", "--dataset", dataset]
    plain = run(*command)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["tta"] is None
    with_crops = run(*command, "--tta")
    tta = json.loads((folder / "metrics.json").read_text())
    assert {key: value for key, value in tta.items() if key not in ("tta", "command")} == {
        key: value for key, value in metrics.items() if key not in ("tta", "command")
    }, "the plain figures are the same"
    tta = tta["tta"]
    assert (tta["views"], tta["passes"], tta["n"]) == ("ten-crop", 10, 6 * TEST_FACES)
    assert tta["times_the_seconds_of_plain"] > 0  # how many times is the machine's affair
    assert tta["ece"] != metrics["ece"]
    assert "ten-crop views" in with_crops.stdout
    assert "ten-crop views" not in plain.stdout
    assert "ten-crop views of each face, 10 times the work" in (folder / "models" / "README.md").read_text()


def test_evaluation_writes_every_promised_figure_and_picture(trained, dataset):
    done = run(sys.executable, "evaluate.py", "--model", trained / "models", "--dataset", dataset)
    metrics = json.loads((trained / "metrics.json").read_text())
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
    pictures = {path.stem for path in (trained / "visualizations").glob("*.png")}
    assert pictures == {
        "confusion_matrix",
        "class_scores",
        "reliability",
        "coverage",
        "mean_grad_cam",
        "training_curves",
    }
    assert f"accuracy {metrics['accuracy']:.2%}" in done.stdout
    card = (trained / "models" / "README.md").read_text()
    assert f"{metrics['accuracy']:.1%}".replace("%", " %") in card
    again = run(sys.executable, "evaluate.py", "--model", trained / "models", "--dataset", dataset)
    assert again.stdout == done.stdout
    assert json.loads((trained / "metrics.json").read_text()) == metrics


def test_a_new_run_removes_the_figures_of_the_old_weights(trained, dataset, tmp_path):
    (tmp_path / "metrics.json").write_text((trained / "history.json").read_text())
    run(*train_command(dataset, tmp_path, epochs=1))
    assert not (tmp_path / "metrics.json").exists()


@pytest.mark.parametrize("script", ["train.py", "evaluate.py"])
@pytest.mark.parametrize("place", ["root", "elsewhere"])
def test_help_teaches_from_any_folder(script, place, tmp_path):
    done = run(sys.executable, ROOT / script, "--help", cwd=ROOT if place == "root" else tmp_path)
    assert f"python {script}" in done.stdout
    assert "accelerate launch" in done.stdout


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["train.py", "--dataset", "./nowhere"], "nowhere"),
        (["train.py", "--dataset", "DATASET", "--limit", "5", "--output-dir", "OUT"], "--limit"),
        (["train.py", "--epochs", "0"], "--epochs"),
        (["train.py", "--lr", "-1"], "--lr"),
        (["evaluate.py", "--model", "./nowhere"], "nowhere"),
        (["evaluate.py", "--model", "results"], r"config.json"),
        (["evaluate.py", "--version", "v2", "--limit", "30"], "--output-dir"),
        (["evaluate.py", "--version", "v2", "--limit", "0"], "--output-dir"),
        (["evaluate.py", "--version", "v1", "--limit", "-5", "--dataset", "DATASET", "--output-dir", "OUT"], "above 0"),
        (["train.py", "--dataset", "DATASET", "--tracker", "wandb"], "pip install wandb"),
    ],
)
def test_mistakes_end_in_one_sentence_and_exit_code_2(command, says, dataset, tmp_path):
    command = [str(dataset) if part == "DATASET" else str(tmp_path) if part == "OUT" else part for part in command]
    if command[0] == "train.py" and "--output-dir" not in command:
        command += ["--output-dir", str(tmp_path)]
    done = run(sys.executable, *command, check=False)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_push_to_the_hub_that_fails_after_the_training_loses_nothing(hub, user, dataset, tmp_path):
    hub.faults.append(fault := Fault("POST /api/models/tester/late/commit", 500))
    command = [*train_command(dataset, tmp_path, processes=0, epochs=1), "--push-to-hub", "tester/late"]
    done = user.run(*command, check=False)
    hub.faults.remove(fault)
    assert done.returncode == 2
    assert f"python -m fer_model push {tmp_path} tester/late" in done.stderr
    assert sorted(p.name for p in (tmp_path / "models").iterdir()) == ["README.md", "config.json", "model.safetensors"]
    user.python("-m", "fer_model", "push", tmp_path, "tester/late")
    assert "model.safetensors" in hub.repo("models", "tester/late").files()


def test_a_push_that_cannot_succeed_stops_before_the_training(dataset, tmp_path):
    done = run(*train_command(dataset, tmp_path, processes=0), "--push-to-hub", "nobody/x", check=False)
    assert done.returncode == 2
    assert "nobody/x cannot be pushed to" in done.stderr
    assert not (tmp_path / "history.json").exists()


def test_a_tracker_gets_every_epoch(dataset, tmp_path):
    run(*train_command(dataset, tmp_path, epochs=1), "--tracker", "tensorboard")
    assert list((tmp_path / "runs").rglob("events.out.tfevents.*"))


# Seven classes


@pytest.fixture(scope="module")
def seven(dataset, tmp_path_factory) -> Path:
    """The folder in which a training of seven classes was started, and measured."""
    folder = tmp_path_factory.mktemp("seven")
    options = ["--version", "v1", "--epochs", 1, "--batch-size", 7, "--threads", 1]
    run(sys.executable, ROOT / "train.py", "--classes", 7, "--dataset", dataset, *options, cwd=folder)
    return folder


def test_training_with_neutral_goes_to_a_folder_that_no_demo_takes_for_six_classes(seven):
    assert [path.name for path in (seven / "results").iterdir()] == ["v1-7"]
    assert trained_models(seven / "results") == []
    history = json.loads((seven / "results" / "v1-7" / "history.json").read_text())
    assert history["run"]["classes"] == 7
    assert history["run"]["images"] == {"train": 42, "validation": 14}
    assert history["run"]["class_weights"] == pytest.approx([1.0] * 7)
    assert "--classes 7" in history["run"]["command"]
    model = FERModel.from_pretrained(seven / "results" / "v1-7" / "models")
    assert model.class_names == (*EMOTIONS, "neutral")


def test_evaluation_takes_the_classes_from_the_model(seven, dataset):
    evaluate = [sys.executable, ROOT / "evaluate.py", "--model", "results/v1-7/models", "--dataset", dataset]
    done = run(*evaluate, cwd=seven)
    folder = seven / "results" / "v1-7"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["n"], metrics["private_test"]["n"]) == (7 * TEST_FACES, 7 * TEST_FACES // 2)
    assert list(metrics["per_class"]) == [*EMOTIONS, "neutral"]
    assert [sum(row) for row in metrics["confusion_matrix"]] == [TEST_FACES] * 7
    assert metrics["expectations"] is None
    assert "about six classes and do not apply to seven" in done.stdout
    assert "\nneutral " in done.stdout
    assert len(list((folder / "visualizations").glob("*.png"))) == 6
    assert "| neutral |" in (folder / "models" / "README.md").read_text()


def test_twins_of_seven_classes_are_counted_among_seven(seven, dataset):
    file = seven / "results" / "data.json"
    run(sys.executable, "-m", "fer_model.duplicates", "--dataset", dataset, "--output", file)
    found = json.loads(file.read_text())
    rows = found["seven_class_test"]["rows_with_twin_in_train"]
    assert len(rows) == 7 * TEST_FACES, "faces drawn alike under noise are twins all"
    found["seven_class_test"]["rows_with_twin_in_train"] = rows[:10]
    file.write_text(json.dumps(found))
    run(sys.executable, ROOT / "evaluate.py", "--model", "results/v1-7/models", "--dataset", dataset, cwd=seven)
    metrics = json.loads((seven / "results" / "v1-7" / "metrics.json").read_text())
    assert metrics["without_twins"]["n"] == 7 * TEST_FACES - 10


def test_a_run_of_seven_classes_is_calibrated_anew_on_its_own_validation_images(seven, dataset, tmp_path):
    folder = shutil.copytree(seven / "results" / "v1-7", tmp_path / "v1-7")
    FERModel.from_pretrained(folder / "models").save_pretrained(folder / "models")
    done = run(sys.executable, "-m", "fer_model.recalibrate", folder)
    assert "unsure below" in done.stdout
    assert len(FERModel.from_pretrained(folder / "models").class_names) == 7


def test_weights_rounded_to_float16_are_half_as_large_and_calibrated_as_they_are(seven, dataset, tmp_path):
    folder = shutil.copytree(seven / "results" / "v1-7", tmp_path / "v1-7")
    file = folder / "models" / "model.safetensors"
    full, size = FERModel.from_pretrained(folder / "models"), file.stat().st_size
    run(sys.executable, "-m", "fer_model.recalibrate", folder, "--half")
    assert file.stat().st_size == pytest.approx(size / 2, rel=0.01)
    rounded = FERModel.from_pretrained(folder / "models")
    for name, weight in rounded.named_parameters():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, full.get_parameter(name).half().float())
    assert not (folder / "metrics.json").exists(), "what was measured was measured of other weights"


def test_a_run_does_not_go_on_with_other_classes(seven, dataset):
    command = [sys.executable, ROOT / "train.py", "--version", "v1", "--dataset", dataset, "--batch-size", 7]
    done = run(*command, "--output-dir", seven / "results" / "v1-7", "--resume", check=False)
    assert done.returncode == 2
    assert "classes was 7 and is 6" in done.stderr


def test_another_number_of_classes_is_refused(dataset, tmp_path):
    done = run(sys.executable, "train.py", "--classes", 5, "--output-dir", tmp_path, check=False)
    assert done.returncode == 2
    assert "choose from" in done.stderr
