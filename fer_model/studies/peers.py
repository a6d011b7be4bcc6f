"""How fast and how right the package `fer` from PyPI is beside our pipeline, in the same run.

It wants other versions of PyTorch and NumPy than we do, so it gets a venv of its own:

    python3.11 -m venv VENV && VENV/bin/pip install fer "setuptools<81"
"""

import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from fer_model.data.dataset import FERData
from fer_model.errors import FERError
from fer_model.images import open_image
from fer_model.inference.pipeline import FERPipeline
from fer_model.labels import EMOTIONS, canonical_name
from fer_model.model.engine import Engine
from fer_model.model.preprocess import preprocess
from fer_model.runs import Run
from fer_model.studies.bench import BATCH, PHOTO

# answers each line of its input, "photo", "face" or "faces", with one line of JSON. Its public function rounds
# probabilities to two digits, so equal ones would be told apart by chance: what it calls is called here. The faces go
# in as it cuts them out: resized to 64 x 64, values in [-1, 1]
_PEER = """
import json, sys, time
from importlib.metadata import version
import cv2, numpy
from fer.fer import FER

cv2.setNumThreads(1)
detector, photo, faces = FER(), cv2.imread(sys.argv[1]), numpy.load(sys.argv[2])

def answer(faces):
    inputs = numpy.array([cv2.resize(face, (64, 64)) for face in faces], dtype="float32")
    return detector._classify_emotions((inputs / 255 - 0.5) * 2)

def do(what):
    if what == "photo":
        return len(detector.detect_emotions(photo))
    return numpy.asarray(answer(faces[:1] if what == "face" else faces)).tolist()

print(json.dumps([version("fer"), list(detector._get_labels().values())]), flush=True)
for line in sys.stdin:
    started = time.perf_counter()
    found = do(line.strip())
    print(json.dumps([time.perf_counter() - started, found]), flush=True)
"""


class _Peer:
    """A process of the venv that has both the photo and the faces.

    Args:
        faces: a file of numpy's, in a folder that may be written into.
    """

    def __init__(self, venv: Path, faces: Path):
        # not the current folder, whose modules would be found first
        command = [str(venv.resolve() / "bin" / "python"), "-I", "-c", _PEER, str(PHOTO), str(faces)]
        self.complaints = faces.with_name("complaints.txt")  # a pipe that nobody reads would fill, and stop it
        try:
            with self.complaints.open("w") as file:
                self.process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True
                )
        except OSError as error:
            raise FERError(f"{venv} holds no bin/python; make it as `bench --help` says.") from error
        self.version, self.labels = self._line()

    def ask(self, what: str) -> tuple[float, Any]:
        """Seconds, and what was found."""
        assert self.process.stdin
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        return self._line()

    def _line(self) -> Any:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            self.process.communicate()
            said = self.complaints.read_text(errors="replace").strip().splitlines()
            raise FERError(f"fer failed in its venv: {said[-1] if said else 'without a message'}.")
        return json.loads(line)

    def close(self) -> None:
        self.process.communicate()


def measure(venv: Path, run: Run, test: FERData, rounds: int) -> dict:
    """Milliseconds for a photo of one face and for a face, without heat maps, and accuracy on the test images.

    Every answer is the most probable one of our six, also of a network that knows neutral, as `fer` does.

    Args:
        venv: one that `fer` is installed in.
        run: of the version that it is compared to.
        test: the images that both answer.
        rounds: how often each is asked about the photo and the face, in turn.

    Raises:
        FERError: the venv has no `fer` that runs.
    """
    pipeline = FERPipeline.from_pretrained(run.models, device="cpu")
    engine, photo, size = Engine(pipeline.model), open_image(PHOTO), pipeline.model.input_size
    face = preprocess(test.images[:1], size)
    seconds: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        faces = Path(folder) / "faces.npy"
        np.save(faces, test.images[:, 0].numpy())
        peer = _Peer(venv, faces)
        try:
            name = f"fer {peer.version}"
            for number in tqdm(range(rounds + 1), desc="peers", unit="round", leave=False):
                for what in ("photo", "face"):
                    started = time.perf_counter()
                    pipeline.search(photo, heat_maps=False) if what == "photo" else engine(face)
                    ours, (theirs, _) = time.perf_counter() - started, peer.ask(what)
                    if number:  # the first loads
                        seconds.setdefault((run.folder.name, what), []).append(ours)
                        seconds.setdefault((name, what), []).append(theirs)
            order = [[canonical_name(label) for label in peer.labels].index(emotion) for emotion in EMOTIONS]
            answers = torch.tensor(peer.ask("faces")[1])[:, order].argmax(dim=1)
        finally:
            peer.close()
    parts = test.images.split(BATCH)
    bar = tqdm(parts, desc=f"accuracy of {run.folder.name}", unit="batch", leave=False)
    own = torch.cat([engine(preprocess(part, size))[:, : len(EMOTIONS)].argmax(dim=1) for part in bar])
    rows = [
        {
            "name": who,
            **{f"{what}_ms": round(1000 * statistics.median(seconds[who, what]), 2) for what in ("photo", "face")},
            "accuracy": float((right == test.labels).float().mean()),
        }
        for who, right in ((run.folder.name, own), (name, answers))
    ]
    return {"test_images": len(test), "rounds": rounds, "rows": rows}


def summary(found: dict) -> str:
    """A line for each."""
    return "\n".join(
        f"{row['name']:<14} {row['photo_ms']:>8} ms a photo {row['face_ms']:>8} ms a face {row['accuracy']:>8.2%}"
        for row in found["rows"]
    )
