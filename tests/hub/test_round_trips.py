"""Up to a Hub and down again with the real client, each step in a fresh process with a fresh cache."""

import json
from pathlib import Path

import pytest
import yaml
from gradio_client import Client, handle_file

from fer_model.model.network import FERModel
from helpers import EXAMPLES
from helpers.app import running_app
from helpers.hub_client import TOKENS, HubUser, local_logits
from helpers.hub_server import READ_TOKEN
from helpers.synthetic import draw_faces, image_table, usages, write_parquet, write_webdataset

MINE = "\n## Notes by a person\n\nWe tried it on our cat.  \nIt is *surprised*.\n"


def read_files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def trained(hub, tmp_path_factory) -> Path:
    """The results folder of a run on a Hub dataset that ended in a push to tester/trained."""
    folder = tmp_path_factory.mktemp("hub")
    train, test = draw_faces(8, seed=0), draw_faces(5, seed=1)
    train_usage, test_usage = usages(train, test)
    tables = {"train": image_table(train, train_usage), "test": image_table(test, test_usage)}
    hub.create("datasets", "tester/parquet", read_files(write_parquet(folder / "parquet", **tables)))
    hub.create("datasets", "tester/shards", read_files(write_webdataset(folder / "shards", train, test)))
    options = ["--version", "v1", "--epochs", 1, "--threads", 2, "--output-dir", folder / "run"]
    HubUser(hub, folder / "cache").python(
        "train.py", "--dataset", "tester/parquet", *options, "--push-to-hub", "tester/trained"
    )
    return folder / "run"


def test_what_training_pushes_to_the_hub_loads_with_equal_logits(trained, user):
    assert user.logits("tester/trained") == local_logits(trained / "models")


def test_a_push_to_the_hub_holds_the_model_its_card_and_the_package(hub, trained):
    files = hub.repo("models", "tester/trained").files()
    wheels = [path for path in files if path.endswith(".whl")]
    assert sorted(files) == sorted([".gitattributes", "README.md", "config.json", "model.safetensors", *wheels])
    assert len(wheels) == 1
    card = files["README.md"].decode()
    assert 'from_pretrained("tester/trained")' in card
    assert f"pip install {hub.url}/tester/trained/resolve/main/{wheels[0]}" in card
    assert "have not been measured" in card


@pytest.mark.parametrize("kind", ["branch", "tag", "commit"])
def test_a_revision_on_the_hub_is_loaded_also_when_main_has_moved_on(hub, trained, user, tmp_path, kind):
    repo = hub.create("models", f"tester/by-{kind}", read_files(trained / "models"))
    first = repo.resolve("main")
    repo.branches["branch"] = repo.tags["tag"] = first
    FERModel(version="v1", seed=9).save_pretrained(tmp_path / "other")
    repo.commit(read_files(tmp_path / "other"))
    there = user.logits(f"tester/by-{kind}", {"commit": first}.get(kind, kind))
    assert there == local_logits(trained / "models")
    assert user.logits(f"tester/by-{kind}") != there


def test_a_private_model_on_the_hub_wants_a_token_and_a_read_token_is_enough(hub, trained, tmp_path):
    HubUser(hub, tmp_path / "a").python("-m", "fer_model", "push", trained, "tester/secret", "--private")
    assert hub.repo("models", "tester/secret").private
    reader = HubUser(hub, tmp_path / "b", READ_TOKEN)
    assert reader.logits("tester/secret") == local_logits(trained / "models")
    stranger = HubUser(hub, tmp_path / "c", token=None)
    done = stranger.python("evaluate.py", "--model", "tester/secret", "--dataset", "tester/parquet", check=False)
    assert done.returncode == 2
    assert "tester/secret" in done.stderr
    assert "hf auth login" in done.stderr


def test_a_model_from_the_hub_loads_offline_once_it_is_in_the_cache(trained, user, tmp_path):
    online = user.logits("tester/trained")
    asked = len(user.hub.requests)
    assert user.logits("tester/trained", HF_HUB_OFFLINE="1") == online
    assert len(user.hub.requests) == asked
    user.cache = tmp_path / "empty"
    done = user.python("app.py", "--model", "tester/trained", check=False, HF_HUB_OFFLINE="1")
    assert done.returncode == 2
    assert "HF_HUB_OFFLINE" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("dataset", ["tester/parquet", "tester/shards"])
def test_results_are_pushed_into_the_card_on_the_hub_and_nothing_else_is(hub, trained, user, tmp_path, dataset):
    """Measured on a dataset repository in each of the two layouts."""
    repo = hub.create("models", f"tester/measured-{dataset[-6:]}", read_files(trained / "models"))
    theirs = {
        "task": {"type": "image-classification"},
        "dataset": {"type": "their/data", "name": "Theirs"},
        "metrics": [{"type": "accuracy", "value": 0.5, "name": "Accuracy"}],
    }
    index = yaml.safe_dump({"model-index": [{"name": "ours", "results": [theirs]}]}, sort_keys=False)
    card = repo.files()["README.md"].decode()
    comment = "# a comment of mine\nlanguage: [en]   # odd, but mine\n"
    card = card.replace("---\n", f"---\n{comment}{index}", 1) + MINE
    before = repo.commit({"README.md": card.encode()})
    done = user.python(
        "evaluate.py", "--model", repo.id, "--dataset", dataset, "--push-results", "--output-dir", tmp_path / "out"
    )
    assert f"results written to the card of {repo.id}" in done.stdout
    files = repo.files()
    assert {p for p in files if files[p] != repo.files(before).get(p)} == {"README.md"}
    new = files["README.md"].decode()
    assert comment in new
    assert new.endswith(MINE)
    measured = json.loads((tmp_path / "out" / "metrics.json").read_text())
    results = yaml.safe_load(new.split("---\n")[1])["model-index"][0]["results"]
    assert theirs in results
    ours = {m["type"]: m["value"] for result in results if result != theirs for m in result["metrics"]}
    assert ours == {
        "accuracy": round(measured["accuracy"], 4),
        "recall": round(measured["macro_recall"], 4),
        "f1": round(measured["macro_f1"], 4),
    }
    assert f"{measured['accuracy']:.1%}".replace("%", " %") in new
    # everything that is neither the model-index nor a section with figures is as it was
    assert [line for line in card.splitlines() if line not in new] == [
        line for line in card.splitlines() if "have not been measured" in line
    ]


