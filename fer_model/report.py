"""The README's results table, filled from results/.

python -m fer_model.report           # rewrites the table in README.md
python -m fer_model.report --check   # exits with 1 if it is out of date
"""

import argparse
import json
import sys
from pathlib import Path

from fer_model.configs import CONFIGS
from fer_model.errors import FERError
from fer_model.labels import EMOTIONS
from fer_model.modeling import FERModel

BEGIN, END = "<!-- results: python -m fer_model.report -->", "<!-- /results -->"


def results_table(results: Path) -> str:
    """One row a version that has a `metrics.json`, in Markdown."""
    lines = [
        "| | parameters | epochs (best) | accuracy (95 %) | PrivateTest | macro recall | ECE | recall "
        + " · ".join(EMOTIONS)
        + " |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for version in CONFIGS:
        file = results / version / "metrics.json"
        if file.is_file():
            history = json.loads((results / version / "history.json").read_text(encoding="utf-8"))
            lines.append(_row(version, json.loads(file.read_text(encoding="utf-8")), history))
    return "\n".join(lines)


def filled(readme: str, results: Path) -> str:
    """`readme` with the text between the two markers replaced by the table.

    Raises:
        FERError: a marker is missing.
    """
    if readme.count(BEGIN) != 1 or readme.count(END) != 1:
        raise FERError(f"README.md must hold the markers {BEGIN} and {END} once each.")
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}\n{results_table(results)}\n{END}{rest.split(END)[1]}"


def _row(version: str, metrics: dict, history: dict) -> str:
    low, high = (_percent(value) for value in metrics["accuracy_ci"])
    parameters = sum(parameter.numel() for parameter in FERModel(version=version).parameters())
    cells = (
        version.upper(),
        f"{parameters:,}",
        f"{len(history['epochs'])} ({history['best_epoch']})",
        f"**{_percent(metrics['accuracy'])}** ({low}–{high})",
        _percent(metrics["private_test"]["accuracy"]) if metrics["private_test"] else "–",
        _percent(metrics["macro_recall"]),
        f"{metrics['ece']:.3f}",
        " · ".join(f"{100 * metrics['per_class'][emotion]['recall']:.0f}" for emotion in EMOTIONS),
    )
    return "| " + " | ".join(cells) + " |"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m fer_model.report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if the table is out of date")
    args = parser.parse_args(argv)
    root = Path(__file__).parent.parent
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8")
    new = filled(text, root / "results")
    if not args.check:
        readme.write_text(new, encoding="utf-8")
        return 0
    if new != text:
        print("README.md's results are not those in results/: run python -m fer_model.report", file=sys.stderr)
    return int(new != text)


if __name__ == "__main__":
    sys.exit(main())
