"""Our script `evaluate.py` and the Hugging Face library `evaluate`: both names work, however Python starts."""

import subprocess
import sys
from pathlib import Path

import pytest

from helpers import ROOT

FILE = ROOT / "fer_model" / "evaluation" / "hf_evaluate.py"

CHECK = (
    "from fer_model.evaluation.metrics import FERMetric; from fer_model.evaluation.hf_evaluate import hf_evaluate; "
    "assert issubclass(FERMetric, hf_evaluate.Metric); "
    "print(FERMetric().compute(predictions=[[1, 0, 0, 0, 0, 0]], references=[0])['accuracy'])"
)

# the file alone, as the whole package takes seconds to import
LOAD = (
    "import importlib.util as u\n"
    f"s = u.spec_from_file_location('hf_evaluate', {str(FILE)!r})\n"
    "m = u.module_from_spec(s)\n"
    "try:\n    s.loader.exec_module(m)\n    print(m.hf_evaluate.__file__)\n"
    "except ImportError as error:\n    print(error)\n"
)


def python(*arguments, cwd) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "first",
    [
        "",
        pytest.param(
            "import evaluate; assert hasattr(evaluate, 'parse_args') and evaluate.__file__.endswith('evaluate.py'); ",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["plain", "our script imported first"],
)
def test_from_the_root_where_our_script_comes_first_on_the_path(first):
    assert python("-c", first + CHECK, cwd=ROOT) == "1.0"


def test_under_pytest():
    from fer_model.evaluation.hf_evaluate import hf_evaluate

    assert hasattr(hf_evaluate, "Metric")


@pytest.fixture
def library(tmp_path) -> Path:
    """In the library's place, a package that has what ours is told by, and is imported at once."""
    file = tmp_path / "site" / "evaluate" / "__init__.py"
    file.parent.mkdir(parents=True)
    file.write_text("class Metric:\n    pass\n")
    return file


@pytest.mark.parametrize(
    "path",
    [
        "sys.path[:0] = [site]; sys.path.append(root)",
        "sys.path[:0] = [site]; import evaluate; sys.path[:0] = [root]",
        "sys.path[:0] = [root, site]",
    ],
    ids=["from another folder", "the library imported first", "our script first"],
)
def test_the_library_is_found_wherever_it_stands_on_the_path(library, path, tmp_path):
    names = f"import sys; root, site = {str(ROOT)!r}, {str(library.parents[1])!r}; "
    assert python("-c", f"{names}{path}\n{LOAD}", cwd=tmp_path) == str(library)


def test_as_a_script_in_the_root(library, tmp_path):
    script = tmp_path / "check.py"
    script.write_text(f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(library.parents[1])!r}]\n{LOAD}")
    assert python(script, cwd=ROOT) == str(library)


def test_a_missing_library_is_named(tmp_path):
    """With neither site-packages nor the library, the error says what to install."""
    (tmp_path / "evaluate.py").write_text("")
    code = f"import sys; sys.path[:] = [p for p in sys.path if 'site-packages' not in p] + [{str(tmp_path)!r}]\n"
    assert "pip install evaluate" in python("-c", code + LOAD, cwd=tmp_path)
