"""The README's tables and the model cards, filled from results/.

python -m fer_model.report           # rewrites the tables in README.md and the generated sections of the cards
python -m fer_model.report --check   # exits with 1 if one of them is out of date
"""

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from fer_model import cli
from fer_model.ablation.runner import STUDIES
from fer_model.ablation.table import study_table
from fer_model.errors import FERError
from fer_model.hub import card
from fer_model.hub.push import ROOT, model_card
from fer_model.report import speed, versions

COMMAND = "python -m fer_model.report"
"""What fills the places between the README's markers, as these say."""


def filled(readme: str, results: Path) -> str:
    """`readme` with the text between its markers replaced: tables and sentences of what was measured.

    Raises:
        FERError: a marker is missing.
    """
    for name, text in (
        ("results", versions.results_table),
        ("unsure", versions.unsure_table),
        ("heat maps", versions.heat_maps_sentence),
        ("effort", versions.effort_table),
        *((f"study {name}", partial(study_table, name)) for name in STUDIES),
        ("data", versions.data_table),
        ("cold start", speed.cold_start_sentence),
        ("demo", speed.demo_table),
    ):
        readme = _between(readme, f"<!-- {name}: {COMMAND} -->", f"<!-- /{name} -->", text(results))
    return readme


def _between(text: str, begin: str, end: str, content: str) -> str:
    if text.count(begin) != 1 or text.count(end) != 1:
        raise FERError(f"README.md must hold the markers {begin} and {end} once each.")
    before, rest = text.split(begin)
    return f"{before}{begin}\n{content}\n{end}{rest.split(end)[1]}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m fer_model.report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if the table is out of date")
    args = parser.parse_args(argv)
    changed = []
    for path, new in _fresh_texts():
        if path.read_text(encoding="utf-8") != new:
            changed.append(path.relative_to(ROOT).as_posix())
            if not args.check:
                path.write_text(new, encoding="utf-8")
    if changed and args.check:
        print(f"not as in results/: {', '.join(changed)}; run python -m fer_model.report", file=sys.stderr)
        return 1
    print(f"rewritten: {', '.join(changed)}" if changed else "all is as in results/")
    return 0


def _fresh_texts() -> Iterator[tuple[Path, str]]:
    """Every file that shows results, and its text brought up to date."""
    readme = ROOT / "README.md"
    yield readme, filled(readme.read_text(encoding="utf-8"), ROOT / "results")
    for path in sorted(ROOT.glob("results/*/models/README.md")):
        yield path, card.merged(path.read_text(encoding="utf-8"), model_card(path.parent.parent))


if __name__ == "__main__":
    cli.run("fer_model.report", lambda: sys.exit(main()))
