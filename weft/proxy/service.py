"""The gRPC server that Envoy talks to: one unix socket for its configuration and its access log."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from weakref import WeakSet

from grpclib.protocol import H2Protocol
from grpclib.server import Server

from weft.proxy.accesslog import AccessLog
from weft.proxy.ads import Ads


class GrpcServer(Server):
    """Closes its connections when it ends; grpclib only ends the requests in them, and Envoy would wait there."""

    def __init__(self, ads: Ads, log: AccessLog) -> None:
        super().__init__([ads, log])
        self._protocols: WeakSet[H2Protocol] = WeakSet()

    def _protocol_factory(self) -> H2Protocol:
        protocol = super()._protocol_factory()
        self._protocols.add(protocol)
        return protocol

    async def open(self, path: Path, user: int) -> None:
        """Listens; only ``user`` and root may connect. Errors: OSError."""
        path.unlink(missing_ok=True)
        await self.start(path=str(path))
        os.chown(path, user, user)
        path.chmod(0o600)

    async def end(self) -> None:
        self.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(self.wait_closed(), 1.0)
        for protocol in list(self._protocols):
            protocol.processor.close()
        await asyncio.sleep(0)  # transports close their sockets in the loop's next turn
