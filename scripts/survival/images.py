"""Odd image files, and bytes that a fuzzer makes of them, through the pipeline: an answer or a sentence each."""

import contextlib
import json
import logging
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import psutil
from tqdm.auto import tqdm

from fer_model.errors import FERError
from fer_model.images import open_image
from fer_model.inference.pipeline import FERPipeline
from fer_model.model.network import FERModel
from survival.corpus import corpus

EXPECTED = Path(__file__).with_name("corpus.json")
"""For each outcome the names of its files."""

LIMIT = 20
"""Seconds that one input of the fuzzer may take."""

TIMES = 50
"""How often the fuzzer's inputs are read again."""


def outcome(pipeline: FERPipeline, content: bytes) -> str:
    """What comes of a file: "an answer", or the sentence, without what differs between versions of Pillow."""
    try:
        pipeline(content, heat_maps=False)
    except FERError as error:
        return re.sub(r" \(.*\)|\d[\d,]*", lambda found: "" if found[0][0] == " " else "N", str(error))
    return "an answer"


def survive(minutes: float, write_expected: bool = False) -> dict:
    """All of the corpus, then a fuzzer for so many minutes.

    Args:
        write_expected: store what comes of the corpus now as what is expected.
    """
    warnings.simplefilter("ignore")  # Pillow warns of much that it finds
    logging.disable(logging.WARNING)
    pipeline = FERPipeline(FERModel(version="v1", seed=0), device="cpu")
    found: dict[str, list[str]] = {}
    for name, content in tqdm(list(corpus()), desc="corpus", unit="file"):
        found.setdefault(outcome(pipeline, content), []).append(name)
    if write_expected:
        EXPECTED.write_text(json.dumps(found, indent=0) + "\n", encoding="utf-8")
    expected = {name: key for key, names in json.loads(EXPECTED.read_text(encoding="utf-8")).items() for name in names}
    names = [name for names in found.values() for name in names]
    others = [name for key, names in found.items() for name in names if expected.get(name) != key]
    return {
        "corpus": {
            "files": len(names),
            "as expected": len(names) - len(others),
            "not as expected": others,
            "outcomes": dict(Counter({key: len(names) for key, names in found.items()}).most_common()),
        },
        "fuzzing": fuzz(minutes),
    }


def read_again(contents: list[bytes]) -> dict:
    """Whether memory grows where this process reads the inputs again and again that taught the fuzzer something.

    The fuzzer's own memory grows too. In code that it has instrumented, some objects are never freed.
    """
    memory = []
    for _ in tqdm(range(TIMES), desc="reading again", unit="time"):
        for content in contents:
            with contextlib.suppress(FERError):
                open_image(content)
        memory.append(round(psutil.Process().memory_info().rss / 1e6))
    return {
        "inputs": len(contents),
        "times": TIMES,
        "memory_mb": {"after the first": memory[0], "at the end": memory[-1]},
        "memory grew": memory[-1] > 1.05 * memory[0],
    }


def fuzz(minutes: float) -> dict:
    """What atheris counts, in a process of its own: its loop ends the process that it runs in."""
    with tempfile.TemporaryDirectory() as folder:
        seeds, counts = Path(folder) / "seeds", Path(folder) / "counts.json"
        seeds.mkdir()
        for number, (_, content) in enumerate(corpus()):
            if len(content) < 20_000:
                (seeds / str(number)).write_bytes(content)
        options = [
            f"-max_total_time={round(minutes * 60)}",
            f"-timeout={LIMIT}",
            "-rss_limit_mb=4000",
            "-max_len=20000",
        ]
        options += [f"-artifact_prefix={folder}/", "-print_final_stats=1", "-seed=1", str(seeds)]
        command = [sys.executable, str(Path(__file__).with_name("fuzz_images.py")), str(counts), *options]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace")
        result = json.loads(counts.read_text(encoding="utf-8")) if counts.is_file() else {}
        ended = [path for path in Path(folder).glob("*-*") if path.name.startswith(("timeout", "oom", "crash"))]
        for path in ended:  # to be looked at
            shutil.copy(path, tempfile.gettempdir())
        if done.returncode or not result:
            result["said"] = done.stderr.splitlines()[-5:]
        again = read_again([path.read_bytes() for path in seeds.iterdir()])
    return {
        "minutes": minutes,
        "limit_seconds": LIMIT,
        **result,
        "read again": again,
        "ended by": [path.name for path in ended],
        "status": done.returncode,
    }
