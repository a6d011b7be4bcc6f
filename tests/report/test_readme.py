"""README, docs and cards are as in results/, and every file that the README names is there."""

import re
import shutil

import pytest

from fer_model.__main__ import main
from fer_model.errors import FERError
from fer_model.hub import card
from fer_model.report import readme
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
    refresh = readme.refresh
    monkeypatch.setattr(readme, "refresh", lambda check: refresh(tmp_path, check))
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


def test_a_marker_that_is_not_closed_or_names_no_section_is_refused():
    with pytest.raises(FERError, match="not closed"):
        readme.filled(f"<!-- data: {readme.COMMAND} -->\n", ROOT / "results")
    with pytest.raises(FERError, match="no section 'x'"):
        readme.filled(f"<!-- x: {readme.COMMAND} -->\n<!-- /x -->", ROOT / "results")


def test_every_file_the_readme_names_is_there():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|#)([^)]+)\)", text) + re.findall(r'src="([^":]+)"', text):
        assert (ROOT / target).exists(), target
