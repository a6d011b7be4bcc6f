"""What the command lines share: arguments, the command that repeats a run, and how a failure is printed."""

import argparse
import logging
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fer_model.configs import DEFAULT_DATASET, STEPS, VERSIONS
from fer_model.errors import FERError
from fer_model.hub.errors import is_disk_full

if TYPE_CHECKING:  # a light installation has neither accelerate nor datasets
    from accelerate import Accelerator

    from fer_model.data.dataset import FERData


def parser(program: str, description: str | None) -> argparse.ArgumentParser:
    """A parser that prints its description as it is written."""
    return argparse.ArgumentParser(
        prog=program, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_version_argument(group: "argparse._ActionsContainer", what: str) -> None:
    group.add_argument(
        "--version", type=_version, metavar="|".join(VERSIONS), default="v2", help=f"{what} (default: %(default)s)"
    )


def add_dataset_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dataset",
        default=DEFAULT_DATASET,
        metavar="ID_OR_PATH",
        help="Hub id, folder (parquet, WebDataset, images in a folder for each class) or Kaggle's fer2013.csv "
        "(default: %(default)s)",
    )
    parser.add_argument("--dataset-revision", metavar="REV", help="branch, tag or commit of a Hub dataset")
    parser.add_argument("--skip-corrupt", action="store_true", help="leave unreadable images out instead of stopping")
    parser.add_argument(
        "--skip-unknown-classes", action="store_true", help="leave images of unknown classes out instead of stopping"
    )


def add_push_arguments(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--push-to-hub", metavar="USER/NAME", help=f"upload {what}; `hf auth login` first")
    parser.add_argument("--private", action="store_true", help="with --push-to-hub: create the repository as private")


def load_split(args: argparse.Namespace, split: str, accelerator: "Accelerator", classes: int) -> "FERData":
    """The split of --dataset. One process of each machine downloads it, the others read its cache."""
    from fer_model.data.fer2013 import load_fer

    logging.basicConfig(format="%(message)s")
    logging.getLogger("fer_model").setLevel(logging.INFO if accelerator.is_main_process else logging.ERROR)
    with accelerator.local_main_process_first():
        return load_fer(
            args.dataset,
            split,
            revision=args.dataset_revision,
            skip_corrupt=args.skip_corrupt,
            skip_unknown=args.skip_unknown_classes,
            progress=accelerator.is_main_process,
            classes=classes,
        )


def repeat(program: Sequence[str], args: argparse.Namespace, options: Sequence[str]) -> str:
    """The command line that repeats a run: `program`, then those of `options` that are set.

    Args:
        program: the first words, such as ("python", "evaluate.py"), with the arguments that have no option.
        options: names in `args`. A flag is set if it is true. A list repeats its option for each value.
    """
    words = list(program)
    for name in options:
        value, option = getattr(args, name), "--" + name.replace("_", "-")
        if value is None or value is False:
            continue
        if value is True:
            words.append(option)
            continue
        for one in value if isinstance(value, list) else [value]:
            words += [option, str(one)]
    return shlex.join(words)


# Kinds of values, for argparse


def positive(text: str) -> int:
    """A whole number above 0."""
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def positive_or_auto(text: str) -> int | str:
    """A whole number above 0, or the word auto."""
    return text if text == "auto" else positive(text)


def positive_float(text: str) -> float:
    """A number above 0, and not infinite."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def share(text: str) -> float:
    """A number above 0, at most 1."""
    value = positive_float(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"{text} is more than all, 1")
    return value


def share_or_none(text: str) -> float:
    """A number from 0, for nothing, to 1."""
    return 0.0 if text.strip() in ("0", "0.0") else share(text)


def _version(text: str) -> str:
    """A version. The networks for the ablations are accepted too, but not listed."""
    if text not in (*VERSIONS, *STEPS):
        raise argparse.ArgumentTypeError(f"there is no version {text!r}; choose {', '.join(VERSIONS)}")
    return text


def run(name: str, main: Callable[[], object], if_interrupted: str = "interrupted") -> None:
    """Run a script. A `FERError` or a full disk is printed without a traceback, and the exit status is 2."""
    try:
        main()
    except FERError as error:
        # the processes of one machine fail alike, so one of them prints
        if os.environ.get("LOCAL_RANK", "0") == "0":
            print(f"{name}: {error}", file=sys.stderr)
        sys.exit(2)
    except Exception as error:
        if not is_disk_full(error):
            raise
        file = getattr(error, "filename", None)
        where = f" ({file})" if file else ""
        print(f"{name}: the disk is full{where}; make room and run the same command again", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"\n{name}: {if_interrupted}", file=sys.stderr)
        sys.exit(130)
