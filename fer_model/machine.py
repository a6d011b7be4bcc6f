"""The machine that a program runs on: its cores, its memory, and its description beside the figures."""

import ctypes
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:  # the Space uses this file too, and loads no accelerate
    from accelerate import Accelerator, PartialState

PACKAGES = ("numpy", "pillow", "opencv-python-headless", "datasets", "onnxruntime")
"""Whose versions may change figures, besides torch's and accelerate's."""

FLAGS = (
    "OMP_",
    "MKL_",
    "ATEN_",
    "ONEDNN_",
    "DNNL_",
    "CUBLAS_",
    "CUDNN_",
    "NVIDIA_TF32_",
    "TORCH_ALLOW_",
    "ACCELERATE_",
)
"""How the names of the environment variables begin that may change them."""


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_cores(accelerator: "Accelerator | PartialState", threads: int | None = None) -> None:
    """Give each CPU process `threads` threads, by default its share of the cores.

    `accelerate launch` gives a process one thread unless told otherwise, and leaves the other cores idle.
    """
    if threads is None and accelerator.device.type == "cpu":
        here = os.environ.get("LOCAL_WORLD_SIZE", "1")  # processes on this machine
        threads = max(1, usable_cores() // max(1, int(here) if here.isdigit() else 1))
    if threads is not None:
        torch.set_num_threads(threads)


def has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 can make training faster; where a CPU emulates it, it is slower (18 times, seen on AVX2)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type != "cpu" or torch.backends.cpu.get_cpu_capability() not in ("DEFAULT", "NO AVX", "AVX2")


def warn_of_slow_precision(accelerator: "Accelerator") -> None:
    """Say so where bfloat16 makes training many times slower instead of faster."""
    if accelerator.mixed_precision == "bf16" and not has_bfloat16(accelerator.device):
        accelerator.print(
            "Warning: this processor has no fast bfloat16; --mixed_precision no will be many times faster here."
        )


def environment(device: torch.device) -> dict:
    """What a reader needs to know about the machine to compare figures."""
    processor = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):  # not Linux, or an unusual one
        pass
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "accelerate": version("accelerate"),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processor": processor,
        "threads": torch.get_num_threads(),
        "packages": {name: _version(name) for name in PACKAGES},
        "flags": {
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "float32_matmul_precision": torch.get_float32_matmul_precision(),
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            **{name: value for name, value in sorted(os.environ.items()) if name.startswith(FLAGS)},
        },
        **_code(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _code() -> dict[str, str | bool | None]:
    """The commit that runs, and whether its files are as they were committed, results aside; None outside a clone."""
    answers = []
    for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no", "--", ".", ":!results")):
        command = ["git", "-C", str(Path(__file__).parents[1]), *words]
        try:
            answers.append(
                subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
            )
        except (OSError, subprocess.SubprocessError):  # no git, or no clone
            return {"commit": None, "clean": None}
    return {"commit": answers[0], "clean": not answers[1]}


# what follows sets options of glibc's malloc, see mallopt(3); with another C library nothing happens

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # as in glibc's malloc.h


def share_arenas(count: int = 2) -> None:
    """Let all threads allocate from `count` arenas, for a server; call it before threads start.

    By default each thread has its own, up to eight a core, and keeps what it has freed. Any free thread answers a
    request, so memory would grow for hours: by about 100 MB in 1,000 photos, measured on two cores
    (`python scripts/demo_speed.py --only memory`, before and after).
    """
    _set({_M_ARENA_MAX: count})


def keep_freed_memory() -> None:
    """Keep freed memory for the next batch, for a program that works through batches and ends.

    By default every large tensor goes back to the kernel, which then clears each page of the next one.
    scripts/memory_speed.py measures what that costs.
    """
    _set({_M_TRIM_THRESHOLD: -1, _M_MMAP_MAX: 0})  # give nothing back, and map no large block by itself


def _set(options: dict[int, int]) -> None:
    if sys.platform == "linux":
        try:
            mallopt = ctypes.CDLL("libc.so.6").mallopt
        except (OSError, AttributeError):  # another C library
            return
        for option, value in options.items():
            mallopt(option, value)
