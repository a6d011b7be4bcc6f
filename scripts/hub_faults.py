"""What every fault of the Hub prints: plays the tests' cases over HTTP on 127.0.0.1 and writes docs/hub_faults.md.

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

from helpers.hub_cases import CASES, play_all
from helpers.hub_server import running_hub

COMMANDS = {
    "pull": "python evaluate.py --model USER/NAME",
    "push": "python -m fer_model push results USER/NAME",
    "dataset": "python evaluate.py --dataset USER/NAME",
}


def main() -> None:
    with running_hub() as hub:
        outcomes = play_all(hub, Path(temporary.name) / "cases")
    lines = [
        "# When the Hub fails",
        "",
        "What each fault prints as its last words, with exit status 2. Local results stay as they are and the cache",
        "stays usable: `pytest tests -k hub` checks it. Written by `python scripts/hub_faults.py`.",
    ]
    for what, command in COMMANDS.items():
        lines += ["", f"## `{command}`", "", "| fault | says |", "|---|---|"]
        for name, case in CASES.items():
            if case.does == what:
                lines.append(f"| {name.split(', ')[1]} | {last_words(outcomes[name].first.stderr, hub.url)} |")
    (ROOT / "docs" / "hub_faults.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("written: docs/hub_faults.md")


def last_words(stderr: str, url: str) -> str:
    """The script's own sentence, with this run's names and addresses replaced by a user's."""
    said = re.search(r"^(?:fer_model|evaluate\.py): (.*)", stderr, re.DOTALL | re.MULTILINE)[1].strip()
    said = re.sub(r"tester/[\w-]+/(results|cache)", r"\1", said.replace(f"{temporary.name}/cases/", ""))
    said = re.sub(r"tester/[\w-]+", "USER/NAME", said.replace(url, "https://huggingface.co"))
    return re.sub(r"\s+", " ", said.replace("http://127.0.0.1:9", "https://huggingface.co").replace("|", "\\|"))


if __name__ == "__main__":
    main()
