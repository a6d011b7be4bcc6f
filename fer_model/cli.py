"""What the command lines share: arguments, the command that repeats a run, and how a failure is printed."""

import argparse
import errno
import inspect
import io
import logging
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fer_model.configs import DEFAULT_DATASET, STEPS, VERSIONS
from fer_model.errors import FERError
from fer_model.hub.errors import is_disk_full

UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG)
"""What an operating system says of places where nothing can be written."""

if TYPE_CHECKING:  # a light installation has neither accelerate nor datasets
    from accelerate import Accelerator

    from fer_model.data.dataset import FERData


def parser(program: str, description: str | None) -> argparse.ArgumentParser:
    """A parser that prints its description as it is written."""
    return argparse.ArgumentParser(
        prog=program, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_command(
    commands: "argparse._SubParsersAction", run: Callable, add_arguments: Callable[[argparse.ArgumentParser], None]
) -> argparse.ArgumentParser:
    """A command that is named and described after its function, `run`, which its arguments then hold."""
    text = inspect.cleandoc(run.__doc__ or "")
    command = commands.add_parser(
        run.__name__.removeprefix("_"),
        help=text.splitlines()[0],
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)
    add_arguments(command)
    return command


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


# Where results go


def require_folders(*folders: Path, needed: int = 1_000_000) -> None:
    """Find out before the work, and not after it, that results cannot be written. Nothing is left behind.

    Args:
        folders: those that results will go into. They need not exist yet.
        needed: bytes.

    Raises:
        FERError: a file is in the way, the place may not be written, or there is no room for `needed`.
    """
    for folder in folders:
        place = folder.absolute()
        while not place.exists() and not place.is_symlink():
            place = place.parent
        if not place.is_dir():
            raise FERError(f"{folder} cannot be a folder, for {place} is a file; choose another place.")
        try:
            with tempfile.TemporaryFile(dir=place) as probe:
                probe.write(bytes(min(needed, 1_000_000)))
                probe.flush()
                free = shutil.disk_usage(place).free
        except OSError as error:
            raise FERError(f"Nothing can be written into {place} ({error.strerror}); choose another place.") from error
        if free < needed:
            megabytes = f"{free / 1e6:,.0f} MB are free, {needed / 1e6:,.0f} MB are needed"
            raise FERError(f"There is too little room in {place}: {megabytes}.")


def require_files(*files: Path) -> None:
    """The same for files, which may exist already.

    Raises:
        FERError: a folder has the name, or the file cannot be written.
    """
    for file in files:
        if file.is_dir():
            raise FERError(f"{file} is a folder; name a file in it.")
        require_folders(file.parent)
        try:
            if file.exists():
                file.open("r+b").close()  # changes nothing
        except OSError as error:
            raise FERError(f"{file} cannot be written ({error.strerror}); choose another place.") from error


# Kinds of values, for argparse


def positive(text: str) -> int:
    """A whole number above 0."""
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def seed(text: str) -> int:
    """A whole number from 0 to 2147483647, which every generator of random numbers takes, in every process."""
    if not text.isdigit() or int(text) > 2**31 - 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {2**31 - 1}")
    return int(text)


def threads(text: str) -> int:
    """A number of CPU threads, from 1 to 1024."""
    if positive(text) > 1024:
        raise argparse.ArgumentTypeError(f"{text} is more than 1024 threads")
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


def seconds(text: str) -> float:
    """A number of seconds from 0 on, and not infinite."""
    return 0.0 if text.strip() in ("0", "0.0") else positive_float(text)


def share_or_none(text: str) -> float:
    """A number from 0 to 1."""
    return 0.0 if text.strip() in ("0", "0.0") else share(text)


def _version(text: str) -> str:
    """A version. The networks for the ablations are accepted too, but not listed."""
    if text not in (*VERSIONS, *STEPS):
        raise argparse.ArgumentTypeError(f"there is no version {text!r}; choose {', '.join(VERSIONS)}")
    return text


def run(name: str, main: Callable[[], object], if_interrupted: str = "interrupted") -> None:
    """Run a script. A `FERError`, a full disk or a place that may not be written is one sentence, and exit status 2.

    Where nobody reads what is printed any more (`… | head -1`), it ends with 141, as programs do that a signal ends.
    """
    # what is closed (`>&-`) takes nothing
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may know fewer letters than names have
    try:
        try:
            main()
        finally:  # argparse's help ends with SystemExit
            sys.stdout.flush()
    except BrokenPipeError:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # Python would flush it once more, and complain
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        sys.exit(141)
    except FERError as error:
        rank = os.environ.get("LOCAL_RANK", "0")
        # the processes of one machine fail alike, so one of them prints
        if not rank.isdigit() or int(rank) == 0:
            print(f"{name}: {error}", file=sys.stderr)
        sys.exit(2)
    except Exception as error:
        file = getattr(error, "filename", None)
        where = f" ({file})" if file else ""
        if isinstance(error, OSError) and error.errno in UNWRITABLE and file:
            print(f"{name}: {file}: {error.strerror}; choose another place", file=sys.stderr)
            sys.exit(2)
        if not is_disk_full(error):
            raise
        print(f"{name}: the disk is full{where}; make room and run the same command again", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"\n{name}: {if_interrupted}", file=sys.stderr)
        sys.exit(130)
