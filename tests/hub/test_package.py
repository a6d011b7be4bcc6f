"""Three lines for others: the package, and the card's examples run as they are printed."""

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from fer_model.hub import push as hub_module
from fer_model.model.network import FERModel
from helpers import EXAMPLES, ROOT
from helpers.hub.client import HubUser


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return hub_module.build_wheel(tmp_path_factory.mktemp("wheel"))


def test_the_wheel_for_the_hub_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    in_package = {name for name in names if name.startswith("fer_model/")}
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "fer_model"]
    known = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=False)
    if known.returncode == 0 and known.stdout:
        # the demo needs Gradio, and runs from a clone or a Space
        assert in_package == {name for name in known.stdout.split() if not name.startswith("fer_model/demo/")}
    assert {"fer_model/hub/card_template.md", "fer_model/vendor/centerface/centerface.onnx"} <= in_package
    assert all(".dist-info/" in name for name in names - in_package)
    assert wheel.stat().st_size < 10_000_000


def test_building_the_wheel_for_the_hub_leaves_no_traces_in_the_repository(wheel):
    assert not (ROOT / "build").exists()
    assert not list(ROOT.glob("*.egg-info"))


def test_the_package_asks_for_what_requirements_txt_asks_for_or_less():
    """Its bounds are written twice: someone who only uses a model shall not have to install a trainer."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = (ROOT / "requirements.txt").read_text().split("\n")
    extras = project["optional-dependencies"]
    assert {*project["dependencies"], *extras["train"], *extras["video"], *extras["fast"]} <= set(requirements)


@pytest.mark.slow
def test_the_three_lines_of_the_hub_card_run_as_they_are_printed(hub, tmp_path):
    """In a fresh environment, for somebody without an account, in a folder with a photo and nothing else."""
    FERModel(version="v1", seed=0).save_pretrained(tmp_path / "run" / "models")
    HubUser(hub, tmp_path / "mine").script("-m", "fer_model", "push", tmp_path / "run", "tester/three-lines")
    card = hub.repo("models", "tester/three-lines").files()["README.md"].decode()
    install, use = (re.search(rf"```{language}\n(.*?)```", card, re.DOTALL)[1] for language in ("bash", "python"))
    assert install.startswith(f"pip install {hub.url}/tester/three-lines/resolve/main/fer_model-")
    assert 'FERPipeline.from_pretrained("tester/three-lines")' in use

    fresh = tmp_path / "venv"
    venv.create(fresh, with_pip=True)
    site = next(fresh.glob("lib/python*/site-packages"))
    # what the package depends on is taken from here instead of being downloaded; Python 3.11 brings an old setuptools
    for old in site.glob("setuptools*"):
        shutil.rmtree(old)
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"])
    folder = tmp_path / "theirs"
    folder.mkdir()
    shutil.copy(EXAMPLES / "astronaut.jpg", folder / "photo.jpg")
    stranger = HubUser(hub, tmp_path / "cache", token=None)
    environment = {name: value for name, value in stranger.environment.items() if name != "PYTHONPATH"}
    environment |= {"PATH": f"{fresh / 'bin'}{os.pathsep}{os.environ['PATH']}", "PIP_NO_INDEX": "1"}
    options = {"cwd": folder, "env": environment, "capture_output": True, "text": True, "timeout": 300, "check": False}
    installed = subprocess.run(["bash", "-c", install], **options)
    assert installed.returncode == 0, installed.stdout + installed.stderr
    (folder / "use.py").write_text(use + "\nimport fer_model; print(fer_model.__file__)")
    done = subprocess.run([fresh / "bin" / "python", "use.py"], **options)
    assert done.returncode == 0, done.stderr
    message, where = done.stdout.strip().splitlines()
    assert re.search(r"(looks like|best guess is) (happiness|surprise|sadness|anger|disgust|fear)", message)
    assert Path(where).is_relative_to(site)


def test_requirements_txt_names_whatever_the_code_imports():
    """A Space installs nothing else; here, more is installed than there."""
    listed = {re.split(r"[<>=\[]", line)[0].lower() for line in (ROOT / "requirements.txt").read_text().splitlines()}
    distributions = packages_distributions()
    for file in [*ROOT.glob("*.py"), *ROOT.glob("fer_model/**/*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            # `bench` compares with grad-cam, and says that it needs requirements-dev.txt; images say so of HEIC
            others = {"fer_model", "spaces", "pytorch_grad_cam", "pillow_heif", *sys.stdlib_module_names}
            for top in {name.split(".")[0] for name in names} - others:
                assert {name.lower().replace("_", "-") for name in distributions[top]} & listed, (
                    f"{file.name} imports {top}"
                )
