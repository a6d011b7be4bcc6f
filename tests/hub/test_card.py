"""The model card says what was measured, and nothing else."""

import pytest
from huggingface_hub import ModelCard

from fer_model.hub import card
from fer_model.hub.merge import merged
from fer_model.labels import EMOTIONS
from fer_model.model.network import FERModel
from fer_model.runs import Run, write_json
from helpers import ROOT
from helpers.small_run import measured_run

PUBLISHED = sorted(path.parent for path in (ROOT / "results").glob("*/metrics.json"))


@pytest.fixture
def run(tmp_path) -> Run:
    return measured_run(tmp_path)


def text_of(run: Run, repo_id: str | None = None) -> str:
    return card.model_card(run, FERModel.from_pretrained(run.models), repo_id)


def written(run: Run) -> ModelCard:
    card.write_card(run, FERModel.from_pretrained(run.models))
    return ModelCard.load(run.card)


def test_the_card_holds_the_measured_figures_for_machines_and_for_people(run):
    card = written(run)
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


def test_the_card_says_what_the_model_must_not_be_used_for(run):
    text = text_of(run)
    for limit in ("no neutral", "noisy", "not an emotion", "employment, education or policing", "Art. 5(1)(f)"):
        assert limit in text


def test_figures_of_other_weights_are_left_out(run):
    FERModel(version="v1", seed=5).save_pretrained(run.models)
    card = written(run)
    assert card.data.eval_results is None
    assert "62.5" not in card.text
    assert "have not been measured" in card.text


def test_the_card_names_the_three_changes_that_cost_most_of_these_weights_alone(tmp_path):
    run = measured_run(tmp_path / "v1")
    assert "Worse photos" not in text_of(run)
    digest = FERModel.from_pretrained(run.models).digest()
    losses = {"blur": 0.25, "noise": 0.5, "JPEG": 0.125, "shift": 0.375}
    changes = {
        name: {"unit": "of it", "levels": [{"amount": n, "lost": {"value": lost * n / 3}} for n in range(1, 6)]}
        for name, lost in losses.items()
    }
    tested = {"command": "measure", "images": 9, "changes": changes}
    file = tmp_path / "robustness.json"
    write_json(file, {run.folder.name: tested | {"model_sha256": digest}})
    assert "noise (of it: 3) 50 points, shift (of it: 3) 38 points, blur (of it: 3) 25 points." in text_of(run)
    write_json(file, {run.folder.name: tested | {"model_sha256": "another"}})
    assert "Worse photos" not in text_of(run)


def test_the_card_on_the_hub_names_the_hub_id(run):
    assert 'from_pretrained("someone/faces")' in text_of(run, "someone/faces")


def test_the_digest_is_that_of_the_weights_not_of_the_file(run):
    digest = FERModel.from_pretrained(run.models).digest()
    assert digest == run.metrics()["model_sha256"]
    assert digest != FERModel(version="v1", seed=9).digest()


def test_there_are_published_results():
    assert {"v1", "v2"} <= {folder.name for folder in PUBLISHED}


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_published_weights_figures_and_card_belong_together(folder):
    run = Run(folder)
    metrics = run.metrics()
    assert FERModel.from_pretrained(run.models).digest() == metrics["model_sha256"]
    assert (run.models / "model.safetensors").stat().st_size < 25_000_000
    text = run.card.read_text(encoding="utf-8")
    assert merged(text, text_of(run)) == text, "run python -m fer_model report"
    assert f'from_pretrained("results/{folder.name}/models")' in text
    images = {6: (5945, 2963), 7: (7178, 3589)}
    assert (metrics["n"], metrics["private_test"]["n"]) == images[len(metrics["per_class"])]
