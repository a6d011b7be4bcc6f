"""A run's folder: its files, its histories, and which runs led to its weights.

A run is one training. Its folder, results/v3 say, holds models/ (weights, config, card), history.json, metrics.json,
visualizations/, and checkpoints/ for --resume. Nothing else joins these paths or reads these two files.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from fer_model.configs import CONFIGS
from fer_model.errors import ModelError
from fer_model.labels import COUNTS, EMOTIONS

ROOT = Path(__file__).resolve().parents[1]
"""The repository, in a clone."""

RESULTS = Path("results")
"""Where runs go, seen from the folder in which a script is started."""

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"


class Origin(TypedDict):
    """Weights that a run began at or learned from: a folder or Hub id, and the digest of what it held."""

    model: str
    sha256: str


class Settings(TypedDict):
    """How a run was started: the entry "run" of history.json."""

    command: str
    dataset: str
    dataset_revision: str | None
    limit: int | None
    init: Origin | None
    teachers: NotRequired[dict[str, Any] | None]
    version: str
    classes: int
    seed: int
    recipe: dict[str, Any]
    images: dict[str, int]
    validation_sha256: str
    class_weights: list[float]
    num_processes: int
    mixed_precision: str
    compile: bool
    channels_last: bool
    environment: dict[str, Any]


class Epoch(TypedDict):
    """One row of a history; losses as the recipe defines them, accuracies and recalls in [0, 1]."""

    epoch: int
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    validation_macro_recall: float
    seconds: float
    images_per_second: float
    learning_rate: float
    size: int
    training_flops: float


class History(TypedDict):
    """history.json. Those under "earlier", oldest first, and "taught_by" led to the weights it began at or learned."""

    run: Settings
    epochs: list[Epoch]
    best_epoch: int
    stopped: str | None
    earlier: NotRequired[list["History"]]
    taught_by: NotRequired[list[list["History"]]]


class Scores(TypedDict):
    """What `FERMetric` computes, of a test set or a part of it."""

    n: int
    accuracy: float
    accuracy_ci: list[float]
    macro_recall: float
    macro_f1: float
    ece: float
    per_class: dict[str, dict[str, float]]
    confusion_matrix: list[list[int]]


class Metrics(Scores):
    """metrics.json, as `evaluate.py` writes it; older ones lack some entries."""

    private_test: Scores | None
    without_twins: NotRequired[Scores | None]
    expectations: dict[str, dict[str, Any]] | None
    calibration: dict[str, Any]
    heat_maps: NotRequired[dict[str, dict[str, int]]]
    tta: NotRequired[dict[str, Any] | None]
    model: str
    version: str
    model_sha256: str
    dataset: str
    command: str
    environment: dict[str, Any]


@dataclass(frozen=True)
class Run:
    """The folder of a run, and where in it everything lies. What is not there yet may be asked for, too."""

    folder: Path

    @property
    def models(self) -> Path:
        """Weights, config and card: what `from_pretrained` takes."""
        return self.folder / "models"

    @property
    def card(self) -> Path:
        return self.models / CARD_FILE

    @property
    def visualizations(self) -> Path:
        return self.folder / "visualizations"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def history_file(self) -> Path:
        return self.folder / "history.json"

    @property
    def metrics_file(self) -> Path:
        return self.folder / "metrics.json"

    def history(self) -> History | None:
        return read_json(self.history_file)

    def metrics(self) -> Metrics | None:
        return read_json(self.metrics_file)

    @classmethod
    def beside(cls, source: str | Path) -> "Run | None":
        """The run that made a model's folder; None for a Hub id, and for a folder that is not called models."""
        folder = Path(source)
        if not folder.is_dir() or folder.resolve().name != "models":
            return None
        return cls(folder.parent if folder.name == "models" else folder.resolve().parent)

    @classmethod
    def measuring(cls, source: str) -> "Run":
        """Where the figures of a model go: beside it, or, of a Hub id, into results/user--name."""
        folder = Path(source)
        if not folder.is_dir():
            return cls(RESULTS / source.replace("/", "--"))
        return cls.beside(source) or cls(folder.resolve().with_name(folder.resolve().name + "-evaluation"))


def read_json(file: Path) -> Any:
    """What a JSON file holds; None where there is none."""
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def write_json(file: Path, content: Any) -> None:
    """Write beside, then rename: a reader never sees half of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(file.name + ".writing")
    temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, file)


# Versions


def folder_name(version: str, classes: int) -> str:
    """What a version's folder under results/ is called: "v3"; of seven classes "v3-7"."""
    return version if classes == len(EMOTIONS) else f"{version}-{classes}"


def title(version: str, classes: int) -> str:
    """What people call a version: "V3", or "V3, seven classes"."""
    return version.upper() if classes == len(EMOTIONS) else f"{version.upper()}, {COUNTS[classes]} classes"


def versions(results: Path) -> Iterator[Run]:
    """The runs of all versions, those of seven classes last. Whether they are there, is for the caller to see."""
    for classes in COUNTS:
        for version in CONFIGS:
            yield Run(results / folder_name(version, classes))


def trained_models(results: Path) -> list[str]:
    """The folders of all versions of six classes under `results` that have weights, the newest version first."""
    found = {}
    for weights in results.glob(f"*/models/{WEIGHTS_FILE}"):
        if match := re.fullmatch(r"v(\d+)", weights.parts[-3]):
            found[int(match[1])] = str(weights.parent)
    return [found[number] for number in sorted(found, reverse=True)]


def default_model(results: Path) -> str:
    """The newest version's folder under `results`, else the Hub id in FER_MODEL.

    Raises:
        ModelError: there is neither.
    """
    for folder in trained_models(results):
        return folder
    if hub_id := os.environ.get("FER_MODEL"):
        return hub_id
    raise ModelError(
        f"There are no weights under {results}: train some (python train.py), or name a folder or Hub id "
        "with --model or in the environment variable FER_MODEL."
    )


# Histories


def all_epochs(history: History) -> list[Epoch]:
    """The epochs of the runs that led to this one's first weights, then its own."""
    return [epoch for run in (*history["earlier"], history) for epoch in run["epochs"]]


def lineage(history: History) -> Iterator[History]:
    """The history, and those of all runs that its weights began with or learned from, however long ago."""
    yield history
    taught = (run for teacher in history.get("taught_by", []) for run in teacher)
    for run in (*history.get("earlier", []), *taught):
        yield from lineage(run)


def teachers(history: History) -> list[History | None]:
    """The history of each network that the run learned from, with those it began with; None where it is not known."""
    return [{**runs[-1], "earlier": runs[:-1]} if runs else None for runs in history.get("taught_by", [])]


def unrecorded(histories: list[History]) -> bool:
    """Whether runs, oldest first, began at weights or had a teacher of whose training nothing is recorded."""
    if not histories or histories[0]["run"]["init"]:
        return True
    return any(unrecorded(teacher) for run in histories for teacher in run.get("taught_by", []))


def length(history: History) -> str:
    """How many epochs led to the run's last weights: "16", or "16 + 20" for a second run that began at the first."""
    return " + ".join(str(len(run["epochs"])) for run in (*history["earlier"], history))


def earlier(models: str, digest: str) -> list[History]:
    """The histories that led to the weights in a run's folder `models`, oldest first; none where nothing was recorded.

    A run that was killed before it replaced the weights it had begun with, `digest`, has not led to them.
    """
    run = Run.beside(models)
    history = run.history() if run else None
    if history is None:
        return []
    before, init = history.pop("earlier"), history["run"]["init"]
    begun_with_these = init is not None and init["sha256"] == digest
    return before if begun_with_these else [*before, history]
