"""Keeping the server's memory flat."""

import ctypes
import sys

_M_ARENA_MAX = -8  # in glibc's malloc.h


def share_arenas(count: int = 2) -> None:
    """Let all threads allocate from `count` arenas, where the C library is glibc; call it before threads start.

    By default each thread gets one of its own, up to eight a core, and keeps what it has freed. Requests are answered
    by whichever thread is free, so memory would grow for hours: by about 100 MB in 1,000 photos, measured on two cores
    (`python docs/demo_speed.py --only memory`, before and after).
    """
    if sys.platform == "linux":
        try:
            ctypes.CDLL("libc.so.6").mallopt(_M_ARENA_MAX, count)
        except (OSError, AttributeError):  # another C library, which has no such arenas
            return
