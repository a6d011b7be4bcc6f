"""Reading a run's history.json, which `training.fit` documents."""

from collections.abc import Iterator


def all_epochs(history: dict) -> list[dict]:
    """The epochs of the runs that led to this one's first weights, then its own."""
    return [epoch for run in (*history["earlier"], history) for epoch in run["epochs"]]


def lineage(history: dict) -> Iterator[dict]:
    """The history, and those of all runs that its weights began with or learned from, however long ago."""
    yield history
    taught = (run for teacher in history.get("taught_by", []) for run in teacher)
    for run in (*history.get("earlier", []), *taught):
        yield from lineage(run)


def teachers(history: dict) -> list[dict | None]:
    """The history of each network that the run learned from, with those it began with; None where it is not known."""
    return [{**runs[-1], "earlier": runs[:-1]} if runs else None for runs in history.get("taught_by", [])]


def unrecorded(histories: list[dict]) -> bool:
    """Whether runs, oldest first, began at weights or had a teacher of whose training nothing is recorded."""
    if not histories or histories[0]["run"]["init"]:
        return True
    return any(unrecorded(teacher) for run in histories for teacher in run.get("taught_by", []))


def length(history: dict) -> str:
    """How many epochs led to the run's last weights: "16", or "16 + 20" for a second run that began at the first."""
    return " + ".join(str(len(run["epochs"])) for run in (*history["earlier"], history))
