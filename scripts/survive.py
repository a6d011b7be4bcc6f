"""Faults on purpose: each command makes many of one kind, and counts how they end.

    python scripts/survive.py kill               # kill -9 in a training, then --resume; joins results/survival.json
    python scripts/survive.py images --minutes 30    # odd images, then a fuzzer's
    python scripts/survive.py models             # weights and configs that are none
    python scripts/survive.py app                # 100 clients of the demo for five minutes

Only the results file is changed, and temporary folders. The figures of other commands stay in it. The exit status is
1 if something did not survive.
"""

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import torch

from fer_model import cli
from fer_model.machine import environment
from fer_model.runs import read_json, write_json


def _kill_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--count", type=cli.positive, default=30, metavar="N", help="kills (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: %(default)s)")


def _kill(args: argparse.Namespace) -> dict:
    """Kill trainings at random moments with SIGKILL, and resume each.

    A small V1 learns from drawn faces on one CPU thread and is pushed to a Hub on 127.0.0.1. The moments lie in a step,
    in validation, while a checkpoint or the best model is written, and in the push. Each history, each model and each
    repository must end as without a kill. It takes a few minutes.
    """
    from survival.kill import kill_at_random

    return kill_at_random(args.count, args.seed)


def _images_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--minutes", type=cli.positive_float, default=1.0, metavar="M", help="of fuzzing (default: %(default)s)"
    )
    parser.add_argument("--write-expected", action="store_true", help="take today's outcomes of the corpus as expected")


def _images(args: argparse.Namespace) -> dict:
    """Pass odd image files through the pipeline, then what a coverage-guided fuzzer (atheris) makes of them.

    Each must end in an answer or in a sentence. The corpus is scripts/survival/corpus.py, with its expected outcomes in
    corpus.json beside it. No input of the fuzzer may take more than 20 seconds, and memory may not grow.
    """
    from survival.images import survive

    return survive(args.minutes, args.write_expected)


def _models_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--examples",
        type=cli.positive,
        default=300,
        metavar="N",
        help="fuzzed ones of each kind (default: %(default)s)",
    )


def _models(args: argparse.Namespace) -> dict:
    """Load models that are tampered with, cut, enormous, foreign or misplaced, then those that hypothesis makes.

    Each must end in a model that answers or in a sentence, without a pickle, without code of theirs, and without more
    memory than a model of ours takes.
    """
    from survival.models import survive

    return survive(args.examples)


def _app_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clients", type=cli.positive, default=100, metavar="N", help="at once (default: %(default)s)")
    parser.add_argument("--seconds", type=cli.positive, default=300, metavar="S", help="(default: %(default)s)")


def _app(args: argparse.Namespace) -> dict:
    """Many clients ask the demo at once: photos, live frames, videos, zips; some leave early, some upload slowly.

    It starts the demo on 127.0.0.1 with the weights in results/. Each client gives pictures of a size of its own, and
    checks that the answers are its own. Then the demo is stopped with SIGTERM, and its folders are searched for files.
    """
    from survival.app import crowd

    return crowd(args.clients, args.seconds)


COMMANDS = (
    (_kill, _kill_arguments, ("count", "seed")),
    (_images, _images_arguments, ("minutes",)),
    (_models, _models_arguments, ("examples",)),
    (_app, _app_arguments, ("clients", "seconds")),
)
"""For each command: the function, which returns counts; its arguments; and those of them that repeat the command."""


FAULTS = ("unequal", "not as expected", "faults", "ended by", "lost", "files_left", "memory grew")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.parser("survive.py", __doc__)
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")
    for run, add_arguments, options in COMMANDS:
        command = cli.add_command(commands, run, add_arguments)
        command.set_defaults(options=options)
        command.add_argument(
            "--output", type=Path, default=ROOT / "results" / "survival.json", metavar="FILE", help="(%(default)s)"
        )
    return parser.parse_args(argv)


def main() -> None:
    args = parse_args()
    cli.require_files(args.output)
    found = {
        "command": cli.repeat(["python", "scripts/survive.py", args.name], args, args.options),
        "environment": environment(torch.device("cpu")),
        **args.run(args),
    }
    write_json(args.output, (read_json(args.output) or {}) | {args.name: found})
    print(json.dumps(found, indent=2), f"written: {args.output}", sep="\n")
    if has_faults(found):
        sys.exit(1)


def has_faults(found: dict) -> bool:
    """Whether something did not survive: what parts call so has entries."""
    inner = (has_faults(part) for part in found.values() if isinstance(part, dict))
    return any(found.get(name) for name in FAULTS) or found.get("survived") is False or any(inner)


if __name__ == "__main__":
    cli.run("survive.py", main)
