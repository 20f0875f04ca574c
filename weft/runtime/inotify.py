"""File changes as they happen (inotify(7)); Python's library has no such call."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_HEAD = struct.Struct("iIII")
MOVED_TO, OVERFLOW = 0x80, 0x4000


class Inotify:
    """Reports files that were renamed into watched directories: how everything here is replaced whole."""

    def __init__(self) -> None:
        self.fd = _check(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify_init1")
        self._paths: dict[int, Path] = {}

    def watch(self, directory: Path) -> None:
        """Errors: OSError. A directory that goes is forgotten by itself."""
        number = _check(_libc.inotify_add_watch(self.fd, bytes(directory), MOVED_TO), str(directory))
        self._paths[number] = directory

    def read(self) -> Iterator[Path | None]:
        """Paths of what came; None: reports were lost, look at everything."""
        try:
            data = os.read(self.fd, 65536)
        except BlockingIOError:
            return
        position = 0
        while position < len(data):
            number, mask, _, length = _HEAD.unpack_from(data, position)
            name = data[position + _HEAD.size : position + _HEAD.size + length].rstrip(b"\0")
            position += _HEAD.size + length
            if mask & OVERFLOW:
                yield None
            elif not mask & MOVED_TO:
                self._paths.pop(number, None)
            elif number in self._paths:
                yield self._paths[number] / os.fsdecode(name)

    def close(self) -> None:
        os.close(self.fd)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result
