"""Up to a Hub and down again with the real client, each user with a cache of their own."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from gradio_client import Client, handle_file
from PIL import Image

from fer_model.errors import FERError
from fer_model.hub import push
from fer_model.inference.pipeline import FERPipeline, Place
from fer_model.model.network import FERModel
from helpers import EXAMPLES
from helpers.app import running_app
from helpers.hub.client import TOKENS, HubUser, local_logits
from helpers.hub.repos import READ_TOKEN
from helpers.small_run import OPTIONS, TEST_FACES
from helpers.synthetic import draw_faces, write_webdataset

MINE = "\n## Notes by a person\n\nWe tried it on our cat.  \nIt is *surprised*.\n"


def read_files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def pushed(hub, dataset, tmp_path_factory) -> Path:
    """The results folder of a run on a Hub dataset that ended in a push to tester/trained."""
    folder = tmp_path_factory.mktemp("hub")
    hub.create("datasets", "tester/parquet", read_files(dataset))
    train, test = draw_faces(2, seed=0), draw_faces(TEST_FACES, seed=1)
    hub.create("datasets", "tester/shards", read_files(write_webdataset(folder / "shards", train, test)))
    command = ["train.py", *OPTIONS, "--epochs", 1, "--dataset", "tester/parquet", "--output-dir", folder / "run"]
    HubUser(hub, folder / "cache").script(*command, "--push-to-hub", "tester/trained")
    return folder / "run"


def test_what_training_pushes_to_the_hub_loads_with_equal_logits(pushed, user):
    assert user.logits_in_a_fresh_process("tester/trained") == local_logits(pushed / "models")


def test_a_push_to_the_hub_holds_the_model_its_card_and_the_package(hub, pushed):
    files = hub.repo("models", "tester/trained").files()
    wheels = [path for path in files if path.endswith(".whl")]
    assert sorted(files) == sorted([".gitattributes", "README.md", "config.json", "model.safetensors", *wheels])
    assert len(wheels) == 1
    card = files["README.md"].decode()
    assert 'from_pretrained("tester/trained")' in card
    assert f"pip install {hub.url}/tester/trained/resolve/main/{wheels[0]}" in card
    assert "have not been measured" in card


@pytest.mark.parametrize("kind", ["branch", "tag", "commit"])
def test_a_revision_on_the_hub_is_loaded_also_when_main_has_moved_on(hub, pushed, user, tmp_path, kind):
    repo = hub.create("models", f"tester/by-{kind}", read_files(pushed / "models"))
    first = repo.resolve("main")
    repo.branches["branch"] = repo.tags["tag"] = first
    FERModel(version="v1", seed=9).save_pretrained(tmp_path / "other")
    repo.commit(read_files(tmp_path / "other"))
    there = user.logits(f"tester/by-{kind}", {"commit": first}.get(kind, kind))
    assert there == local_logits(pushed / "models")
    assert user.logits(f"tester/by-{kind}") != there


def test_a_private_model_on_the_hub_wants_a_token_and_a_read_token_is_enough(hub, pushed, tmp_path):
    HubUser(hub, tmp_path / "a").script("-m", "fer_model", "push", pushed, "tester/secret", "--private")
    assert hub.repo("models", "tester/secret").private
    reader = HubUser(hub, tmp_path / "b", READ_TOKEN)
    assert reader.logits("tester/secret") == local_logits(pushed / "models")
    stranger = HubUser(hub, tmp_path / "c", token=None)
    done = stranger.script("evaluate.py", "--model", "tester/secret", "--dataset", "tester/parquet", check=False)
    assert done.returncode == 2
    assert "tester/secret" in done.stderr
    assert "hf auth login" in done.stderr


@pytest.mark.slow
def test_a_model_from_the_hub_loads_offline_once_it_is_in_the_cache(pushed, user, tmp_path):
    online = user.logits("tester/trained")
    asked = len(user.hub.requests)
    assert user.logits("tester/trained", offline=True) == online
    assert len(user.hub.requests) == asked
    user.cache = tmp_path / "empty"
    done = user.python("app.py", "--model", "tester/trained", check=False, HF_HUB_OFFLINE="1")
    assert done.returncode == 2
    assert "HF_HUB_OFFLINE" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("kind", ["parquet", "shards"])
def test_results_are_pushed_into_the_card_on_the_hub_and_nothing_else_is(hub, pushed, user, tmp_path, kind):
    """Measured on a dataset repository in each of the two layouts."""
    repo = hub.create("models", f"tester/measured-on-{kind}", read_files(pushed / "models"))
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
    options = ["--dataset", f"tester/{kind}", "--push-results", "--output-dir", tmp_path / "out"]
    done = user.script("evaluate.py", "--model", repo.id, *options)
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


def test_results_of_weights_that_have_been_replaced_on_the_hub_are_not_pushed(hub, pushed, user, tmp_path):
    """Somebody uploads other weights while the old ones are being measured."""
    repo = hub.create("models", "tester/replaced", read_files(pushed / "models"))
    measured = repo.resolve("main")
    FERModel(version="v1", seed=9).save_pretrained(tmp_path / "other")
    repo.commit(read_files(tmp_path / "other"))
    with user.at_work(), pytest.raises(FERError, match="measure them anew"):
        push.push_results("tester/replaced", None, measured, FERModel(version="v1"), {})


def test_pushing_again_keeps_what_people_wrote_in_the_card_on_the_hub(hub, pushed, user):
    repo = hub.create("models", "tester/again")
    user.script("-m", "fer_model", "push", pushed, "tester/again")
    card = repo.files()["README.md"].decode()
    repo.commit({"README.md": card.replace("license: mit", "license: apache-2.0").encode() + MINE.encode()})
    user.script("-m", "fer_model", "push", pushed, "tester/again")
    new = repo.files()["README.md"].decode()
    assert new.endswith(MINE)
    assert "license: apache-2.0" in new
    assert new.replace("license: apache-2.0", "license: mit").removesuffix(MINE) == card
    assert len([path for path in repo.files() if path.endswith(".whl")]) == 1


def test_push_to_hub_of_a_model_object_keeps_the_card_on_the_hub_too(hub, pushed, user):
    repo = hub.create("models", "tester/object", {"README.md": b"---\nlicense: mit\n---\n" + MINE.encode()})
    with user.at_work():
        FERModel.from_pretrained(pushed / "models").push_to_hub("tester/object")
    assert user.logits("tester/object") == local_logits(pushed / "models")
    card = repo.files()["README.md"].decode()
    assert MINE.strip() in card
    assert 'from_pretrained("tester/object")' in card
    assert "Art. 5(1)(f)" in card


RUN_ALONE = "import sys\nfor name in ('torch', 'fer_model'): sys.modules[name] = None\n"


def test_the_card_of_a_pushed_onnx_file_shows_the_lines_that_give_the_pipelines_probabilities(
    hub, pushed, user, tmp_path
):
    user.script("-m", "fer_model", "push", pushed, "tester/onnx", "--onnx")
    repo = hub.repo("models", "tester/onnx")
    files = repo.files()
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model.onnx").write_bytes(files["onnx/model.onnx"])
    photo = Image.open(EXAMPLES / "drawn_anger.png").convert("RGB")
    photo.save(tmp_path / "face.png")
    (lines,) = (code for code in re.findall(r"```python\n(.*?)```", card_of(repo), re.DOTALL) if "onnxruntime" in code)
    done = subprocess.run([sys.executable, "-c", RUN_ALONE + lines], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pipeline = FERPipeline.from_pretrained(pushed / "models")
    (face,) = pipeline.recognise(photo, [Place((0, 0, *photo.size), None, 0.0)])
    assert ast.literal_eval(done.stdout) == pytest.approx(face.probabilities, abs=2e-3)  # PIL rounds a resized face


def card_of(repo) -> str:
    return repo.files()["README.md"].decode()


@pytest.mark.parametrize("way", ["command", "method"])
def test_a_push_of_weights_alone_removes_an_older_onnx_file_and_what_the_card_says_of_it(hub, pushed, user, way):
    repo = hub.create("models", f"tester/stale-{way}", {"onnx/model.onnx": b"old", "onnx/mine.onnx": b"mine"})
    if way == "command":
        user.script("-m", "fer_model", "push", pushed, repo.id)
    else:
        with user.at_work():
            FERModel.from_pretrained(pushed / "models").push_to_hub(repo.id)
    files = repo.files()
    assert "onnx/model.onnx" not in files
    assert files["onnx/mine.onnx"] == b"mine"
    assert "onnxruntime" not in card_of(repo)


def test_saving_with_push_to_hub_pushes(hub, pushed, user, tmp_path):
    with user.at_work():
        model = FERModel.from_pretrained(pushed / "models")
        model.save_pretrained(tmp_path / "saved", push_to_hub=True, repo_id="tester/saved")
    files = hub.repo("models", "tester/saved").files()
    assert files["model.safetensors"] == (pushed / "models" / "model.safetensors").read_bytes()


def test_results_are_only_pushed_to_a_branch_of_the_hub_which_is_found_before_measuring(hub, pushed, user):
    repo = hub.create("models", "tester/tagged", read_files(pushed / "models"))
    repo.tags["v1"] = repo.resolve("main")
    command = ["evaluate.py", "--model", "tester/tagged", "--revision", "v1", "--push-results"]
    done = user.script(*command, "--dataset", "./nowhere", check=False)
    assert done.returncode == 2
    assert "only be written to a branch of tester/tagged (main), not 'v1'" in done.stderr


@pytest.mark.slow
def test_the_app_pulls_its_model_from_the_hub_and_answers(pushed, user, tmp_path):
    with running_app(tmp_path, model="tester/trained", environment=user.environment) as app:
        client = Client(app.url, verbose=False)
        answer = client.predict(handle_file(EXAMPLES / "astronaut.jpg"), api_name="/predict")[0]
        assert "Model: V1, tester/trained" in app.output
        assert not any(token in app.output for token in TOKENS)
    assert len(answer["faces"]) == 1
    assert sum(answer["faces"][0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_a_dataset_on_the_hub_is_read_at_a_revision(hub, pushed, user, tmp_path):
    repo = hub.repo("datasets", "tester/shards")
    repo.tags["good"] = repo.resolve("main")
    repo.commit({path: None for path in repo.files() if path != ".gitattributes"}, branch="empty")
    options = ["--limit", 12, "--output-dir", tmp_path, "--model", pushed / "models", "--dataset", "tester/shards"]
    user.script("evaluate.py", *options, "--dataset-revision", "good")
    assert json.loads((tmp_path / "metrics.json").read_text())["n"] == 12
    done = user.script("evaluate.py", *options, "--dataset-revision", "nowhere", check=False)
    assert done.returncode == 2
    assert "'nowhere'" in done.stderr
