"""The numbers on what trainings took."""

import json
from pathlib import Path
from typing import Any

from fer_model.records import History
from fer_model.report.markdown import table
from fer_model.runs import lineage, title, versions


def effort_table(results: Path) -> dict[str, Any]:
    """A row for every version, and for each run on the way to it, which it began at or learned from.

    A run on the way that is itself one of the versions has only one row.
    """
    histories = {_title(history): history for run in versions(results) if (history := run.history())}
    shown = [history["run"] for history in histories.values()]
    rows = []
    for name, history in histories.items():
        rows.append(_row(name, history))
        runs = list({json.dumps(run["run"]): run for run in lineage(history)}.values())  # each once
        for run in runs:
            if run["run"] not in shown:
                shown.append(run["run"])
                rows.append(_row(f"on the way to {name}: {_title(run)}, {len(run['epochs'])} epochs", run))
        if len(runs) > 1:
            flops = sum(epoch["training_flops"] for run in runs for epoch in run["epochs"])
            rows.append((f"{name} and the trainings before it", "", _flops(flops), "", "", ""))
    return {"table": table(("", "images shown", "FLOPs", "minutes", "precision", "processor"), rows)}


def _row(name: str, history: History) -> tuple[str, ...]:
    """The row of one run, without those before it."""
    run, epochs = history["run"], history["epochs"]
    machine = run["environment"]
    precision = {"no": "float32", "bf16": "bfloat16"}.get(run["mixed_precision"], run["mixed_precision"])
    return (
        name,
        f"{len(epochs) * run['images']['train'] / 1000:,.0f} thousand",
        _flops(sum(epoch["training_flops"] for epoch in epochs)),
        f"{sum(epoch['seconds'] for epoch in epochs) / 60:,.0f}",
        precision + (", compiled" if run["compile"] else ""),
        f"{machine['processor']}, {machine['threads']} threads" if machine["device"] == "cpu" else machine["device"],
    )


def _flops(count: float) -> str:
    return f"{count / 1e15:.2f} · 10¹⁵"


def _title(history: History) -> str:
    return title(history["run"]["version"], history["run"]["classes"])
