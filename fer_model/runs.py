"""A run's folder: its files, its histories, and which runs led to its weights.

A run is one training. Its folder, such as results/v3, holds models/ (weights, config, card), history.json,
metrics.json, visualizations/, and checkpoints/ for --resume. No other file joins these paths or reads these two.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, cast

from fer_model.configs import CONFIGS
from fer_model.errors import FERError, ModelError
from fer_model.labels import COUNTS, EMOTIONS
from fer_model.records import Epoch, History, Metrics, Origin

ROOT = Path(__file__).resolve().parents[1]
"""The repository, in a clone."""

RESULTS = Path("results")
"""Where runs go, relative to the folder in which a script is started."""

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"
ONNX_FILE = "onnx/model.onnx"


@dataclass(frozen=True)
class Run:
    """The folder of a run, and the paths in it, whether they exist yet or not."""

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
        """The run's history; None where there is none.

        Raises:
            FERError: the file is damaged.
        """
        history = read_json(self.history_file)
        if history is not None and not (
            isinstance(history, dict) and {"run", "epochs", "best_epoch"} <= history.keys()
        ):
            raise FERError(f"{self.history_file} is no history of a run; {REMEDY}")
        return cast(History | None, history)

    def required_history(self) -> History:
        """The history of a run whose validation images are asked for.

        Raises:
            FERError: it has no history.
        """
        history = self.history()
        if history is None:
            raise FERError(f"{self.history_file} is not there; it says which images the run was validated on.")
        return history

    def metrics(self) -> Metrics | None:
        return read_json(self.metrics_file)

    @classmethod
    def beside(cls, source: str | Path) -> "Run | None":
        """The run of a model's folder; None for a Hub id, and for a folder that is not called models."""
        folder = Path(source)
        if not folder.is_dir() or folder.resolve().name != "models":
            return None
        run, real = cls(folder.parent), cls(folder.resolve().parent)
        # a link called models lies beside other files than the folder that it leads to
        return (
            run if folder.name == "models" and (run.history_file.is_file() or not real.history_file.is_file()) else real
        )

    @classmethod
    def measuring(cls, source: str) -> "Run":
        """Where the figures of a model go: beside its folder, or into results/user--name for a Hub id."""
        folder = Path(source)
        if not folder.is_dir():
            return cls(RESULTS / source.replace("/", "--"))
        return cls.beside(source) or cls(folder.resolve().with_name(folder.resolve().name + "-evaluation"))


REMEDY = "restore it, or write it anew with the command that made it, or remove it."


def read_json(file: Path) -> Any:
    """What a JSON file holds; None where there is none.

    Raises:
        FERError: it is damaged, as by a power failure.
    """
    if not file.is_file():
        return None
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FERError(f"{file} is damaged ({error}); {REMEDY}") from error


def whole_path(source: str) -> str:
    """One name for a dataset or model: the whole path of what is on this machine, else the Hub id as it is."""
    path = Path(source).expanduser()
    return str(path.resolve()) if path.exists() else source


def write_json(file: Path, content: Any) -> None:
    """Write beside, then rename, so that a reader never sees half of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(file.name + ".writing")
    temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, file)


# Versions


def folder_name(version: str, classes: int) -> str:
    """The name of a version's folder under results/: "v3", or "v3-7" where it learned another number of classes."""
    return version if classes == own_classes(version) else f"{version}-{classes}"


def title(version: str, classes: int) -> str:
    """A version's name in texts: "V3", or "V3, seven classes"."""
    return version.upper() if classes == len(EMOTIONS) else f"{version.upper()}, {COUNTS[classes]} classes"


def own_classes(version: str) -> int:
    """How many classes a version learns unless another number is asked for."""
    return CONFIGS[version].classes if version in CONFIGS else len(EMOTIONS)


def versions(results: Path) -> Iterator[Run]:
    """The runs of all versions, those of seven classes last. They need not exist."""
    for classes in COUNTS:
        for version in CONFIGS:
            yield Run(results / folder_name(version, classes))


def with_cards(results: Path) -> list[Run]:
    """The runs under `results` whose model has a card, by name."""
    return [Run(card.parents[1]) for card in sorted(results.glob(f"*/models/{CARD_FILE}"))]


def trained_models(results: Path, classes: int) -> list[str]:
    """The folders under `results` with weights of so many classes, the newest version first."""
    found = {}
    for weights in results.glob(f"*/models/{WEIGHTS_FILE}"):
        name = weights.parts[-3]
        version = name.partition("-")[0]
        if re.fullmatch(r"v\d+", version) and name == folder_name(version, classes):
            found[int(version[1:])] = str(weights.parent)
    return [found[number] for number in sorted(found, reverse=True)]


def default_model(results: Path) -> str:
    """The newest version's folder under `results`, of six classes if there is one, else the Hub id in FER_MODEL.

    Raises:
        ModelError: there is neither.
    """
    for classes in COUNTS:
        for folder in trained_models(results, classes):
            return folder
    if hub_id := os.environ.get("FER_MODEL"):
        return hub_id
    raise ModelError(
        f"There are no weights under {results}: train some (python train.py), or name a folder or Hub id "
        "with --model or in the environment variable FER_MODEL."
    )


# Histories


def all_epochs(history: History) -> list[Epoch]:
    """The epochs of the runs that led to this run's first weights, then its own."""
    return [epoch for run in (*history["earlier"], history) for epoch in run["epochs"]]


def lineage(history: History) -> Iterator[History]:
    """The history, and those of all runs that its weights began at or learned from, however long ago."""
    yield history
    for run in chain(*begun_at(history), *history.get("taught_by", [])):
        yield from lineage(run)


def begun_at(history: History) -> list[list[History]]:
    """The histories that led to each model whose weights, or their mean, a run began at, oldest first."""
    return [history.get("earlier", []), *history.get("averaged_with", [])]


def parts(origin: Origin) -> list[Origin]:
    """The models of a mean; of any other origin it alone."""
    return origin.get("mean_of", [origin])


def teachers(history: History) -> list[History | None]:
    """The history of each teacher, with its own "earlier" ones; None where it was not recorded."""
    return [{**runs[-1], "earlier": runs[:-1]} if runs else None for runs in history.get("taught_by", [])]


def length(history: History) -> str:
    """How many epochs led to the run's weights: "16", or "16 + 20" for a run that began at another's weights.

    Of one that began at the mean of three others' weights: "mean of 3, + 20".
    """
    if others := history.get("averaged_with"):
        return f"mean of {1 + len(others)}, + {len(history['epochs'])}"
    return " + ".join(str(len(run["epochs"])) for run in (*history["earlier"], history))


def earlier(models: str, digest: str) -> list[History]:
    """The histories that led to the weights in the folder `models`, oldest first; none where nothing was recorded.

    The folder's own run has not led to them if it was killed while they were still its first weights, `digest`.
    """
    run = Run.beside(models)
    history = run.history() if run else None
    if history is None:
        return []
    init = history["run"]["init"]
    for part, before in zip(parts(init), begun_at(history), strict=True) if init else ():
        if part["sha256"] == digest:
            return before
    return [*history.pop("earlier"), history]
