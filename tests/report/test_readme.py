"""README, docs and cards are as in results/, and every file that the README names is there."""

import re
import shutil

import pytest

from fer_model.__main__ import main
from fer_model.errors import FERError
from fer_model.hub import card
from fer_model.report import readme
from fer_model.report.figures import unheld
from helpers import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tables_of_a_page_are_those_of_the_results(page):
    text = page.read_text(encoding="utf-8")
    assert readme.filled(text, ROOT / "results") == text


def test_the_report_finds_and_mends_what_is_not_as_in_the_results(tmp_path, monkeypatch, capsys):
    file = tmp_path / "README.md"
    shutil.copy(ROOT / "README.md", file)
    shutil.copytree(ROOT / "results", tmp_path / "results", ignore=shutil.ignore_patterns("checkpoints", "*.png"))
    monkeypatch.setattr(card, "ROOT", tmp_path)  # from where the cards' examples see their weights
    refresh, unheld = readme.refresh, readme.unheld_figures
    monkeypatch.setattr(readme, "refresh", lambda check: refresh(tmp_path, check))
    monkeypatch.setattr(readme, "unheld_figures", lambda: unheld(tmp_path))
    main(["report", "--check"])
    right = file.read_text(encoding="utf-8")
    wrong = right.replace("5,563,910", "5,563,911")
    file.write_text(wrong, encoding="utf-8")
    with pytest.raises(SystemExit, match="1"):
        main(["report", "--check"])
    assert "README.md; run python -m fer_model report" in capsys.readouterr().err
    assert file.read_text(encoding="utf-8") == wrong, "--check changes nothing"
    main(["report"])
    assert file.read_text(encoding="utf-8") == right


TEMPLATES = sorted((ROOT / "fer_model" / "report" / "templates").glob("*.md"))


@pytest.mark.parametrize("page", [*PAGES, *TEMPLATES], ids=lambda page: page.name)
def test_every_figure_of_a_page_is_held_by_a_file_or_quoted(page):
    assert unheld(page.read_text(encoding="utf-8"), ROOT) == []


def test_a_figure_that_no_file_holds_is_found(tmp_path, monkeypatch, capsys):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "a.json").write_text('{"accuracy": [0.7435]}')
    page = "# One\n{}\n\n# Two\n`results/a.json`\n<!-- data: python -m fer_model report -->\n5.5\n<!-- /data -->\n"
    for held in ("5.5 points", "Python 3.11", "`0.001`", "7.1 % (https://x.org)", "\n# Three\n74.4 % (results/a.json)"):
        assert unheld(page.format(held), tmp_path) == [], held
    for wrong in ("74.4 %", "5.6 points", "1,234.5", "\n# Three\n74.1 % (results/a.json)"):
        assert len(unheld(page.format(wrong), tmp_path)) == 1, wrong
    monkeypatch.setattr(readme, "refresh", lambda check: [])
    monkeypatch.setattr(readme, "unheld_figures", lambda: {"docs/a.md": ["74.4"]})
    with pytest.raises(SystemExit, match="1"):
        main(["report", "--check"])
    assert "docs/a.md: no file holds 74.4" in capsys.readouterr().err


def test_a_marker_that_is_not_closed_or_names_no_section_is_refused():
    with pytest.raises(FERError, match="not closed"):
        readme.filled(f"<!-- data: {readme.COMMAND} -->\n", ROOT / "results")
    with pytest.raises(FERError, match="no section 'x'"):
        readme.filled(f"<!-- x: {readme.COMMAND} -->\n<!-- /x -->", ROOT / "results")


def test_every_file_the_readme_names_is_there():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|#)([^)]+)\)", text) + re.findall(r'src="([^":]+)"', text):
        assert (ROOT / target).exists(), target
