"""Bytes -> image -> faces -> answer, guided by the coverage of Pillow's Python and ours. `images.py` starts it.

python scripts/survival/fuzz_images.py COUNTS.json [options of libFuzzer]
"""

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

with atheris.instrument_imports(include=["PIL", "fer_model.images", "fer_model.mending"]):
    import PIL.Image

    import fer_model.images

PIL.Image.init()

from fer_model.errors import FERError
from fer_model.inference.pipeline import FERPipeline
from fer_model.model.network import FERModel

EVERY = 500
"""Runs from one note of the counts to the next."""

file = Path(sys.argv.pop(1))
pipeline = FERPipeline(FERModel(version="v1", seed=0), device="cpu")
counts: Counter[str] = Counter()
faults: dict[str, str] = {}
memory: list[float] = []


def megabytes() -> float:
    """What this process holds of the memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


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
        faults.setdefault(f"{type(error).__name__} in {Path(where.filename).name}:{where.lineno}", repr(content[:100]))
        Path(f"{file}.{len(faults)}").write_bytes(content)
    counts["runs"] += 1
    if counts["runs"] % EVERY == 0:
        memory.append(round(megabytes()))
        # from the second tenth on: first everything is loaded
        tenth = memory[len(memory) // 10 :]
        result = {
            **counts,
            "faults": faults,
            "memory_mb": {"then": tenth[0], "at the end": tenth[-1], "peak": max(tenth)},
        }
        file.write_text(json.dumps(result), encoding="utf-8")


warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
atheris.Setup(sys.argv, one_input, enable_python_coverage=True)
atheris.Fuzz()
