"""What the demo's tests share: two servers, a browser and a network, each started once."""

from pathlib import Path

import pytest
from gradio_client import Client
from PIL import Image

from fer_model import FERModel
from fer_model.demo.gpu import Network
from fer_model.demo.jobs import Jobs
from fer_model.demo.versions import Versions
from helpers import EXAMPLES
from helpers.app import RunningApp, running_app
from helpers.browser import CHROMIUM, Visit, chromium, sync_playwright, write_video

CLIP_SIZE = (460, 280)


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> dict[str, str]:
    """The folders of two untrained versions, in the order in which they are offered."""
    folder = tmp_path_factory.mktemp("models")
    for version in ("v1", "v2"):
        FERModel(version=version, seed=0).save_pretrained(folder / version / "models")
    return {version.upper(): str(folder / version / "models") for version in ("v1", "v2")}


@pytest.fixture(scope="session")
def network(models) -> Network:
    return Network(Versions([models["V1"]]))


@pytest.fixture(scope="session")
def jobs(network) -> Jobs:
    return Jobs(network)


@pytest.fixture(scope="session")
def server(models, tmp_path_factory) -> RunningApp:
    """A demo of both untrained versions."""
    with running_app(tmp_path_factory.mktemp("server"), model=tuple(models.values())) as running:
        yield running
        # gradio logs a file that it refuses to hand out; nothing else may have gone wrong
        assert running.output.count("Traceback") == running.output.count("InvalidPathError: "), running.output


@pytest.fixture(scope="session")
def client(server) -> Client:
    return Client(server.url, verbose=False)


@pytest.fixture(scope="session")
def video(tmp_path_factory) -> Path:
    """One second at 10 frames a second: the astronaut, moving to the right."""
    photo = Image.open(EXAMPLES / "astronaut.jpg").convert("RGB").resize((320, 320))
    moved = [photo.transform(photo.size, Image.Transform.AFFINE, (1, 0, -4 * n, 0, 1, 0)) for n in range(10)]
    return write_video(tmp_path_factory.mktemp("video") / "video.mp4", moved)


@pytest.fixture(scope="session")
def two_then_none(tmp_path_factory) -> bytes:
    """A second at 10 frames a second: two faces, and none for its second half."""
    photo = Image.open(EXAMPLES / "two_faces.jpg").convert("RGB").resize(CLIP_SIZE)
    pictures = [photo] * 5 + [Image.new("RGB", CLIP_SIZE, "grey")] * 5
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", pictures).read_bytes()


@pytest.fixture
def clip(two_then_none, tmp_path) -> Path:
    """A file that may be deleted, of that content."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(two_then_none)
    return path


@pytest.fixture
def face(tmp_path) -> Path:
    path = tmp_path / "face.jpg"
    path.write_bytes((EXAMPLES / "astronaut.jpg").read_bytes())
    return path


@pytest.fixture(scope="session")
def address(tmp_path_factory) -> str:
    """Where a demo with the weights of this repository is."""
    with running_app(tmp_path_factory.mktemp("browser"), model="") as running:
        yield running.url
        assert "Traceback" not in running.output, running.output


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("no chromium was found (Debian: apt install chromium)")
    if sync_playwright is None:
        pytest.skip("playwright is not installed (pip install playwright)")
    with chromium(tmp_path_factory.mktemp("camera")) as browser:
        yield browser


@pytest.fixture
def visit(browser, address):
    """A function that opens the page anew."""
    visits = []

    def begin(query: str = "", **options) -> Visit:
        visits.append(Visit(browser, address + query, **options))
        return visits[-1]

    yield begin
    for made in visits:
        made.context.close()
