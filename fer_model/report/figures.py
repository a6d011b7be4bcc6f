"""Finds figures that people wrote into pages and that no file holds."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from fer_model.report.markdown import FILLED

_FIGURE = re.compile(r"(?<![\w.,/-])\d[\d,]*(?:\.\d+|(?= ?%| percent| points))(?!\w|\.\d)")
_NOT_PROSE = re.compile(r"\A---.*?\n---|```.*?```|`[^`]*`|\]\([^)]*\)|Python 3\.\d+", re.DOTALL)
_FILE = re.compile(r"results/[\w/.-]+?\.json")
_QUOTED = re.compile(r"https?://|arXiv")


def unheld(page: str, root: Path) -> list[str]:
    """Percentages and decimals of a page that nothing vouches for.

    Those in filled sections come from files. Any other must stand in one of the page's filled sections too, or in a
    file `results/….json` that is named under the same heading, or in a paragraph with a link to where it is from.
    """
    shown = set(_FIGURE.findall(" ".join(match.group() for match in FILLED.finditer(page))))
    found = []
    for part in re.split(r"\n(?=#+ )", _NOT_PROSE.sub(_file_names, FILLED.sub("", page))):
        files = [root / name for name in _FILE.findall(part) if (root / name).is_file()]
        held = [number for file in files for number in _numbers(json.loads(file.read_text(encoding="utf-8")))]
        for paragraph in re.split(r"\n\s*\n|\n(?=[-|] ?)", part):
            if not _QUOTED.search(paragraph):
                figures = _FIGURE.findall(_FILE.sub("", paragraph))
                found += [figure for figure in figures if figure not in shown and not _holds(held, figure)]
    return found


def _file_names(not_prose: re.Match) -> str:
    """What remains of code, links and the like: the files and addresses in it."""
    return " ".join(re.findall(rf"{_FILE.pattern}|https?://", not_prose.group()))


def _numbers(value: Any) -> Iterator[float]:
    """All numbers in what a JSON file holds."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _numbers(inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


def _holds(numbers: Iterable[float], figure: str) -> bool:
    """Whether one of the numbers, or one as a percentage, or what is missing to 100 %, rounds to the figure."""
    shown, half = float(figure.replace(",", "")), 0.5 * 10 ** -len(figure.partition(".")[2]) + 1e-9
    return any(abs(way - shown) <= half for number in numbers for way in (number, 100 * number, 100 - 100 * number))
