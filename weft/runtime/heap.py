"""The C library's heap, told to give memory back."""

from __future__ import annotations

import ctypes

_M_MMAP_THRESHOLD = -3
_LARGE = 64 * 1024
"""Bytes from which a block is mapped by itself, and unmapped with its end."""


def give_back() -> None:
    """Large tables are replaced by others all the time. glibc takes each one that is freed as a reason to have the
    next ones in its heap, where they leave holes that are never given back; a fixed threshold ends that (mallopt(3)).
    Other C libraries know no such threshold."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE)


def trim() -> None:
    """Pages that are free in the middle of the heap go back, too: after much was read at once (malloc_trim(3)). Other C
    libraries know no such call."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
