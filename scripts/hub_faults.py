"""Plays the tests' faults of the Hub over HTTP on 127.0.0.1, and writes what each prints into docs/hub_faults.md.

python scripts/hub_faults.py
"""

import os
import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
temporary = tempfile.TemporaryDirectory()
os.environ["HF_HOME"] = temporary.name

from fer_model import cli
from helpers.hub.cases import CASES, Stage
from helpers.hub.server import running_hub

COMMANDS = {
    "pull": "python evaluate.py --model USER/NAME",
    "push": "python -m fer_model push results/v3 USER/NAME",
    "dataset": "python evaluate.py --dataset USER/NAME",
}


def main() -> None:
    cli.parser("hub_faults.py", __doc__).parse_args()
    with running_hub() as hub:
        outcomes = Stage(hub, Path(temporary.name) / "cases").play_all()
    lines = [
        "# When the Hub fails",
        "",
        "What each fault prints as its last words, with exit status 2. Local results stay as they are and the cache",
        "stays usable: `pytest tests/hub` checks it. Written by `python scripts/hub_faults.py`.",
    ]
    for what, command in COMMANDS.items():
        lines += ["", f"## `{command}`", "", "| fault | says |", "|---|---|"]
        for name, case in CASES.items():
            if case.does == what:
                lines.append(f"| {name.split(', ')[1]} | {last_words(outcomes[name].done.stderr, hub.url)} |")
    (ROOT / "docs" / "hub_faults.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("written: docs/hub_faults.md")


def last_words(stderr: str, url: str) -> str:
    """The script's own sentence, with a user's names and addresses instead of this run's."""
    said = re.split(r"^(?:fer_model|evaluate\.py): ", stderr, maxsplit=1, flags=re.MULTILINE)[1].strip()
    said = said.replace(f"{temporary.name}/cases/", "")
    said = re.sub(r"tester/[\w-]+/cache", "cache", re.sub(r"tester/[\w-]+/results", "results/v3", said))
    said = re.sub(r"tester/[\w-]+", "USER/NAME", said.replace(url, "https://huggingface.co"))
    return re.sub(r"\s+", " ", said.replace("http://127.0.0.1:9", "https://huggingface.co").replace("|", "\\|"))


if __name__ == "__main__":
    main()
