"""Who may import whom, and what a light installation need not have.

python -m pytest tests/test_layout.py
"""

import ast
import subprocess
import sys

import pytest

from helpers import ROOT

LEVELS = (
    {"labels", "errors", "configs", "images", "machine", "records", "runs"},
    {"hub"},
    {"model"},
    {"inference", "data"},
    {"demo", "evaluation"},
    {"training", "ablation"},
    {"studies"},
    {"report"},
    {"cli"},
    {"research"},
    {"__main__", "__init__"},
)
LEVEL = {room: number for number, rooms in enumerate(LEVELS) for room in rooms}
NOT_FOR = {"inference": {"data"}, "demo": {"data", "evaluation"}, "evaluation": {"demo"}, "ablation": {"training"}}
FILES = sorted((ROOT / "fer_model").rglob("*.py"))


def imported(file) -> set[str]:
    """The rooms of the package that a file imports from, also inside functions."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [f"{n.module}.{a.name}" for n in nodes if isinstance(n, ast.ImportFrom) and n.module for a in n.names]
    return {name.split(".")[1] for name in names if name.startswith("fer_model.")}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_a_room_imports_only_from_its_left(file):
    room = file.relative_to(ROOT / "fer_model").parts[0].removesuffix(".py")
    if room == "__init__":
        assert imported(file) <= {"model", "inference"}
        return
    others = imported(file) - {room} - (LEVELS[0] if room in LEVELS[0] else set())
    assert all(LEVEL[other] < LEVEL[room] for other in others), others
    assert not others & NOT_FOR.get(room, set())


def test_no_file_is_long_and_no_folder_is_wide():
    for folder in (ROOT, *(path for path in ROOT.rglob("*") if path.is_dir() and not hidden(path))):
        files = [path for path in folder.glob("*.py") if not hidden(path)]
        assert len([path for path in files if not path.name.startswith("__")]) <= 10, folder
        for path in files:
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 300, path


def hidden(path) -> bool:
    """What git does not keep, or what is not ours."""
    parts = path.relative_to(ROOT).parts
    return any(part.startswith(".") or part in ("node_modules", "runs", "build") for part in parts)


LIGHT = """
import sys
for name in ("gradio", "datasets", "accelerate", "av", "matplotlib", "evaluate", "pandas", "onnx", "onnxruntime"):
    sys.modules[name] = None  # as if it were not installed
from fer_model import FERModel, FERPipeline
from fer_model.__main__ import main
FERModel(version="v1").save_pretrained(sys.argv[1])
print(FERPipeline.from_pretrained(sys.argv[1])(sys.argv[2]).message)
main(["predict", sys.argv[2], "--model", sys.argv[1]])
"""


def test_the_pipeline_and_predict_need_the_light_installation_only(tmp_path):
    photo = ROOT / "examples" / "drawn_anger.png"
    command = [sys.executable, "-c", LIGHT, str(tmp_path / "model"), str(photo)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "file,seconds,face" in done.stdout
