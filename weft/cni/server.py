"""Answers weft-cni (cni/agent.c) over a unix socket that only root can open.

Request: ``struct header``, the environment, the network configuration; with it comes the descriptor of the pod's
network namespace. Answer: a digit, ``0`` for success, the text to print, and NUL, without which it was not finished.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from weft.cni.pods import KubeletPods
from weft.cni.protocol import CniError, Code, Request, error, parse, version_of
from weft.cni.records import notes_folder

log = logging.getLogger("weft.cni")

_HEADER = struct.Struct("=8sII")
_MAGIC = b"weftcni1"
_ENVIRONMENT_MAX, _CONFIG_MAX = 1 << 18, 1 << 20
_RECEIVE_SECONDS, _ACCEPT_SECONDS = 30.0, 0.1
_BACKLOG = 512
_ONLY_FOR_THE_CALLER = ("ADD", "CHECK")
"""Nobody needs these any more when their caller is gone; the others are finished."""


@asynccontextmanager
async def serve(pods: KubeletPods, path: Path) -> AsyncIterator[None]:
    """Answers at ``path`` meanwhile, and finishes what was deleted while nobody did. On the way out what is under way
    is let go: an ADD is undone."""
    listener = _listen(path)
    server = _Server(pods, notes_folder(path))
    accepting = asyncio.ensure_future(server.accept(listener))
    # After the socket is there: whoever left a note asks once more, and is heard (cni/main.c).
    server.start(pods.delete_noted(server.notes))
    try:
        yield
    finally:
        accepting.cancel()
        listener.close()
        await server.close()


def _listen(path: Path) -> socket.socket:
    """In its place with all its rights at once, whoever had it before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    os.fchmod(listener.fileno(), 0o600)  # becomes that of the file (unix(7))
    listener.bind(str(fresh))
    listener.listen(_BACKLOG)
    fresh.rename(path)
    return listener


class _Asked(NamedTuple):
    environment: bytes
    config: bytes
    netns: int
    """A descriptor; -1: none came."""


class _Server:
    def __init__(self, pods: KubeletPods, notes: Path) -> None:
        self._pods, self.notes = pods, notes
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError as failure:  # no descriptor left, for a while
                log.error("accept: %s", failure)
                await asyncio.sleep(_ACCEPT_SECONDS)
            else:
                self.start(self._serve(connection))

    async def close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.ExitStack() as descriptors:
            try:
                async with asyncio.timeout(_RECEIVE_SECONDS):
                    asked = await _receive(connection, descriptors)
            except (TimeoutError, OSError, ValueError) as failure:
                log.warning("a request that is none: %s", failure)
                return
            answer = await self._answer(asked, connection)
            with contextlib.suppress(OSError):  # the caller has gone
                await asyncio.get_running_loop().sock_sendall(connection, answer)

    async def _answer(self, asked: _Asked, connection: socket.socket) -> bytes:
        command, code = "", Code.INTERNAL
        try:
            request = parse(asked.environment, asked.config)
            command = request.command
            work = asyncio.ensure_future(self._do(request, asked.netns))
            with _watched(connection, work if request.command in _ONLY_FOR_THE_CALLER else None):
                done = await work
            self._pods.requests[command, 0] += 1
            return b"0" + (msgspec.json.encode(done) + b"\n" if done else b"") + b"\0"
        except CniError as failure:
            code, words = failure.code, str(failure)
            log.warning("code %d: %s", code, words)
        except Exception as failure:
            log.exception("a request failed")
            words = f"{type(failure).__name__}: {failure}; please report this"
        self._pods.requests[command, int(code)] += 1
        return b"1" + msgspec.json.encode(error(version_of(asked.config), code, words)) + b"\n\0"

    async def _do(self, request: Request, netns: int) -> dict[str, Any] | None:
        if netns < 0 and request.command in _ONLY_FOR_THE_CALLER:
            raise CniError(Code.INVALID_ENVIRONMENT, f"CNI_NETNS {request.netns!r}: its descriptor did not come")
        match request.command:
            case "ADD":
                return await self._pods.add(request, netns)
            case "CHECK":
                await self._pods.check(request, netns)
            case "DEL":
                await self._pods.delete(request.container, request.ifname)
                (self.notes / f"{request.container}.{request.ifname}").unlink(missing_ok=True)
            case "GC":
                await self._pods.collect(request.valid_attachments())
        return None  # STATUS: we are here


@contextlib.contextmanager
def _watched(connection: socket.socket, work: asyncio.Future[Any] | None) -> Iterator[None]:
    """Cancels ``work`` when the caller hangs up."""
    loop = asyncio.get_running_loop()
    if work is not None:
        loop.add_reader(connection, work.cancel)
    try:
        yield
    finally:
        loop.remove_reader(connection)


async def _receive(connection: socket.socket, descriptors: contextlib.ExitStack) -> _Asked:
    """``descriptors`` closes what came with it. Errors: ValueError, OSError."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(connection, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(connection)
    head, came, _, _ = socket.recv_fds(connection, _HEADER.size, 4, socket.MSG_CMSG_CLOEXEC)
    for descriptor in came:
        descriptors.callback(os.close, descriptor)
    if len(head) != _HEADER.size:
        raise ValueError(f"{len(head)} bytes")
    magic, environment, config = _HEADER.unpack(head)
    if magic != _MAGIC or environment > _ENVIRONMENT_MAX or config > _CONFIG_MAX:
        raise ValueError(f"header {head.hex()}")
    body = bytearray()
    while len(body) < environment + config:
        part = await loop.sock_recv(connection, environment + config - len(body))
        if not part:
            raise ValueError(f"ended after {len(body)} of {environment + config} bytes")
        body += part
    return _Asked(bytes(body[:environment]), bytes(body[environment:]), came[0] if came else -1)
