"""The table of answers that are wrong and sure."""

import json

from fer_model.report.readme import section


def test_each_kind_has_its_counts_before_and_after(tmp_path):
    counts = {"right": 1, "unsure": 2, "no face": 0, "wrong and sure": 3}
    found = {
        "command": "python scripts/hard_cases.py",
        "version": "v3",
        "before": {"noise": counts},
        "after": {"noise": counts | {"unsure": 5, "wrong and sure": 0}},
        "cost": None,
    }
    (tmp_path / "hard_cases.json").write_text(json.dumps(found))
    text = section("hard cases", tmp_path)
    assert "| noise | 6 | 1 → 1 | 2 → 5 | 0 → 0 | 3 → 0 |" in text
    assert "`python scripts/hard_cases.py` writes" in text


def test_without_a_measurement_the_page_names_the_command(tmp_path):
    assert section("hard cases", tmp_path) == "Not measured yet: `python scripts/hard_cases.py` does."
