"""How the agent is, for who watches over it: from its first moment, when there is only the wish to start."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

import uvicorn

from weft.agent import metrics
from weft.agent.agent import KERNEL
from weft.api import health

if TYPE_CHECKING:
    from weft.agent.agent import Agent


class Health:
    """weft.api.health.Health. ``agent``: set when the node is up and its policy in force."""

    def __init__(self) -> None:
        self.agent: Agent | None = None

    def ailments(self) -> Sequence[str]:
        return self.agent.ended if self.agent else ()

    def missing(self) -> Sequence[str]:
        if self.agent is None:
            return ("the agent is starting",)
        problem = self.agent.problems.get(KERNEL)
        return (*self.agent.ended, *([problem] if problem else ()))

    async def metrics(self) -> str:
        return await metrics.collect(self.agent) if self.agent else ""


@contextlib.asynccontextmanager
async def served(health_port: int, metrics_port: int) -> AsyncIterator[Health]:
    """Answers probes and Prometheus meanwhile; port 0: nobody is answered there. Errors: health.PortError."""
    state = Health()
    with health.listening(health_port, metrics_port) as sockets:
        if not sockets:
            yield state
            return
        config = uvicorn.Config(
            health.build(state),
            log_config=None,
            lifespan="off",
            ws="none",
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
        serving = asyncio.create_task(server.serve(sockets=sockets))
        try:
            yield state
        finally:
            server.should_exit = True
            await serving
