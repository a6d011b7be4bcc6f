"""The numbers on faults that were made on purpose."""

from pathlib import Path
from typing import Any

from fer_model.report.markdown import table
from fer_model.runs import read_json


def kills(results: Path) -> dict[str, Any]:
    """Trainings that were killed and resumed; None where none were."""
    measured = (read_json(results / "survival.json") or {}).get("kill")
    if measured is None:
        return {"measured": None}
    return {"measured": measured, "table": table(("the signal came", "times"), sorted(measured["met"].items()))}
