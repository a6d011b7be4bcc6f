"""Shared by all tests. Run them with `python -m pytest`; set FER_DATASET for those on real data."""

import atexit
import os
import shutil
import socket
import tempfile
from pathlib import Path

import pytest

from helpers import ROOT

# A cache and a Hub of the tests' own, so that they neither depend on this machine's nor change it. They must be set
# here: huggingface_hub and datasets read them when they are imported, which the test files do.
_cache = tempfile.mkdtemp(prefix="fer-tests-")
atexit.register(shutil.rmtree, _cache, ignore_errors=True)
_address = socket.socket()
_address.bind(("127.0.0.1", 0))  # refuses connections until the fixture `hub` listens
for _name in ("HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_TOKEN"):  # the first two would win over HF_HOME
    os.environ.pop(_name, None)
os.environ |= {
    "HF_HOME": _cache,
    "HF_ENDPOINT": "http://{}:{}".format(*_address.getsockname()),
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_XET": "1",
    "NO_PROXY": "127.0.0.1",  # no proxy of this machine shall stand between
    "ACCELERATE_USE_CPU": "true",
    # one thread for each training: the tests share the cores out among themselves
    "LOCAL_WORLD_SIZE": str(os.cpu_count()),
}

# these import huggingface_hub
import torch  # noqa: E402
from PIL import Image  # noqa: E402

from fer_model.inference.pipeline import FERPipeline  # noqa: E402
from fer_model.machine import keep_freed_memory  # noqa: E402
from fer_model.model.network import FERModel  # noqa: E402

torch.set_num_threads(1)
keep_freed_memory()  # nearly every test has a network


@pytest.fixture(scope="session")
def fer_dataset() -> Path:
    """The folder of the real FER2013, which may not be committed with the tests."""
    if "FER_DATASET" not in os.environ:
        pytest.skip("FER_DATASET is not set; set it to a folder that holds the whole FER2013 to run this test")
    return Path(os.environ["FER_DATASET"]).resolve()


@pytest.fixture(scope="session")
def hub():
    """A Hub on 127.0.0.1; each test uses repositories of its own names."""
    from helpers.hub.server import running_hub

    with running_hub(_address) as hub:
        yield hub


@pytest.fixture
def user(hub, tmp_path):
    """A `HubUser` who may write, with an empty cache."""
    from helpers.hub.client import HubUser

    return HubUser(hub, tmp_path / "cache")


@pytest.fixture(scope="session")
def pipeline() -> FERPipeline:
    """Untrained, for tests in which any answer will do."""
    return FERPipeline(FERModel(version="v1", seed=0), device="cpu")


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """A face and its smaller, mirrored copy, RGB."""
    return Image.open(ROOT / "examples" / "two_faces.jpg").convert("RGB")


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Path:
    """Drawn faces, eight of each class to train on and three to test on."""
    from helpers.small_run import drawn_dataset

    return drawn_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture(scope="session")
def first(dataset, tmp_path_factory) -> Path:
    """The folder of a training of one epoch on `dataset`. A test that changes it takes a copy."""
    from helpers.small_run import run

    folder = tmp_path_factory.mktemp("first")
    run(dataset, folder)
    return folder


@pytest.fixture(scope="session")
def trained(dataset, tmp_path_factory) -> Path:
    """The same of three epochs."""
    from helpers.small_run import run

    folder = tmp_path_factory.mktemp("trained") / "v1"
    run(dataset, folder, "--epochs", "3")
    return folder
