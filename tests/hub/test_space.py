"""The Space: uploaded by the README's command, downloaded into an empty folder, and started there."""

import base64
import io
import json
import re
import sys
from pathlib import Path

import av
import gradio
import pytest
from gradio_client import Client, handle_file
from huggingface_hub import RepoCard, SpaceCard
from PIL import Image

from helpers import EXAMPLES, ROOT
from helpers.app import running_app
from helpers.hub.client import HubUser
from helpers.visitors import Answer, Visitor

COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}  # that a Space may have

HF = Path(sys.executable).parent / "hf"

ZERO_GPU = '''
"""As on a ZeroGPU Space: what a decorated function takes and gives is pickled, because it runs in another process."""
import pickle


def GPU(function):
    def on_gpu(*arguments):
        # in one piece, or what the server prints meanwhile may come between
        print(f"on a GPU: {function.__name__}\\n", end="", flush=True)
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
    assert {"app.py", "README.md", "requirements.txt", "fer_model/model/network.py", "examples/astronaut.jpg"} <= names
    assert "fer_model/vendor/centerface/centerface.onnx" in names
    shown = [f"results/{version}/models/model.safetensors" for version in ("v1", "v2", "v3", "v3-7", "v4")]
    assert set(shown) <= names
    tops = {name.split("/")[0] for name in names}
    folders, pages = {"docs", "examples", "fer_model", "results"}, {"README.md", "CHANGELOG.md", "LICENSE"}
    assert tops == {"app.py", "requirements.txt", "CONTRIBUTING.md", "SECURITY.md", *folders, *pages}
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


@pytest.mark.slow
def test_a_space_from_the_hub_answers_in_a_folder_of_its_own(hub, space, tmp_path):
    environment = HubUser(hub, tmp_path / "cache", token=None).environment
    del environment["PYTHONPATH"]
    with running_app(tmp_path, model="", cwd=space, environment=environment) as app:
        answer = Client(app.url, verbose=False).predict(handle_file(EXAMPLES / "astronaut.jpg"), api_name="/predict")[0]
        loaded = re.findall(r"^Model: V.*, (.*)$", app.output, re.MULTILINE)
        assert loaded, app.output
        assert {Path(source).parents[2] for source in loaded} == {space}, "not the weights of this repository"
    assert len(answer["faces"]) == 1


@pytest.mark.slow
def test_on_a_zero_gpu_space_of_the_hub_the_network_runs_where_the_gpu_is(hub, space, tmp_path):
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "spaces.py").write_text(ZERO_GPU)
    environment = HubUser(hub, tmp_path / "cache", token=None).environment | {"PYTHONPATH": str(tmp_path / "modules")}
    photo = (EXAMPLES / "two_faces.jpg").read_bytes()
    with running_app(tmp_path, model="", cwd=space, environment=environment) as app:
        visitor = Visitor(app.url)
        upload = visitor.upload(photo)
        assert len(visitor.call("/predict", image=upload).outputs[0]["faces"]) == 2
        assert visitor.call("/heat_map", image=upload, emotion="fear").outputs
        assert app.output.count("on a GPU: recognise\n") == 2, "a heat map comes with its face"
        compared = visitor.call("/compare", image=upload).outputs[0]
        assert len(compared["versions"]) == app.output.count("Model: ")
        assert app.output.count("on a GPU: recognise_by_all\n") == 1
        assert "on a GPU: follow_faces" not in app.output
        film = visitor.upload(film_of(photo, tmp_path / "film.mp4"), "film.mp4")
        assert visitor.call("/film", video=film).outputs
        assert app.output.count("on a GPU: follow_faces\n") == 3, "once a frame"
        drawn = [json.loads(answer.outputs[0]) for answer in two_frames(visitor, photo)]
        assert [len(answer["faces"]) for answer in drawn] == [2, 2]
        assert drawn[0]["seconds"] < drawn[1]["seconds"], "the tracker came back"
        assert app.output.count("on a GPU: follow_faces\n") == 5


def film_of(photo: bytes, path: Path) -> bytes:
    """Three frames of it."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 920, 560, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_image(Image.open(io.BytesIO(photo)).convert("RGB"))))
        container.mux(stream.encode(None))
    return path.read_bytes()


def two_frames(visitor: Visitor, photo: bytes) -> list[Answer]:
    """What the live tab answers to a visitor who holds a photo into the camera."""
    config = visitor.config()
    camera = next(part["id"] for part in config["components"] if part["props"].get("elem_id") == "camera")
    event = next(event for event in config["dependencies"] if [camera, "input"] in event["targets"])
    version = next(part["props"]["value"] for part in config["components"] if part["id"] == event["inputs"][1])
    frame = {"frame": f"data:image/jpeg;base64,{base64.b64encode(photo).decode()}"}
    return [
        visitor.press(event["id"], [None, version], {**frame, "first": first}, session="one") for first in (True, False)
    ]


def test_without_a_name_the_upload_to_the_hub_says_what_is_missing(hub, tmp_path):
    done = HubUser(hub, tmp_path).run("make", "space", check=False)
    assert done.returncode != 0
    assert "SPACE=user/name" in done.stderr


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
    version = SpaceCard.load(ROOT / "README.md").data.sdk_version
    bound = re.search(r"^gradio(?:\[mcp\])?>=(.*)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)[1]
    assert version.split(".")[:2] == bound.split(",")[0].split(".")[:2]
    assert gradio.__version__.split(".")[0] == version.split(".")[0]
