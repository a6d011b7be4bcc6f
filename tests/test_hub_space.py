"""The Space: uploaded by the README's command, downloaded into an empty folder, and started there."""

import re
import sys
from pathlib import Path

import pytest
from gradio_client import Client, handle_file

from app_fixture import EXAMPLES, running_app
from hub_client import HubUser

HF = Path(sys.executable).parent / "hf"

ZERO_GPU = '''
"""As on a ZeroGPU Space: what a decorated function takes and gives is pickled, because it runs in another process."""
import pickle


def GPU(function):
    def on_gpu(*arguments):
        print("on a GPU:", function.__name__, flush=True)
        return pickle.loads(pickle.dumps(function(*pickle.loads(pickle.dumps(arguments)))))
    return on_gpu
'''


@pytest.fixture(scope="module")
def space(hub, tmp_path_factory) -> Path:
    """What `make space` uploaded, downloaded into an empty folder."""
    folder = tmp_path_factory.mktemp("space")
    user = HubUser(hub, folder / "cache")
    user.run("make", "space", "SPACE=tester/space", f"HF={HF}")
    user.run(HF, "download", "tester/space", "--repo-type", "space", "--local-dir", folder / "files")
    return folder / "files"


def files_of(hub) -> set[str]:
    return set(hub.repo("spaces", "tester/space").files()) - {".gitattributes"}


def test_a_space_on_the_hub_holds_what_it_needs_and_nothing_else(hub, space):
    names = files_of(hub)
    assert {"app.py", "README.md", "requirements.txt", "fer_model/modeling.py", "examples/astronaut.jpg"} <= names
    assert "fer_model/vendor/centerface/centerface.onnx" in names
    assert "results/v2/models/model.safetensors" in names
    tops = {name.split("/")[0] for name in names}
    assert tops == {"app.py", "README.md", "LICENSE", "requirements.txt", "docs", "examples", "fer_model", "results"}
    assert not [
        name for name in names if re.search(r"\.(pyc|parquet|csv|tar|pt|bin|pkl)$|/checkpoints/|(^|/)tests?(/|_)", name)
    ]


def test_every_picture_and_file_that_the_readme_links_to_is_in_the_space_on_the_hub(hub, space):
    readme = (space / "README.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\((?!https?:|#)([^)]+)\)", readme))
    assert linked
    assert linked <= files_of(hub)


def test_uploading_again_to_the_hub_removes_modules_that_are_gone(hub, space, tmp_path):
    repo = hub.repo("spaces", "tester/space")
    repo.commit({"fer_model/old_module.py": b"", "notes.txt": b"somebody's own"})
    HubUser(hub, tmp_path).run("make", "space", "SPACE=tester/space", f"HF={HF}")
    assert "fer_model/old_module.py" not in repo.files()
    assert "notes.txt" in repo.files()


def test_a_space_from_the_hub_answers_in_a_folder_of_its_own(hub, space, tmp_path):
    environment = HubUser(hub, tmp_path / "cache", token=None).environment
    del environment["PYTHONPATH"]
    with running_app(tmp_path, model="", cwd=space, environment=environment) as app:
        answer = Client(app.url, verbose=False).predict(handle_file(EXAMPLES / "astronaut.jpg"), api_name="/predict")[0]
        assert f"Model: {space}" in app.output, "its own weights, not those of this repository"
    assert len(answer["faces"]) == 1


def test_on_a_zero_gpu_space_of_the_hub_the_network_runs_where_the_gpu_is(hub, space, tmp_path):
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "spaces.py").write_text(ZERO_GPU)
    environment = HubUser(hub, tmp_path / "cache", token=None).environment | {"PYTHONPATH": str(tmp_path / "modules")}
    picture = handle_file(EXAMPLES / "two_faces.jpg")
    with running_app(tmp_path, model="", cwd=space, environment=environment) as app:
        client = Client(app.url, verbose=False)
        assert len(client.predict(picture, api_name="/predict")[0]["faces"]) == 2
        assert client.predict(picture, emotion="fear", api_name="/heat_map")
        assert app.output.count("on a GPU: run") == 2
        assert app.output.count("on a GPU: heat_map_of") == 1


def test_without_a_name_the_upload_to_the_hub_says_what_is_missing(hub, tmp_path):
    done = HubUser(hub, tmp_path).run("make", "space", check=False)
    assert done.returncode != 0
    assert "SPACE=user/name" in done.stderr
