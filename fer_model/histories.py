"""Reading a run's history.json, which `training.fit` documents."""


def all_epochs(history: dict) -> list[dict]:
    """The epochs of the runs that led to this one's first weights, then its own."""
    return [epoch for run in (*history["earlier"], history) for epoch in run["epochs"]]


def length(history: dict) -> str:
    """How many epochs led to the run's last weights: "16", or "16 + 20" for a second run that began at the first."""
    return " + ".join(str(len(run["epochs"])) for run in (*history["earlier"], history))
