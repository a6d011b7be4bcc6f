"""Many files shared out over processes, GPUs and machines: each file once, one table at the end.

    accelerate launch --num_processes 4 -m fer_model predict photos/ --output table.csv

A process appends every file that it has finished to a file of its own, in a folder beside the table: its part. Where
a process dies, the others stop, and the same command goes on with what is unfinished.
"""

import contextlib
import csv
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tqdm.auto import tqdm

from fer_model.errors import ImageError
from fer_model.inference.bulk import columns
from fer_model.machine import share_cores

if TYPE_CHECKING:  # a light installation has no accelerate
    from accelerate import PartialState

BEAT, SILENCE = 5.0, 45.0
"""Seconds from one sign of life of a process to the next, and without one until it counts as dead."""

_END = '{"ended": true}\n'


def parts_of(output: Path) -> Path:
    """The folder of a table's parts. All processes must see it: on several machines it lies on a shared disk."""
    return output.with_name(f"{output.name}.parts")


def this_process() -> "PartialState":
    """Which of the launcher's processes this is, on a GPU if there is one; on a CPU with its share of the cores."""
    import torch
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available())
    share_cores(state)
    return state


def share_out(
    files: list[Path],
    output: Path,
    names: tuple[str, ...],
    settings: dict,
    rows_of: Callable[[int, Path], Iterable[dict]],
    state: "PartialState",
) -> None:
    """Work on this process's share of the files. The main process then joins all parts to the table.

    Args:
        names: of the classes, for the table's columns.
        settings: what the rows depend on; those of an earlier, unfinished run must be the same.
        rows_of: a file's number, from 0, and its path -> its rows by `bulk.columns`.

    Raises:
        ImageError: an unfinished run had other settings, the processes do not share a disk, or no file could be read.
    """
    from accelerate.utils import broadcast_object_list

    parts = parts_of(output)
    parts.mkdir(parents=True, exist_ok=True)
    # the main process alone looks, so that all work from one list
    todo = [(files, unfinished(files, parts, settings)) if state.is_main_process else None]
    files, numbers = broadcast_object_list(todo)[0]
    mine = parts / f"{state.process_index}.jsonl"
    with mine.open("a", encoding="utf-8") as part:
        # a line that was cut off is ended here
        part.write("\n" + json.dumps({"settings": settings}) + "\n")
        part.flush()
        state.wait_for_everyone()
        everyone = [parts / f"{number}.jsonl" for number in range(state.num_processes)]
        if not all(part.is_file() for part in everyone):
            raise ImageError(
                f"Not all processes see the same {parts}; --output must be on a disk that all machines share."
            )
        _stop_with_the_others(mine, everyone)
        own = numbers[state.process_index :: state.num_processes]
        for number in tqdm(own, desc="recognising, my share", unit="file", disable=not state.is_main_process):
            part.write(json.dumps({"file": str(files[number]), "rows": list(rows_of(number, files[number]))}) + "\n")
            part.flush()
        part.write(_END)
    # a process that has done its share waits too, so that it can say where to go on if another one dies
    while not all(map(_has_ended, everyone)):
        time.sleep(0.2)
    if state.is_main_process:
        written = join(files, parts, output, names)
        shutil.rmtree(parts, ignore_errors=True)
        if not written:
            raise ImageError("None of these files could be read.")


def unfinished(files: list[Path], parts: Path, settings: dict) -> list[int]:
    """The numbers of the files that no part holds yet.

    Raises:
        ImageError: a part was made with other settings.
    """
    done = set()
    for part in parts.glob("*.jsonl"):
        for _, line in _lines(part):
            if line.get("settings", settings) != settings:
                raise ImageError(
                    f"{parts} holds an unfinished run with another model or other options; repeat that command, or "
                    "delete the folder."
                )
            done.add(line.get("file"))
    return [number for number, file in enumerate(files) if str(file) not in done]


def join(files: list[Path], parts: Path, output: Path, names: tuple[str, ...]) -> int:
    """Write the table in the order of the files, and return how many rows it has."""
    where = {line["file"]: (part, start) for part in parts.glob("*.jsonl") for start, line in _lines(part, "file")}
    new, written = output.with_name(f"{output.name}.new"), 0
    with contextlib.ExitStack() as stack, new.open("w", newline="", encoding="utf-8") as table:
        opened = {part: stack.enter_context(part.open("rb")) for part in parts.glob("*.jsonl")}
        writer = csv.DictWriter(table, columns(names))
        writer.writeheader()
        for file in files:
            part, start = where[str(file)]
            opened[part].seek(start)
            rows = json.loads(opened[part].readline())["rows"]
            writer.writerows(rows)
            written += len(rows)
    new.replace(output)
    return written


def _lines(part: Path, key: str = "") -> Iterator[tuple[int, dict[str, Any]]]:
    """Where each line begins, in bytes, and what it says; without lines that a kill cut off, or that lack a key."""
    start = 0
    with part.open("rb") as file:
        for line in file:
            try:
                said = json.loads(line)
            except ValueError:
                said = {}
            if said and (not key or key in said):
                yield start, said
            start += len(line)


def _has_ended(part: Path) -> bool:
    try:
        with part.open("rb") as file:
            file.seek(max(0, part.stat().st_size - len(_END)))
            return file.read() == _END.encode()
    except FileNotFoundError:  # the main process has joined the parts, and removes them
        return True


def _stop_with_the_others(mine: Path, everyone: list[Path]) -> None:
    """From now on give signs of life, and end this process when another one gives none, or when it is told to end.

    The launcher tells the processes of its own machine at once. Those of other machines notice by themselves.
    """

    def stop(*_) -> NoReturn:
        said = (
            f"\nfer_model: stopped, because another process has ended or this one was told to; what is finished is in "
            f"{mine.parent}, and the same command goes on from there\n"
        )
        os.write(2, said.encode(errors="replace"))  # print may not be called while a bar is being printed
        os._exit(2)  # a normal exit may wait for the dead

    def watch() -> None:
        heard: dict[Path, tuple[float, float]] = {}  # the last sign of life, and when it was seen by this clock
        with contextlib.suppress(FileNotFoundError):  # the main process removes the parts at the end
            while True:
                os.utime(mine)
                now = time.monotonic()
                for part in everyone:
                    with part.open("rb") as file:  # a network's disk asks anew what it knows of a file that is opened
                        sign = os.fstat(file.fileno()).st_mtime
                    if heard.get(part, (None,))[0] != sign:
                        heard[part] = sign, now
                    if now - heard[part][1] > SILENCE and not _has_ended(part):
                        stop()
                time.sleep(BEAT)

    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=watch, daemon=True).start()
