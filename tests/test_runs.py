"""A run's folder is found from its model, however that is named."""

import json

import pytest

from fer_model.errors import FERError
from fer_model.hub.push import push_folder
from fer_model.model.network import FERModel
from fer_model.runs import Run


@pytest.fixture
def run(tmp_path) -> Run:
    run = Run(tmp_path / "results" / "v1")
    run.models.mkdir(parents=True)
    run.history_file.write_text(json.dumps({"run": {}, "epochs": [], "best_epoch": 1}))
    return run


def test_a_run_is_found_from_its_models_folder_and_from_links_to_it(run, tmp_path, monkeypatch):
    (tmp_path / "export").mkdir()
    for link in (tmp_path / "latest", tmp_path / "export" / "models"):
        link.symlink_to(run.models)
        assert Run.beside(link).history() == {"run": {}, "epochs": [], "best_epoch": 1}
    assert Run.beside(f"{run.models}/") == run
    monkeypatch.chdir(run.models)
    assert Run.beside(".").folder == run.folder


def test_a_hub_id_and_a_folder_of_another_name_belong_to_no_run(tmp_path):
    (tmp_path / "weights").mkdir()
    assert Run.beside("user/models") is None
    assert Run.beside(tmp_path / "weights") is None


def test_figures_go_beside_the_model_they_are_of(run, tmp_path):
    assert Run.measuring(str(run.models)) == run
    (tmp_path / "weights").mkdir()
    assert Run.measuring(str(tmp_path / "weights")).folder == tmp_path / "weights-evaluation"
    assert Run.measuring("user/name").folder.as_posix() == "results/user--name"


def test_a_folder_without_weights_is_not_pushed(run):
    with pytest.raises(FERError, match="nothing to push"):
        push_folder(run, FERModel(version="v1"), "tester/nothing")