def test_results_of_weights_that_have_been_replaced_on_the_hub_are_not_pushed(hub, trained, user, tmp_path):
    """Somebody uploads other weights while the old ones are being measured."""
    repo = hub.create("models", "tester/replaced", read_files(trained / "models"))
    measured = repo.resolve("main")
    FERModel(version="v1", seed=9).save_pretrained(tmp_path / "other")
    repo.commit(read_files(tmp_path / "other"))
    code = (
        "import json, sys; from pathlib import Path\n"
        "from fer_model import FERModel, hub\nfrom fer_model.errors import FERError\n"
        "model = FERModel(version='v1')\n"
        "try: hub.push_results('tester/replaced', None, sys.argv[1], model, {})\n"
        "except FERError as error: print(error)"
    )
    assert "measure them anew" in user.python("-c", code, measured).stdout


def test_pushing_again_keeps_what_people_wrote_in_the_card_on_the_hub(hub, trained, user):
    repo = hub.create("models", "tester/again")
    user.python("-m", "fer_model", "push", trained, "tester/again")
    card = repo.files()["README.md"].decode()
    repo.commit({"README.md": card.replace("license: mit", "license: apache-2.0").encode() + MINE.encode()})
    user.python("-m", "fer_model", "push", trained, "tester/again")
    new = repo.files()["README.md"].decode()
    assert new.endswith(MINE)
    assert "license: apache-2.0" in new
    assert new.replace("license: apache-2.0", "license: mit").removesuffix(MINE) == card
    assert len([path for path in repo.files() if path.endswith(".whl")]) == 1


def test_push_to_hub_of_a_model_object_keeps_the_card_on_the_hub_too(hub, trained, user):
    repo = hub.create("models", "tester/object", {"README.md": b"---\nlicense: mit\n---\n" + MINE.encode()})
    code = (
        "import sys; from fer_model import FERModel\nFERModel.from_pretrained(sys.argv[1]).push_to_hub('tester/object')"
    )
    user.python("-c", code, trained / "models")
    assert user.logits("tester/object") == local_logits(trained / "models")
    card = repo.files()["README.md"].decode()
    assert MINE.strip() in card
    assert 'from_pretrained("tester/object")' in card
    assert "Art. 5(1)(f)" in card


def test_saving_with_push_to_hub_pushes(hub, trained, user, tmp_path):
    code = (
        "import sys; from fer_model import FERModel\n"
        "FERModel.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[2], push_to_hub=True, repo_id='tester/saved')"
    )
    user.python("-c", code, trained / "models", tmp_path / "saved")
    files = hub.repo("models", "tester/saved").files()
    assert files["model.safetensors"] == (trained / "models" / "model.safetensors").read_bytes()


def test_results_are_only_pushed_to_a_branch_of_the_hub_which_is_found_before_measuring(hub, trained, user):
    repo = hub.create("models", "tester/tagged", read_files(trained / "models"))
    repo.tags["v1"] = repo.resolve("main")
    command = ["evaluate.py", "--model", "tester/tagged", "--revision", "v1", "--push-results"]
    done = user.python(*command, "--dataset", "./nowhere", check=False)
    assert done.returncode == 2
    assert "only be written to a branch of tester/tagged (main), not 'v1'" in done.stderr


def test_the_app_pulls_its_model_from_the_hub_and_answers(trained, user, tmp_path):
    with running_app(tmp_path, model="tester/trained", environment=user.environment) as app:
        client = Client(app.url, verbose=False)
        answer = client.predict(handle_file(EXAMPLES / "astronaut.jpg"), api_name="/predict")[0]
        assert "Model: V1, tester/trained" in app.output
        assert not any(token in app.output for token in TOKENS)
    assert len(answer["faces"]) == 1
    assert sum(answer["faces"][0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_a_dataset_on_the_hub_is_read_at_a_revision(hub, trained, user, tmp_path):
    repo = hub.repo("datasets", "tester/shards")
    repo.tags["good"] = repo.resolve("main")
    repo.commit({path: None for path in repo.files() if path != ".gitattributes"}, branch="empty")
    options = ["--limit", 12, "--output-dir", tmp_path, "--model", trained / "models", "--dataset", "tester/shards"]
    user.python("evaluate.py", *options, "--dataset-revision", "good")
    assert json.loads((tmp_path / "metrics.json").read_text())["n"] == 12
    done = user.python("evaluate.py", *options, "--dataset-revision", "nowhere", check=False)
    assert done.returncode == 2
    assert "'nowhere'" in done.stderr
