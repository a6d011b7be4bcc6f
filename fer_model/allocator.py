"""How the C library deals with memory, where it is glibc (mallopt(3)); with another one nothing happens."""

import ctypes
import sys

# in glibc's malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_M_ARENA_MAX = -8


def share_arenas(count: int = 2) -> None:
    """Let all threads allocate from `count` arenas, for a server; call it before threads start.

    By default each thread gets one of its own, up to eight a core, and keeps what it has freed. Requests are answered
    by whichever thread is free, so memory would grow for hours: by about 100 MB in 1,000 photos, measured on two cores
    (`python scripts/demo_speed.py --only memory`, before and after).
    """
    _set({_M_ARENA_MAX: count})


def keep_freed_memory() -> None:
    """Keep freed memory for the next batch, for a program that works through batches and ends.

    By default every large tensor goes back to the kernel, which then clears each page of the next one; what that
    costs: scripts/memory_speed.py.
    """
    _set({_M_TRIM_THRESHOLD: -1, _M_MMAP_MAX: 0})  # never give back, nor take large blocks one by one


def _set(options: dict[int, int]) -> None:
    if sys.platform == "linux":
        try:
            mallopt = ctypes.CDLL("libc.so.6").mallopt
        except (OSError, AttributeError):  # another C library
            return
        for option, value in options.items():
            mallopt(option, value)
