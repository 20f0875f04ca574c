"""The agent's API on its socket, from READY to SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from weft.agent.agent import Agent
from weft.agent.health import Health
from weft.api.server import Backend, build

log = logging.getLogger("weft.agent")


async def serve(agent: Agent, answers: Backend, state: Health) -> None:
    """Until SIGTERM or SIGINT."""
    paths = agent.paths
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, done.set)
    server = uvicorn.Server(
        uvicorn.Config(
            build(answers), log_config=None, lifespan="off", ws="none", access_log=False, timeout_graceful_shutdown=1
        )
    )
    with _api_socket(paths.run_dir / "agent.sock") as listener:
        serving = asyncio.create_task(_without_signals(server).serve(sockets=[listener]))
        state.agent = agent
        _notify("READY=1")
        log.info("node %s is served on %s", paths.name, paths.run_dir / "agent.sock")
        await done.wait()
        state.agent = None
        _notify("STOPPING=1")
        server.should_exit = True
        await serving


def _without_signals(server: uvicorn.Server) -> uvicorn.Server:
    """The agent handles SIGTERM itself."""
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    return server


@contextlib.contextmanager
def _api_socket(path: Path) -> Iterator[socket.socket]:
    """Only root may open it, from its first moment; there is one or the other socket at every moment."""
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        before = os.umask(0o177)
        try:
            listener.bind(str(temporary))
        finally:
            os.umask(before)
        listener.listen(128)
        temporary.rename(path)
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


def _notify(message: str) -> None:
    """systemd's readiness protocol, sd_notify(3)."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(message.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)
