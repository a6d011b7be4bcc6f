"""What many faces in one photo cost, and how fast several processes read many photos."""

import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path

from PIL import Image
from tqdm.auto import tqdm

from fer_model.inference.detector import shared_detector
from fer_model.machine import usable_cores
from fer_model.runs import ROOT
from fer_model.studies.bench import ratio
from fer_model.studies.start import Cost, timed

PERSON = ROOT / "examples" / "astronaut.jpg"
PROCESSES = 2


def crowd(across: int = 10, side: int = 300) -> Image.Image:
    """A square photo of across x across people, `side` pixels each, whose faces are 90 / 512 as wide."""
    person = Image.open(PERSON).convert("RGB").resize((side, side))
    photo = Image.new("RGB", (across * side, across * side))
    for number in range(across**2):
        photo.paste(person, (number % across * side, number // across * side))
    return photo


def measure(model: Path, rounds: int) -> dict:
    """{"faces": what small faces cost, "files": what processes gain}.

    Args:
        model: the folder whose weights `predict` uses.
    """
    return {"faces": _faces(rounds), "files": _files(model, rounds)}


def _faces(rounds: int) -> dict:
    """How many times as long a search takes with the closer look for small faces as without it, in two photos.

    The crowd gets the closer look. The photo of one large face has no hint of small ones, so it should get none.
    """
    detector = shared_detector()
    photos = {"crowd": crowd(), "one_large_face": Image.open(PERSON).convert("RGB").resize((3000, 3000))}
    found = {}
    for name, photo in photos.items():
        found[name] = {
            "found": len(detector.detect(photo)),
            "found_in_one_look": len(detector.detect(photo, small_faces=False)),
            "times_as_long": ratio(
                partial(detector.detect, photo), partial(detector.detect, photo, small_faces=False), rounds
            ),
        }
    return found


def _files(model: Path, rounds: int, images: int = 100) -> dict:
    """Seconds for an image by `predict`, in turn in one process, which has all cores, and in two that share them.

    The start does not count: what the same command takes for two images is subtracted.
    """
    costs: dict[tuple[int, int], list[Cost]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for count in (PROCESSES, images):
            (folder / str(count)).mkdir()
            for number in range(count):
                (folder / str(count) / f"{number:05}.jpg").symlink_to(PERSON)
        for _ in tqdm(range(rounds), desc="predict", unit="round", leave=False):
            for count in (PROCESSES, images):
                for processes in (1, PROCESSES):
                    command = ["-m", "fer_model", "predict", str(folder / str(count)), "--model", str(model)]
                    command += ["--output", str(folder / "table.csv")]
                    launcher = [sys.executable]
                    if processes > 1:
                        launcher += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
                    costs.setdefault((processes, count), []).append(timed(launcher + command))
    kinds = {"seconds_an_image": 0, "cpu_seconds_an_image": 1}
    found: dict = {"images": images, "rounds": rounds, "processes": PROCESSES, "cores_used": usable_cores()}
    for processes, name in ((1, "one"), (PROCESSES, "several")):
        pairs = list(zip(costs[processes, images], costs[processes, PROCESSES], strict=True))
        found[name] = {
            kind: round(statistics.median(many[index] - few[index] for many, few in pairs) / (images - PROCESSES), 4)
            for kind, index in kinds.items()
        }
    found["times_as_fast"] = round(found["one"]["seconds_an_image"] / found["several"]["seconds_an_image"], 2)
    return found


def summary(found: dict) -> str:
    """A line for each photo, and one for several processes."""
    lines = [
        f"{name}: {one['found']} faces ({one['found_in_one_look']} in one look), "
        f"{one['times_as_long']['median']:.2f} times as long as one look"
        for name, one in found["faces"].items()
    ]
    files = found["files"]
    return "\n".join([*lines, f"{files['processes']} processes: {files['times_as_fast']} times as fast as one"])
