"""Warm starts: trained networks that a run begins at (fine-tuning, warm restarts) or learns from (teachers)."""

from dataclasses import dataclass, field

from fer_model.errors import TrainingError
from fer_model.model.network import FERModel
from fer_model.records import History, Origin
from fer_model.runs import Run, earlier, title, whole_path
from fer_model.training.checkpoints import history_to_resume


@dataclass
class Start:
    """A network as it is when a run begins, and where its weights come from."""

    model: FERModel
    init: Origin | None = None  # None: random weights
    earlier: list[History] = field(default_factory=list)  # the histories of the runs before, oldest first


@dataclass
class Trained(Start):
    """A network that was trained before."""

    init: Origin


def starting_point(version: str, classes: int, seed: int, source: str | None, resumed: Run | None = None) -> Start:
    """Random weights that depend on `seed` alone, or the trained ones of `source`, a folder or Hub id.

    `source` may hold another version, if all its parts are in this one. New parts then begin at random weights.

    Args:
        resumed: a run that is resumed. Its history then says where it began, because models/ in its folder, which
            `source` may be, holds a later epoch by now.

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
    before = history_to_resume(resumed) if resumed else None
    if before and before["run"]["init"] and whole_path(before["run"]["init"]["model"]) == whole_path(source):
        return Start(model, before["run"]["init"], before["earlier"])
    return Start(model, found.init, found.earlier)


def load_trained(source: str) -> Trained:
    """The network of a folder or Hub id, and the histories that led to it.

    Raises:
        ModelError: `source` cannot be loaded.
    """
    model = FERModel.from_pretrained(source)
    digest = model.digest()
    return Trained(model, {"model": source, "sha256": digest}, earlier(source, digest))


def _fits(trained: FERModel, model: FERModel) -> bool:
    """Whether all weights of `trained` have a place in `model`, as V2's have in V3."""
    here = {name: tensor.shape for name, tensor in model.state_dict().items()}
    return all(here.get(name) == tensor.shape for name, tensor in trained.state_dict().items())
