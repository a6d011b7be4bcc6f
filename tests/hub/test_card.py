"""The model card and the README say what was measured, and nothing else."""

import json
import re
import shutil
from pathlib import Path

import pytest
from fer_model.model_facts import weights_digest
from huggingface_hub import ModelCard, RepoCard, SpaceCard

from fer_model.errors import FERError
from fer_model.evaluation.expectations import check_expectations
from fer_model.evaluation.metrics import FERMetric
from fer_model.hub import card, push
from fer_model.labels import EMOTIONS
from fer_model.model.network import FERModel
from fer_model.report import readme, speed, versions
from helpers import ROOT

COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}  # that a Space may have
PUBLISHED = sorted(path.parent for path in (ROOT / "results").glob("*/metrics.json"))


@pytest.fixture
def results(tmp_path) -> Path:
    """A results folder with weights and figures that belong together; five of eight images are right."""
    model = FERModel(version="v1", seed=4)
    model.save_pretrained(tmp_path / "models")
    labels, predicted = [0, 1, 2, 3, 4, 5, 0, 1], [0, 1, 2, 3, 0, 0, 0, 2]
    probabilities = [[0.9 if index == p else 0.02 for index in range(6)] for p in predicted]
    metrics = FERMetric().compute(predictions=probabilities, references=labels)
    metrics |= {
        "private_test": None,
        "expectations": check_expectations(metrics, None),
        "version": "v1",
        "model_sha256": weights_digest(model),
        "dataset": "some/faces",
        "command": "python evaluate.py",
    }
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    return tmp_path


def test_the_card_holds_the_measured_figures_for_machines_and_for_people(results):
    card = ModelCard.load(push.write_card(results))
    found = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert found["accuracy"] == 0.625
    assert found["recall"] == round((1 + 0.5 + 1 + 1 + 0 + 0) / 6, 4)
    assert card.data.library_name == "fer-model"
    assert card.data.pipeline_tag == "image-classification"
    assert "62.5 %" in card.text
    assert all(f"| {emotion} |" in card.text for emotion in EMOTIONS)
    assert "FER2013's test set without neutral (5,945" not in card.text, "another test set is not called FER2013"
    assert "some/faces" in card.text
    assert {result.dataset_type for result in card.data.eval_results} == {"some/faces"}
    assert card.data.datasets is None, "nothing is known of what these weights were trained on"


def test_the_card_says_what_the_model_must_not_be_used_for(results):
    text = push.model_card(results)
    for limit in ("no neutral", "noisy", "not an emotion", "employment, education or policing", "Art. 5(1)(f)"):
        assert limit in text


def test_figures_of_other_weights_are_left_out(results):
    FERModel(version="v1", seed=5).save_pretrained(results / "models")
    card = ModelCard.load(push.write_card(results))
    assert card.data.eval_results is None
    assert "62.5" not in card.text
    assert "have not been measured" in card.text


def test_the_card_on_the_hub_names_the_hub_id(results):
    assert 'from_pretrained("someone/faces")' in push.model_card(results, "someone/faces")


def test_the_digest_is_that_of_the_weights_not_of_the_file(results):
    model = FERModel.from_pretrained(results / "models")
    assert weights_digest(model) == json.loads((results / "metrics.json").read_text())["model_sha256"]
    assert weights_digest(model) != weights_digest(FERModel(version="v1", seed=9))


def test_there_are_published_results():
    assert {"v1", "v2"} <= {folder.name for folder in PUBLISHED}


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_published_weights_figures_and_card_belong_together(folder):
    metrics = json.loads((folder / "metrics.json").read_text())
    weights = folder / "models" / "model.safetensors"
    assert weights_digest(FERModel.from_pretrained(folder / "models")) == metrics["model_sha256"]
    assert weights.stat().st_size < 25_000_000
    written = (folder / "models" / "README.md").read_text(encoding="utf-8")
    assert card.merged(written, push.model_card(folder)) == written, "run python -m fer_model.report"
    assert f'from_pretrained("results/{folder.name}/models")' in written
    images = {6: (5945, 2963), 7: (7178, 3589)}
    assert (metrics["n"], metrics["private_test"]["n"]) == images[len(metrics["per_class"])]


def test_the_readme_table_is_the_one_of_the_results():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.filled(text, ROOT / "results") == text


def test_the_report_finds_and_mends_what_is_not_as_in_the_results(tmp_path, monkeypatch, capsys):
    file = tmp_path / "README.md"
    shutil.copy(ROOT / "README.md", file)
    shutil.copytree(ROOT / "results", tmp_path / "results", ignore=shutil.ignore_patterns("checkpoints", "*.png"))
    for module in (readme, push):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    assert readme.main(["--check"]) == 0
    right = file.read_text(encoding="utf-8")
    wrong = right.replace("5,563,910", "5,563,911")
    file.write_text(wrong, encoding="utf-8")
    assert readme.main(["--check"]) == 1
    assert "README.md; run python -m fer_model.report" in capsys.readouterr().err
    assert file.read_text(encoding="utf-8") == wrong, "--check changes nothing"
    assert readme.main([]) == 0
    assert file.read_text(encoding="utf-8") == right


