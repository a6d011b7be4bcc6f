"""Numbers as Markdown: a table, a share, and the marks between which they stand."""

import re
from collections.abc import Iterable, Sequence

COMMAND = "python -m fer_model report"
"""The command that every marker names."""

FILLED = re.compile(rf"<!-- ([\w -]+): {COMMAND} -->\n.*?<!-- /\1 -->", re.DOTALL)
"""A section with its markers, by its name."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; its first column holds the rows' names."""
    lines = [_line(head), "|---" * len(head) + "|"]
    return "\n".join(lines + [_line(row) for row in rows])


def _line(cells: Sequence[str]) -> str:
    return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"


def percent(share: float | None, digits: int = 1) -> str:
    """ "74.3" for 0.743; a dash for what was not measured."""
    return "–" if share is None else f"{100 * share:.{digits}f}"
