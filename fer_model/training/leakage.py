"""Whether the weights that a run begins at, or its teachers, have seen the run's validation images."""

from fer_model.data.splits import seed_of_split
from fer_model.errors import TrainingError
from fer_model.records import History, Settings
from fer_model.runs import lineage, parts, whole_path
from fer_model.training.warm_start import Start


def check_validation(start: Start, run: Settings) -> str | None:
    """A warning where earlier runs may have learned this run's validation images; else None.

    Earlier runs are all that led to the weights: those that they began at, their teachers, and the teachers' own.

    Args:
        run: the settings of the run that begins.

    Raises:
        TrainingError: an earlier run had the same dataset, but other validation images.
    """
    if start.init is None:
        return None
    chains = [start.earlier, *start.averaged_with]
    warnings = [_check(part["model"], chain, run) for part, chain in zip(parts(start.init), chains, strict=True)]
    return " ".join(filter(None, warnings)) or None


def _check(model: str, earlier: list[History], run: Settings) -> str | None:
    """The same for one model, of a mean or alone."""
    warning = None
    if _unrecorded(earlier):
        warning = (
            f"Nothing is recorded of how {model}, or what it learned from, was trained. If that has seen "
            "this run's validation images, their accuracy, and the calibration, will be too good."
        )
    for before in (found["run"] for history in earlier for found in lineage(history)):
        named_alike = whole_path(before["dataset"]) == whole_path(run["dataset"])
        if not named_alike and _size(before) != _size(run):
            warning = warning or (
                f"{model} was trained on {before['dataset']}, in part; its images may be among these."
            )
        elif not _within(run, before):
            raise TrainingError(
                f"{model} was trained on another split of {run['dataset']} into training and validation "
                f"images, so it has learned some of this run's validation images. {_remedy(before)}"
            )
        elif not named_alike and before["validation_sha256"] != run["validation_sha256"]:
            warning = warning or (
                f"{model} was trained on {before['dataset']}, which may hold the same images in another "
                "order; if so, it has learned some of this run's validation images."
            )
    return warning


def _unrecorded(histories: list[History]) -> bool:
    """Whether runs, oldest first, began at weights, or had a teacher, of whose training nothing is recorded."""
    if not histories or histories[0]["run"]["init"]:
        return True
    others = (chain for run in histories for chain in (*run.get("taught_by", []), *run.get("averaged_with", [])))
    return any(_unrecorded(chain) for chain in others)


def _size(run: Settings) -> tuple:
    """Figures by which one dataset is recognised under two names, a folder and a Hub id."""
    return sum(run["images"].values()), run["limit"], run["classes"]


def _remedy(then: Settings) -> str:
    options = [f"--set split_seed={seed_of_split(then['recipe'], then['seed'])}"]
    options += [f"--limit {then['limit']}"] if then["limit"] else []
    options.append(f"--set validation_fraction={then['recipe']['validation_fraction']:g}")
    if then["recipe"]["together"]:
        options.append("--set together=true")
    return f"Use {' '.join(options)}, or a smaller validation_fraction."


def _within(run: Settings, then: Settings) -> bool:
    """Whether all validation images of `run` were also validation images of an earlier run.

    With one seed of the split a smaller fraction is a part of a larger one. A split that keeps photos together is a
    part of one that does not (`data.splits.stratified_split`).
    """
    settings = [(seed_of_split(which["recipe"], which["seed"]), *_size(which)) for which in (run, then)]
    splits = [(which["recipe"]["validation_fraction"], which["recipe"]["together"]) for which in (run, then)]
    if splits[0] == splits[1] and then["validation_sha256"] != run["validation_sha256"]:
        return False
    (fraction, together), (fraction_then, together_then) = splits
    return settings[0] == settings[1] and fraction <= fraction_then and together >= together_then
