"""What the scripts' command lines share."""

import argparse
import logging
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from fer_model.configs import DEFAULT_DATASET
from fer_model.errors import FERError
from fer_model.hub.errors import is_disk_full

if TYPE_CHECKING:  # an installed package has neither: only training and measuring need them
    from accelerate import Accelerator

    from fer_model.data.fer2013 import FERData


def add_dataset_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dataset",
        default=DEFAULT_DATASET,
        metavar="ID_OR_PATH",
        help="Hub id, folder (parquet, WebDataset, images by class) or Kaggle's fer2013.csv (default: %(default)s)",
    )
    parser.add_argument("--dataset-revision", metavar="REV", help="branch, tag or commit of a Hub dataset")
    parser.add_argument("--skip-corrupt", action="store_true", help="leave unreadable images out instead of stopping")


def add_push_arguments(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--push-to-hub", metavar="USER/NAME", help=f"upload {what}; `hf auth login` first")
    parser.add_argument("--private", action="store_true", help="with --push-to-hub: create the repository as private")


def load_split(args: argparse.Namespace, split: str, accelerator: "Accelerator", classes: int) -> "FERData":
    """The split of --dataset; one process of each machine downloads, the others read its cache."""
    from fer_model.data import fer2013

    logging.basicConfig(format="%(message)s")
    logging.getLogger("fer_model").setLevel(logging.INFO if accelerator.is_main_process else logging.ERROR)
    with accelerator.local_main_process_first():
        return fer2013.load_fer(
            args.dataset,
            split,
            revision=args.dataset_revision,
            skip_corrupt=args.skip_corrupt,
            progress=accelerator.is_main_process,
            classes=classes,
        )


def positive(text: str) -> int:
    """For argparse: a whole number above 0."""
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def run(name: str, main: Callable[[], object], if_interrupted: str = "interrupted") -> None:
    """Run a script: what is wrong outside the code ends in one sentence and exit status 2, without a traceback."""
    try:
        main()
    except FERError as error:
        # the processes of one machine fail alike; one voice is enough
        if os.environ.get("LOCAL_RANK", "0") == "0":
            print(f"{name}: {error}", file=sys.stderr)
        sys.exit(2)
    except Exception as error:
        if not is_disk_full(error):
            raise
        where = f" ({error.filename})" if getattr(error, "filename", None) else ""
        print(f"{name}: the disk is full{where}; make room and run the same command again", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"\n{name}: {if_interrupted}", file=sys.stderr)
        sys.exit(130)
