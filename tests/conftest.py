"""Shared by all tests. Run them with `python -m pytest`; set FER_DATASET for those on real data."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from helpers import ROOT

# A cache of the tests' own, so that they neither depend on this machine's nor fill it. It must be set
# here: huggingface_hub and datasets read it when they are imported, which the test files do.
_cache = tempfile.mkdtemp(prefix="fer-tests-")
atexit.register(shutil.rmtree, _cache, ignore_errors=True)
os.environ["HF_HOME"] = _cache
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
for _name in ("HF_HUB_CACHE", "HF_DATASETS_CACHE"):  # these would win over HF_HOME
    os.environ.pop(_name, None)

# these import huggingface_hub
from PIL import Image  # noqa: E402

from fer_model.inference.pipeline import FERPipeline  # noqa: E402
from fer_model.model.network import FERModel  # noqa: E402
from helpers.hub_client import HubUser  # noqa: E402
from helpers.hub_server import running_hub  # noqa: E402


@pytest.fixture(scope="session")
def fer_dataset() -> Path:
    """The folder of the real FER2013, which may not be committed with the tests."""
    if "FER_DATASET" not in os.environ:
        pytest.skip("FER_DATASET is not set; set it to a folder that holds the whole FER2013 to run this test")
    return Path(os.environ["FER_DATASET"]).resolve()


@pytest.fixture(scope="session")
def hub():
    """A Hub on 127.0.0.1; each test uses repositories of its own names."""
    with running_hub() as hub:
        yield hub


@pytest.fixture
def user(hub, tmp_path) -> HubUser:
    """A user of that Hub who may write, with an empty cache."""
    return HubUser(hub, tmp_path / "cache")


@pytest.fixture(scope="module")
def pipeline() -> FERPipeline:
    """Untrained, for tests in which any answer will do."""
    return FERPipeline(FERModel(version="v1", seed=0), device="cpu")


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """A face and its smaller, mirrored copy, RGB."""
    return Image.open(ROOT / "examples" / "two_faces.jpg").convert("RGB")
