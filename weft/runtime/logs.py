"""What a container wrote: ``DIR/log.1`` and ``DIR/log``, by lines."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO

from weft.runtime import shim

_PERIOD = 0.1


async def lines(directory: Path, follow: bool = False, tail: int | None = None) -> AsyncIterator[bytes]:
    """Lines without their ends, oldest first; ``tail``: only the last so many of what is there at first.

    ``follow``: goes on until the supervisor has ended. A line without an end counts when nothing more can follow.
    """
    older, newest = directory / "log.1", directory / "log"
    file = newest.open("rb")
    try:
        *before, open_end = older.read_bytes().split(b"\n") if older.exists() else [b""]
        rest = bytearray(open_end)
        there = [*before, *_complete(file, rest)]
        if rest and not follow:
            there.append(bytes(rest))
        for line in deque(there, tail):
            yield line
        while follow:
            last_round = not shim.is_alive(directory)
            for line in _complete(file, rest):
                yield line
            if last_round:
                break
            if not _same(newest, file):
                for line in _complete(file, rest):  # what came between the last look and the rotation
                    yield line
                file.close()
                file = newest.open("rb")
            else:
                await asyncio.sleep(_PERIOD)
        if follow and rest:
            yield bytes(rest)
    finally:
        file.close()


def _same(path: Path, file: BinaryIO) -> bool:
    """Whether the path still names the open file (it is rotated by a rename)."""
    opened = Path(f"/proc/self/fd/{file.fileno()}").stat()
    try:
        now = path.stat()
    except FileNotFoundError:
        return True  # in the middle of a rotation, or removed with the pod
    return (now.st_dev, now.st_ino) == (opened.st_dev, opened.st_ino)


def _complete(file: BinaryIO, rest: bytearray) -> Iterator[bytes]:
    """Whole lines; what follows the last of them stays in ``rest``."""
    while block := file.read(65536):
        rest += block
        *whole, tail = bytes(rest).split(b"\n")
        rest[:] = tail
        yield from whole