def test_seven_classes_have_a_row_of_their_own_once_they_are_measured(results, tmp_path):
    (tmp_path / "history.json").write_text(json.dumps({"epochs": [{}], "best_epoch": 1, "earlier": []}))
    six = shutil.copytree(results, tmp_path / "all" / "v1").parent
    before = versions.results_table(six)
    assert "seven" not in before
    assert "\nOf the five expectations V1 misses " in before
    model = FERModel(version="v1", seed=4, classes=7)
    metrics = FERMetric().compute(predictions=[[i == k for k in range(7)] for i in range(7)], references=range(7))
    model.save_pretrained(six / "v1-7" / "models")
    shutil.copy(tmp_path / "history.json", six / "v1-7")
    (six / "v1-7" / "metrics.json").write_text(
        json.dumps(
            metrics
            | {"version": "v1", "model_sha256": weights_digest(model), "private_test": None, "expectations": None}
        )
    )
    row = versions.results_table(six).splitlines()[3]
    assert versions.results_table(six).replace(row + "\n", "") == before
    assert row.startswith("| V1, seven classes | 1,813,639 | 1 (1) | **100.0**")
    assert row.endswith("| 100 · 100 · 100 · 100 · 100 · 100 · neutral 100 |")


def test_a_readme_without_a_place_for_the_table_is_refused():
    with pytest.raises(FERError, match="markers"):
        readme.filled("# nothing", ROOT / "results")


MEASURED = {"version": "V9", "cores": 2, "environment": {"processor": "Some CPU"}}
LATENCY = {"median_ms": 120.4, "p95_ms": 1300.6}


def write_demo(folder: Path, **parts: dict) -> str:
    """The README's table of these parts of a demo.json."""
    (folder / "demo.json").write_text(json.dumps({name: MEASURED | part for name, part in parts.items()}))
    return speed.demo_table(folder)


def test_the_table_of_the_demo_says_what_was_measured(tmp_path):
    choice = {"workers": 1, "threads": 2, "default": False, "answers_a_second": 7.26, **LATENCY}
    over_http = {"heat_maps": False, "answers_a_second": 11.04, **LATENCY}
    rates = [{"heat_maps": maps, "answers_a_second": rate} for maps, rate in ((False, 9.96), (True, 6.3))]
    table = write_demo(
        tmp_path,
        photo=LATENCY,
        load={"visitors": 8, "choices": [choice, choice | {"workers": 2, "threads": 1, "default": True}]},
        live={"over_http": [over_http, over_http | {"heat_maps": True}], "in_browser": {"rates": rates}},
        memory={"requests": [100, 550, 1000], "mb": [1000.4, 1010.0, 1010.6]},
        film={"seconds_per_second_of_film": 1.234},
    )
    rows = dict(line.strip("| ").split(" | ") for line in table.splitlines()[2:] if line.startswith("|"))
    assert rows == {
        "a photo, by one visitor": "120 ms (1,301 ms)",
        "photos, by 8 visitors at once, `--workers 1 --threads 2`": "7.3 a second, each after 120 ms (1,301 ms)",
        "photos, by 8 visitors at once, `--workers 2 --threads 1`, the default here": "7.3 a second, each after "
        "120 ms (1,301 ms)",
        "live frames of 640 × 480 over HTTP": "11.0 a second, each after 120 ms (1,301 ms)",
        "live frames of 640 × 480 over HTTP, with heat maps": "11.0 a second, each after 120 ms (1,301 ms)",
        "the same in Chromium on the same cores": "10.0 a second",
        "the same in Chromium on the same cores, with heat maps": "6.3 a second",
        "memory of the server over many photos": "1,000 MB after 100, 1,010 MB after 550, 1,011 MB after 1,000",
        "a second of film, 640 × 480 at 25 frames a second": "1.23 s",
    }
    assert "the same 2 cores (Some CPU). The network was V9." in table


def test_the_table_of_the_demo_says_what_was_not_measured(tmp_path):
    assert "has not been measured" in speed.demo_table(tmp_path)
    live = {"over_http": [], "in_browser": {"skipped": "no chromium was found"}}
    table = write_demo(tmp_path, live=live, memory={"skipped": "it is read from Linux's /proc"})
    assert table.count("not measured: ") == 2
    assert "photo" not in table


def test_the_readme_is_a_valid_space_card():
    card = SpaceCard.load(ROOT / "README.md")
    assert card.data.sdk == "gradio"
    assert card.data.app_file == "app.py"
    assert card.data.license == "mit"
    assert {card.data.colorFrom, card.data.colorTo} <= COLOURS
    assert card.data.suggested_hardware == "cpu-basic"
    assert len(card.data.to_dict()["short_description"]) <= 60, "the Hub cuts or refuses longer ones"
    assert re.fullmatch(r"3\.\d+", card.data.to_dict()["python_version"])
    assert RepoCard((ROOT / "README.md").read_text()).data.to_dict()["title"]


def test_the_space_runs_the_gradio_that_was_tested():
    import gradio

    version = SpaceCard.load(ROOT / "README.md").data.sdk_version
    bound = re.search(r"^gradio(?:\[mcp\])?>=(.*)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)[1]
    assert version.split(".")[:2] == bound.split(".")[:2]
    assert gradio.__version__.split(".")[0] == version.split(".")[0]


def test_every_file_the_readme_names_is_there():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|#)([^)]+)\)", readme) + re.findall(r'src="([^":]+)"', readme):
        assert (ROOT / target).exists(), target
