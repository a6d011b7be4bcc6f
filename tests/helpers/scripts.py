"""The scripts as they are typed, but in this process: importing torch and datasets anew takes seconds each time."""

import contextlib
import io
import runpy
import subprocess
import sys
from pathlib import Path

import torch
from accelerate.state import AcceleratorState

from helpers import ROOT


def python(*command, cwd: Path = ROOT, check: bool = True) -> subprocess.CompletedProcess:
    """`python COMMAND`, a script of the repository or `-m fer_model`: its exit status, and what it prints.

    An error of which the script makes no sentence is raised.
    """
    words = [str(word) for word in command]
    if words[:2] == ["-m", "fer_model"]:
        words = ["fer_model/__main__.py", *words[2:]]
    AcceleratorState._reset_state()  # it is one for all Accelerators of a process
    threads, arguments = torch.get_num_threads(), sys.argv
    printed, said, status = io.StringIO(), io.StringIO(), 0
    try:
        sys.argv = words
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said), contextlib.chdir(cwd):
            runpy.run_path(str(ROOT / words[0]), run_name="__main__")
    except SystemExit as end:
        status = end.code or 0
    finally:
        sys.argv = arguments
        torch.set_num_threads(threads)  # a script takes all cores
    done = subprocess.CompletedProcess(words, status, printed.getvalue(), said.getvalue())
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done
