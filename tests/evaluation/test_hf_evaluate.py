"""Our script `evaluate.py` and the Hugging Face library `evaluate`: both names work, however Python starts."""

import subprocess
import sys

import pytest

from helpers import ROOT

CHECK = (
    "from fer_model.evaluation.metrics import FERMetric; from fer_model.evaluation.hf_evaluate import hf_evaluate; "
    "assert issubclass(FERMetric, hf_evaluate.Metric); "
    "print(FERMetric().compute(predictions=[[1, 0, 0, 0, 0, 0]], references=[0])['accuracy'])"
)


def python(*arguments, cwd) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "first",
    [
        "",
        "import evaluate; assert hasattr(evaluate, 'parse_args'); ",
    ],
    ids=["plain", "our script imported first"],
)
def test_from_the_root_where_our_script_comes_first_on_the_path(first):
    assert python("-c", first + CHECK, cwd=ROOT).strip() == "1.0"


def test_importing_our_script_gives_our_script():
    code = "import evaluate; assert hasattr(evaluate, 'parse_args') and evaluate.__file__.endswith('evaluate.py')"
    python("-c", code, cwd=ROOT)


def test_from_another_folder(tmp_path):
    code = f"import sys; sys.path.append({str(ROOT)!r}); " + CHECK
    assert python("-c", code, cwd=tmp_path).strip() == "1.0"


def test_where_the_library_was_imported_first(tmp_path):
    code = f"import evaluate; evaluate.Metric; import sys; sys.path.append({str(ROOT)!r}); " + CHECK
    assert python("-c", code, cwd=tmp_path).strip() == "1.0"


def test_as_a_script_in_the_root(tmp_path):
    script = tmp_path / "check.py"
    script.write_text(f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{CHECK}\n")
    assert python(script, cwd=ROOT).strip() == "1.0"


def test_under_pytest():
    from fer_model.evaluation.hf_evaluate import hf_evaluate

    assert hasattr(hf_evaluate, "Metric")


def test_a_missing_library_is_named(tmp_path):
    """With neither site-packages nor the library, the error says what to install."""
    (tmp_path / "evaluate.py").write_text("")
    code = (
        f"import sys; sys.path[:] = [p for p in sys.path if 'site-packages' not in p] + [{str(tmp_path)!r}]; "
        "import importlib.util as u; "
        f"s = u.spec_from_file_location('hf_evaluate', {str(ROOT / 'fer_model' / 'evaluation' / 'hf_evaluate.py')!r}); "
        "m = u.module_from_spec(s)\n"
        "try: s.loader.exec_module(m)\n"
        "except ImportError as e: print(e)"
    )
    assert "pip install evaluate" in python("-c", code, cwd=tmp_path)
