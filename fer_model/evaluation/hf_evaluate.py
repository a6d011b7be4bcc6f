"""Finds the Hugging Face library `evaluate`, although our script evaluate.py has the same name.

Python puts the folder of the running script first on `sys.path`, and pytest the root of the repository. There a plain
`import evaluate` finds our script. `from fer_model.evaluation.hf_evaluate import hf_evaluate` finds the library,
wherever and however Python was started.
"""

import importlib.util
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any


def _is_library(module: ModuleType) -> bool:
    return hasattr(module, "Metric")


def _load() -> ModuleType:
    present = sys.modules.get("evaluate")
    if present is not None and _is_library(present):
        return present
    # the library is a package (a folder with __init__.py); our script is a single file beside it
    elsewhere = [entry for entry in sys.path if not (Path(entry or ".") / "evaluate.py").is_file()]
    spec = PathFinder.find_spec("evaluate", elsewhere)
    if spec is None or spec.loader is None:
        raise ImportError("The Hugging Face library `evaluate` is not installed: pip install evaluate")
    library = importlib.util.module_from_spec(spec)
    sys.modules["evaluate"] = library  # its own submodules import each other by this name
    try:
        spec.loader.exec_module(library)
    finally:
        if present is not None:
            # our script is being imported as the module `evaluate`, and stays it
            sys.modules["evaluate"] = present
    return library


hf_evaluate: Any = _load()
