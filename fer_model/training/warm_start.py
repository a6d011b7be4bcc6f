"""Networks that were trained before a run, to begin at (fine-tuning, warm restarts) or to learn from (teachers)."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from fer_model.configs import title
from fer_model.errors import TrainingError
from fer_model.model.network import FERModel
from fer_model.model_facts import weights_digest
from fer_model.runs import lineage, unrecorded
from fer_model.training.checkpoints import newest_checkpoint


@dataclass
class Start:
    """A network as it is when a run begins, and what its history has to say of the time before."""

    model: FERModel
    init: dict | None = None  # {"model": folder or Hub id, "sha256": of the weights}; None: random weights
    earlier: list[dict] = field(default_factory=list)  # the histories of the runs before, oldest first


def starting_point(version: str, classes: int, seed: int, source: str | None, resumed: Path | None = None) -> Start:
    """Random weights that depend on `seed` alone, or the trained ones of `source`, a folder or Hub id.

    A version whose parts are all in this one will do; what is new here then begins as in a network of its own.

    Args:
        resumed: the output folder of a run to be resumed. Its checkpoint is what counts then: where `source`
            is that folder's own models/, they are by now another epoch's.

    Raises:
        ModelError: `source` cannot be loaded.
        TrainingError: it has other classes, or weights that `version` has no place for.
    """
    if source is None:
        return Start(FERModel(version=version, seed=seed, classes=classes))
    found = load_trained(source)
    trained, model = found.model, FERModel(version=version, seed=seed, classes=classes)
    if not _fits(trained, model):
        theirs, ours = title(trained.version, len(trained.class_names)), title(version, classes)
        raise TrainingError(
            f"--init {source} holds {theirs}, whose weights do not fit into {ours}; name a model of that kind."
        )
    model.load_state_dict(trained.state_dict(), strict=False)
    if resumed and newest_checkpoint(resumed / "checkpoints") and (resumed / "history.json").is_file():
        before = json.loads((resumed / "history.json").read_text(encoding="utf-8"))
        if before["run"]["init"] and before["run"]["init"]["model"] == source:
            return Start(model, before["run"]["init"], before["earlier"])
    return Start(model, found.init, found.earlier)


def load_trained(source: str) -> Start:
    """The network of a folder or Hub id, and the histories that led to it.

    Raises:
        ModelError: `source` cannot be loaded.
    """
    model = FERModel.from_pretrained(source)
    digest = weights_digest(model)
    return Start(model, {"model": source, "sha256": digest}, _earlier(Path(source), digest))


def _fits(trained: FERModel, model: FERModel) -> bool:
    """Whether all weights of the one have their place in the other, as V2's have in V3, which has more."""
    here = {name: tensor.shape for name, tensor in model.state_dict().items()}
    return all(here.get(name) == tensor.shape for name, tensor in trained.state_dict().items())


def _earlier(models: Path, digest: str) -> list[dict]:
    """The histories that led to the weights in a run's folder `models`, oldest first; none where nothing was recorded.

    A run that was killed before it replaced the weights it had begun with, `digest`, has not led to them.
    """
    path = models.resolve().parent / "history.json"
    if models.resolve().name != "models" or not path.is_file():
        return []
    history = json.loads(path.read_text(encoding="utf-8"))
    before, init = history.pop("earlier"), history["run"]["init"]
    begun_with_these = init is not None and init["sha256"] == digest
    return before if begun_with_these else [*before, history]


def check_validation(start: Start, run: dict) -> str | None:
    """Whether earlier runs may have learned this run's validation images: a warning in words, or None.

    Earlier runs are all that led to the weights: those they began with, their teachers, and the teachers' own.

    Args:
        run: the "run" entry of the history that begins.

    Raises:
        TrainingError: an earlier run had the same dataset, but other validation images.
    """
    if start.init is None:
        return None
    warning = None
    if unrecorded(start.earlier):
        warning = (
            f"Nothing is recorded of how {start.init['model']}, or what it learned from, was trained. If that has seen "
            "this run's validation images, their accuracy, and the calibration, will be too good."
        )
    for before in (found["run"] for history in start.earlier for found in lineage(history)):
        named_alike = _where(before["dataset"]) == _where(run["dataset"])
        if not named_alike and _size(before) != _size(run):
            warning = warning or (
                f"{start.init['model']} was trained on {before['dataset']}, in part; its images may be among these."
            )
        elif not _within(run, before):
            raise TrainingError(
                f"{start.init['model']} was trained on another split of {run['dataset']} into training and validation "
                f"images, so it has learned some of this run's validation images. {_remedy(before)}"
            )
        elif not named_alike and before["validation_sha256"] != run["validation_sha256"]:
            warning = warning or (
                f"{start.init['model']} was trained on {before['dataset']}, which may hold the same images in another "
                "order; if so, it has learned some of this run's validation images."
            )
    return warning


def _where(dataset: str) -> str:
    """A dataset by one name only: a folder's or file's whole path, or a Hub id."""
    return str(Path(dataset).resolve()) if Path(dataset).exists() else dataset


def _size(run: dict) -> tuple:
    """By which one dataset under two names, a folder and a Hub id, is recognised."""
    return sum(run["images"].values()), run["limit"], run["classes"]


def _remedy(then: dict) -> str:
    options = [f"--seed {then['seed']}"] + ([f"--limit {then['limit']}"] if then["limit"] else [])
    options.append(f"--set validation_fraction={then['recipe']['validation_fraction']:g}")
    if then["recipe"]["together"]:
        options.append("--set together=true")
    return f"Use {' '.join(options)}, or a smaller validation_fraction."


def _within(run: dict, then: dict) -> bool:
    """Whether all validation images of `run` were ones of an earlier run too: the same, or some of them.

    A smaller fraction of the same images is a part of a larger one's, and so is a split that keeps photos together
    of one that does not (`data.stratified_split`).
    """
    settings = [(which["seed"], *_size(which)) for which in (run, then)]
    splits = [(which["recipe"]["validation_fraction"], which["recipe"]["together"]) for which in (run, then)]
    if splits[0] == splits[1] and then["validation_sha256"] != run["validation_sha256"]:
        return False
    (fraction, together), (fraction_then, together_then) = splits
    return settings[0] == settings[1] and fraction <= fraction_then and together >= together_then
