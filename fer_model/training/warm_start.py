"""Warm starts: trained networks that a run begins at (fine-tuning, warm restarts) or learns from (teachers)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fer_model.errors import TrainingError
from fer_model.model.network import FERModel
from fer_model.records import History, Origin
from fer_model.runs import Run, begun_at, earlier, parts, title, whole_path
from fer_model.training.checkpoints import history_to_resume


@dataclass
class Start:
    """A network as it is when a run begins, and where its weights come from."""

    model: FERModel
    init: Origin | None = None  # None: random weights
    earlier: list[History] = field(default_factory=list)  # the histories of the runs before, oldest first
    averaged_with: list[list[History]] = field(default_factory=list)  # the same for the other models of a mean


@dataclass
class Trained(Start):
    """A network that was trained before."""

    init: Origin


def starting_point(
    version: str, classes: int, seed: int, sources: Sequence[str] = (), resumed: Run | None = None
) -> Start:
    """Random weights that depend on `seed` alone, or trained ones, or the mean of several (Wortsman et al. 2022).

    A source may hold another version, if all its parts are in this one. New parts then begin at random weights.

    Args:
        sources: folders or Hub ids. A mean is of use only where all were fine-tuned from one network.
        resumed: a run that is resumed. Its history then says where it began, because models/ in its folder, which
            may be a source, holds a later epoch by now.

    Raises:
        ModelError: a source cannot be loaded.
        TrainingError: one has other classes, or weights that `version` has no place for.
    """
    model = FERModel(version=version, seed=seed, classes=classes)
    if not sources:
        return Start(model)
    found = [load_trained(source) for source in sources]
    for source, trained in zip(sources, found, strict=True):
        if not _fits(trained.model, model):
            theirs, ours = title(trained.model.version, len(trained.model.class_names)), title(version, classes)
            raise TrainingError(
                f"--init {source} holds {theirs}, whose weights do not fit into {ours}; name a model of that kind."
            )
    model.load_state_dict(_mean([trained.model.state_dict() for trained in found]), strict=False)
    begun = [trained.earlier for trained in found]
    init: Origin = found[0].init
    if len(found) > 1:
        init = {"model": " + ".join(sources), "sha256": model.digest(), "mean_of": [each.init for each in found]}
    before = history_to_resume(resumed) if resumed else None
    then = before["run"]["init"] if before else None
    if before and then and [whole_path(part["model"]) for part in parts(then)] == list(map(whole_path, sources)):
        init, begun = then, begun_at(before)
    return Start(model, init, begun[0], begun[1:])


def _mean(weights: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each parameter and statistic over the models that have it. A count of batches is the last model's."""
    found = {}
    for name, tensor in {name: tensor for each in weights for name, tensor in each.items()}.items():
        some = [each[name] for each in weights if name in each]
        found[name] = torch.stack(some).mean(dim=0) if tensor.is_floating_point() else tensor
    return found


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
