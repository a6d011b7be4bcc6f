"""The machine a run uses: its cores, and how it is described beside the figures."""

import os
import platform
from pathlib import Path

import accelerate
import torch
from accelerate import Accelerator


def share_cores(accelerator: Accelerator, threads: int | None = None) -> None:
    """Give each CPU process `threads` threads, by default its share of the cores.

    `accelerate launch` leaves a process one thread unless told otherwise, and the other cores idle.
    """
    if threads is None and accelerator.device.type == "cpu":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        threads = max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))  # processes on this machine
    if threads is not None:
        torch.set_num_threads(threads)


def warn_of_slow_precision(accelerator: Accelerator) -> None:
    """Say so where bfloat16, which is to make training faster, makes it many times slower (18 times, seen on AVX2)."""
    emulated = torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "NO AVX", "AVX2")
    if accelerator.mixed_precision == "bf16" and accelerator.device.type == "cpu" and emulated:
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
        "accelerate": accelerate.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processor": processor,
        "threads": torch.get_num_threads(),
    }
