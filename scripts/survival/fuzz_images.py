"""Bytes -> image -> faces -> answer, guided by the coverage of Pillow's Python and ours. `images.py` starts it.

    python scripts/survival/fuzz_images.py COUNTS.json [options of libFuzzer]

This alone also keeps each input that ends in anything but an answer or a sentence, as COUNTS.json.1, .2, …
"""

import importlib.util
import json
import logging
import sys
import traceback
import warnings
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

import atheris
import psutil

with atheris.instrument_imports(include=["PIL", "fer_model.images", "fer_model.mending"]):
    import PIL.Image

    import fer_model.images

# atheris 3.0 leaks the result of every comparison of arrays in code that it instruments; this function compares some,
# so it runs as it was written
spec = importlib.util.find_spec("fer_model.images")
plain = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plain)
fer_model.images._missing_rows.__code__ = plain._missing_rows.__code__
PIL.Image.init()

from fer_model.errors import FERError
from fer_model.inference.pipeline import FERPipeline
from fer_model.model.network import FERModel

EVERY = 500
"""Inputs after which the counts are written."""

file = Path(sys.argv.pop(1))
pipeline = FERPipeline(FERModel(version="v1", seed=0), device="cpu")
counts: Counter[str] = Counter()
faults: dict[str, str] = {}
memory: list[float] = []


def megabytes() -> float:
    """How much memory this process has."""
    return psutil.Process().memory_info().rss / 1e6


def one_input(content: bytes) -> None:
    try:
        # the network searches every tenth image only, because that takes longer than all else
        image = fer_model.images.open_image(content)
        counts["images"] += 1
        if counts["images"] % 10 == 0:
            pipeline.search(image, heat_maps=False)
            counts["answers"] += 1
    except FERError as error:
        counts["sentences"] += 1
        if len(str(error)) > 1000:
            faults["a sentence that is too long"] = str(error)[:200]
    except Exception as error:  # what is looked for; the fuzzer goes on, to find others
        where = traceback.extract_tb(error.__traceback__)[-1]
        fault = f"{type(error).__name__} in {Path(where.filename).name}:{where.lineno}"
        if fault not in faults:
            faults[fault] = repr(content[:100])
            Path(f"{file}.{len(faults)}").write_bytes(content)
            write_counts()  # the fuzzer may end before the next time
    counts["runs"] += 1
    if counts["runs"] % EVERY == 0:
        write_counts()


def write_counts() -> None:
    memory.append(round(megabytes()))
    later = memory[len(memory) // 10 :]  # first everything is loaded
    result = {
        **counts,
        "faults": faults,
        "memory_mb": {"then": later[0], "at the end": later[-1], "peak": max(later)},
    }
    file.write_text(json.dumps(result), encoding="utf-8")


warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
atheris.Setup(sys.argv, one_input, enable_python_coverage=True)
atheris.Fuzz()
