"""Delta ADS: what Envoy should have, what it has, and what it refused.

One Envoy, one stream. Versions are digests, so a stream that comes back (agent or Envoy restarted) is sent only what
differs from what Envoy says it has. A response that Envoy refuses is sent again resource by resource, so that one bad
resource never blocks others. Everything here runs in the thread of the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from envoy.service.discovery.v3.discovery_pb2 import Resource as ResourceMessage
from grpclib.const import Cardinality, Handler
from grpclib.exceptions import StreamTerminatedError

from weft.proxy.wire import CLUSTER, LISTENER, TYPES, Resource

if TYPE_CHECKING:
    from grpclib.server import Stream

Key = tuple[str, str]
"""Type and name of a resource."""


@dataclass
class _Session:
    """What is known of one stream."""

    queue: asyncio.Queue[DeltaDiscoveryResponse] = field(default_factory=asyncio.Queue)
    subscribed: dict[str, set[str]] = field(default_factory=dict)
    """By type; listeners and clusters are always all wanted."""
    sent: dict[Key, str] = field(default_factory=dict)
    """Versions that were sent, or that Envoy said it has."""
    acknowledged: dict[Key, str] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)
    """Types that had a response; Envoy waits for the first one of each before it works at all."""
    pending: dict[str, list[Key]] = field(default_factory=dict)
    """By nonce, what was sent with it; removals are not listed."""


class Ads:
    def __init__(self) -> None:
        self._wanted: dict[Key, Resource] = {}
        self._refused: dict[Key, tuple[str, str]] = {}
        """Version and Envoy's words."""
        self._removed: set[Key] = set()
        """By this agent, while it may not remove all that it does not know."""
        self._session: _Session | None = None
        self._changed = asyncio.Event()
        self._nonce = 0
        self._complete = False
        """Whether ``_wanted`` is all there is; until then an earlier agent's Envoy keeps what it has."""

    @property
    def connected(self) -> bool:
        return self._session is not None

    def wanted(self, type_: str) -> set[str]:
        return {name for kind, name in self._wanted if kind == type_}

    def find(self, type_: str, name: str) -> Resource | None:
        return self._wanted.get((type_, name))

    def put(self, resources: Iterable[Resource]) -> None:
        for resource in resources:
            self._wanted[resource.type, resource.name] = resource
            self._removed.discard((resource.type, resource.name))
        self._sync()

    def remove(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._wanted.pop(key, None)
            self._refused.pop(key, None)
            self._removed.add(key)
        self._sync()

    def complete(self) -> None:
        """From now on Envoy loses what is not wanted."""
        self._complete = True
        self._removed.clear()
        self._sync()

    def state(self, resource: Resource) -> str | bool:
        """True: Envoy has it; False: not yet; a text: why Envoy refused it."""
        key = (resource.type, resource.name)
        refused = self._refused.get(key)
        if refused and refused[0] == resource.version:
            return refused[1]
        return self._session is not None and self._session.acknowledged.get(key) == resource.version

    async def changed(self) -> None:
        """Returns after the next acknowledgement or refusal."""
        self._changed.clear()
        await self._changed.wait()

    def __mapping__(self) -> dict[str, Handler]:
        """grpclib's mapping; this object is a service."""
        path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
        return {path: Handler(self._serve, Cardinality.STREAM_STREAM, DeltaDiscoveryRequest, DeltaDiscoveryResponse)}

    async def _serve(self, stream: Stream[Any, Any]) -> None:
        session = self._session = _Session()
        writer = asyncio.create_task(self._write(session, stream))
        try:
            async for request in stream:
                self._receive(session, request)
        except StreamTerminatedError:
            pass
        finally:
            writer.cancel()
            if self._session is session:
                self._session = None

    async def _write(self, session: _Session, stream: Stream[Any, Any]) -> None:
        while True:
            await stream.send_message(await session.queue.get())

    def _receive(self, session: _Session, request: DeltaDiscoveryRequest) -> None:
        type_ = request.type_url
        if type_ not in session.subscribed:
            session.subscribed[type_] = set()
            for name, version in request.initial_resource_versions.items():
                session.sent[type_, name] = session.acknowledged[type_, name] = version
            fresh = set(request.resource_names_subscribe) - set(request.initial_resource_versions)
        else:
            fresh = set(request.resource_names_subscribe)
        session.subscribed[type_] |= set(request.resource_names_subscribe)
        session.subscribed[type_] -= set(request.resource_names_unsubscribe)
        # Who asks for something gets it, also if it was sent before (xDS: subscribing again).
        for name in fresh | set(request.resource_names_unsubscribe):
            session.sent.pop((type_, name), None)
            session.acknowledged.pop((type_, name), None)
        if request.response_nonce:
            self._answered(session, request)
        self._sync()
        self._changed.set()

    def _answered(self, session: _Session, request: DeltaDiscoveryRequest) -> None:
        keys = session.pending.pop(request.response_nonce, [])
        if not request.HasField("error_detail"):
            for key in keys:
                if key in session.sent:
                    session.acknowledged[key] = session.sent[key]
                    self._refused.pop(key, None)
        elif len(keys) > 1:
            for key in keys:
                if key in self._wanted:
                    self._send(session, key[0], [self._wanted[key]], [])
        elif keys:
            self._refused[keys[0]] = (session.sent.get(keys[0], ""), request.error_detail.message)

    def _sync(self) -> None:
        """Send what differs."""
        session = self._session
        if session is None:
            return
        for type_ in TYPES:
            if type_ not in session.subscribed:
                continue
            everything = type_ in (CLUSTER, LISTENER)
            news = [
                resource
                for (kind, name), resource in self._wanted.items()
                if kind == type_ and (everything or name in session.subscribed[type_])
                if session.sent.get((type_, name)) != resource.version
                if self._refused.get((type_, name), ("",))[0] != resource.version
            ]
            gone = []
            if everything:
                mine = session.sent if self._complete else session.sent.keys() & self._removed
                gone = [name for kind, name in mine if kind == type_ and (kind, name) not in self._wanted]
            if news or gone or (everything and type_ not in session.answered):
                self._send(session, type_, news, gone)

    def _send(self, session: _Session, type_: str, news: list[Resource], gone: list[str]) -> None:
        self._nonce += 1
        response = DeltaDiscoveryResponse(type_url=type_, nonce=str(self._nonce), removed_resources=gone)
        for resource in news:
            session.sent[type_, resource.name] = resource.version
            message = ResourceMessage(name=resource.name, version=resource.version, resource=resource.body)
            response.resources.append(message)
        for name in gone:
            session.sent.pop((type_, name), None)
            session.acknowledged.pop((type_, name), None)
        session.answered.add(type_)
        session.pending[response.nonce] = [(type_, resource.name) for resource in news]
        session.queue.put_nowait(response)
