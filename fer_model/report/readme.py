"""Fills the README, the pages in docs/ and the model cards from results/.

The section NAME stands between `<!-- NAME: python -m fer_model report -->` and `<!-- /NAME -->`. It is a template that
is filled with numbers. A section may stand on any page, and on more than one.
"""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fer_model.ablation import table as study
from fer_model.ablation.studies import STUDIES
from fer_model.errors import FERError
from fer_model.hub.card import model_card
from fer_model.hub.merge import merged
from fer_model.model.network import FERModel
from fer_model.report import data, effort, hard_cases, speed, survival, versions
from fer_model.report.figures import unheld
from fer_model.report.markdown import COMMAND, FILLED, table
from fer_model.runs import ROOT, with_cards


def study_table(name: str, results: Path) -> dict[str, Any]:
    """The numbers of a study, its rows as a table."""
    found = study.found(name, results)
    return {**found, "table": found["rows"] and table(found["head"], found["rows"])}


SECTIONS: dict[str, tuple[str, Callable[[Path], dict[str, Any]]]] = {
    "summary": ("summary.md", versions.summary),
    "results": ("results.md", versions.results_table),
    "unsure": ("table.md", versions.unsure_table),
    "heat maps": ("heat_maps.md", versions.empty_heat_maps),
    "heat map tests": ("heat_map_tests.md", versions.heat_map_tests),
    "hard cases": ("hard_cases.md", hard_cases.hard_cases_table),
    "robustness": ("robustness.md", versions.robustness),
    "effort": ("table.md", effort.effort_table),
    **{f"study {name}": ("study.md", partial(study_table, name)) for name in STUDIES},
    "data": ("data.md", data.data_table),
    "votes": ("votes.md", data.votes_table),
    "crowd": ("crowd.md", versions.crowd_table),
    "start": ("start.md", speed.start_table),
    "small faces": ("small_faces.md", speed.small_faces),
    "many files": ("many_files.md", speed.many_files),
    "peers": ("peers.md", speed.peers),
    "demo": ("demo.md", speed.demo_table),
    "speed": ("speed.md", speed.benchmarks),
    "training speed": ("training_speed.md", speed.training),
    "kills": ("kills.md", survival.kills),
}
"""By name, the template and the function that gives its numbers."""


def section(name: str, results: Path) -> str:
    """The text of a section."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=False, undefined=StrictUndefined
    )
    environment.filters |= {"thousands": "{:,}".format, "spread": speed.spread}
    template, numbers = SECTIONS[name]
    return environment.get_template(template).render(numbers(results))


def filled(page: str, results: Path) -> str:
    """`page` with the text between its markers replaced.

    Raises:
        FERError: a marker names no section, or is not closed.
    """

    def fresh(match: re.Match) -> str:
        if match[1] not in SECTIONS:
            raise FERError(f"There is no section {match[1]!r}; the sections are {', '.join(SECTIONS)}.")
        return f"<!-- {match[1]}: {COMMAND} -->\n{section(match[1], results)}\n<!-- /{match[1]} -->"

    opened = re.findall(rf"<!-- ([\w -]+): {COMMAND} -->", page)
    page, count = FILLED.subn(fresh, page)
    if count != len(opened):
        raise FERError(f"A marker is not closed; {', '.join(opened)} must each end in <!-- /NAME -->.")
    return page


def refresh(root: Path = ROOT, check: bool = False) -> list[str]:
    """Bring pages and cards up to date; returns the names of those that were not.

    Args:
        check: change nothing.
    """
    changed = []
    for path, new in _fresh_texts(root):
        if path.read_text(encoding="utf-8") != new:
            changed.append(path.relative_to(root).as_posix())
            if not check:
                path.write_text(new, encoding="utf-8")
    return changed


def unheld_figures(root: Path = ROOT) -> dict[str, list[str]]:
    """Figures outside the filled sections that no file holds, by the page's name (see `figures.unheld`)."""
    found = {page.relative_to(root).as_posix(): unheld(page.read_text(encoding="utf-8"), root) for page in _pages(root)}
    return {page: figures for page, figures in found.items() if figures}


def _pages(root: Path) -> list[Path]:
    return [root / "README.md", *sorted((root / "docs").glob("*.md"))]


def _fresh_texts(root: Path) -> Iterator[tuple[Path, str]]:
    """Every file that shows results, and its text brought up to date."""
    for page in _pages(root):
        yield page, filled(page.read_text(encoding="utf-8"), root / "results")
    for run in with_cards(root / "results"):
        card = model_card(run, FERModel.from_pretrained(run.models))
        yield run.card, merged(run.card.read_text(encoding="utf-8"), card)
