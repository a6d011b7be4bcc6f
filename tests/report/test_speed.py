"""The script that measures the demo runs from start to end; what it measures here is no figure to publish."""

import json
import subprocess
import sys

from fer_model.report import speed
from helpers import ROOT


def test_a_quick_try_writes_what_the_readme_shows(tmp_path):
    file = tmp_path / "demo.json"
    file.write_text(json.dumps({"film": {"from": "another run"}}))
    command = [sys.executable, "scripts/demo_speed.py", "--quick", "--only", "photo", "--output", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads(file.read_text())
    assert written.pop("film") == {"from": "another run"}, "parts that are not measured stay"
    assert list(written) == ["photo"]
    assert written["photo"]["command"] == "python scripts/demo_speed.py --only photo --quick"
    assert 0 < written["photo"]["median_ms"] <= written["photo"]["p95_ms"]
    file.write_text(json.dumps(written))
    assert "| a photo, by one visitor | " in speed.demo_table(tmp_path)


def test_a_part_that_does_not_exist_is_named():
    command = [sys.executable, "scripts/demo_speed.py", "--only", "photo,speed"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "there is no part speed" in done.stderr
