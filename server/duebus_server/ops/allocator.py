"""Bounds what the C allocator keeps of the memory that requests needed for a moment.

glibc gives each thread its own heap, gRPC has many threads, and a heap keeps free memory that is not at its end. An
attack whose calls held at most 60 MiB grew the process to 290 MiB; with one heap, it grows to 120 MiB. In return,
requests of 1 MB take a fifth of a millisecond longer; small ones do not.
"""

from __future__ import annotations

import ctypes

# From malloc.h; see mallopt(3).
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8

KEPT_BYTES = 1 << 20
"""How much free memory the end of the heap may keep."""

LARGE_BYTES = 32 << 10
"""An allocation of this size is returned to the system as soon as it is freed."""


def bound_heap() -> None:
    """Use one heap for all threads, for as long as the process lives. Does nothing without glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
