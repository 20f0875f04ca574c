"""What a kubelet's probes and Prometheus ask, over TCP: whether the agent lives and is ready, and its numbers. No more:
who is on the network learns nothing of objects here."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator, Sequence
from typing import Protocol

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, Router

EXPOSITION = "text/plain; version=0.0.4"
"""Prometheus' text format."""


class Health(Protocol):
    """Lines for people; none: all is well."""

    def ailments(self) -> Sequence[str]:
        """What only a new start would mend."""

    def missing(self) -> Sequence[str]:
        """What keeps the agent from serving now."""

    async def metrics(self) -> str:
        """In Prometheus' text format."""


class PortError(Exception):
    """A port cannot be had; names it and the option."""


def build(health: Health) -> Router:
    """``/healthz`` and ``/readyz``: 200 "ok", or 503 and why not. ``/metrics``."""

    async def healthz(request: Request) -> PlainTextResponse:
        return _verdict(health.ailments())

    async def readyz(request: Request) -> PlainTextResponse:
        return _verdict(health.missing())

    async def metrics(request: Request) -> PlainTextResponse:
        return PlainTextResponse(await health.metrics(), media_type=EXPOSITION)

    return Router([Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)])


def _verdict(lines: Sequence[str]) -> PlainTextResponse:
    return PlainTextResponse("\n".join(lines or ["ok"]) + "\n", 503 if lines else 200)


@contextlib.contextmanager
def listening(health_port: int, metrics_port: int) -> Iterator[list[socket.socket]]:
    """On 127.0.0.1, and on every address; 0: not at all. Errors: PortError."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(_listener(option, address, port))
            for option, address, port in (
                ("--health-port", "127.0.0.1", health_port),
                ("--metrics-port", "", metrics_port),
            )
            if port
        ]


def _listener(option: str, address: str, port: int) -> socket.socket:
    """An empty address: all, of both families if the kernel has both."""
    both = not address and socket.has_dualstack_ipv6()
    try:
        return socket.create_server(
            (address, port), family=socket.AF_INET6 if both else socket.AF_INET, dualstack_ipv6=both, backlog=64
        )
    except OSError as error:
        cause = "somebody else listens there" if error.errno == errno.EADDRINUSE else error.strerror
        raise PortError(f"{option} {port}: {cause}; choose another port") from None
