"""The numbers on answers that are wrong and sure."""

from pathlib import Path
from typing import Any

from fer_model.report.markdown import table
from fer_model.runs import read_json


def hard_cases_table(results: Path) -> dict[str, Any]:
    """A row for each kind of image; no table where nothing was measured."""
    found = read_json(results / "hard_cases.json")
    if found is None:
        return {"table": None}
    before, after = found["before"], found["after"]
    outcomes = list(next(iter(after.values())))
    rows = [
        (kind, f"{sum(counts.values())}", *(f"{before[kind][name]} → {counts[name]}" for name in outcomes))
        for kind, counts in after.items()
    ]
    return {
        "table": table(("", "images", *outcomes), rows),
        "version": found["version"].upper(),
        "cost": found["cost"],
        "command": found["command"],
    }
