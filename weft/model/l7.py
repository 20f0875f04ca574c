"""One request (or one connection without requests) that this node's Envoy saw: a record of its access log.

It is joined to the layer-4 flow by the client's address and port and the address that the client dialled, which Envoy
keeps on both of its legs.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from weft.model.net import IPAddress
from weft.model.route import RouteRef


class Phase(Enum):
    """Where a connection is on its way through Envoy (docs/decisions/0007): always in this order, each at most once."""

    ROUTE = "route"
    """The client dialled a routed port of a Service."""
    EGRESS = "egress"
    """The http rules of the client's policy."""
    INGRESS = "ingress"
    """The http rules of the server's policy."""


class L7Verdict(Enum):
    FORWARDED = "forwarded"
    """The server got it, whatever it answered."""
    DROPPED = "dropped"
    """No rule allows it (403), or it is not HTTP at all, or not HTTP that a rule could be asked about (400, 431)."""
    ERROR = "error"
    """Allowed, but nobody answered: no backend, connection refused, time-out, reset. ``details`` says which."""
    REDIRECTED = "redirected"
    """Answered by a route's redirect filter."""


class PolicyRuleRef(NamedTuple):
    """Which alternative of a rule set let the request pass."""

    rule: int
    """``HttpPermission.rule`` (a ``RuleId``)."""
    position: int
    """In ``HttpRuleSet.permissions`` of that listener, from 0."""


class RouteRuleRef(NamedTuple):
    """Which rule of which route decided."""

    route: RouteRef
    rule: int
    """Position in its ``spec.rules``."""


class L7Record(NamedTuple):
    """What is unknown is empty, 0 or None."""

    time_ns: int
    """When the request began; nanoseconds since 1970 (wall clock)."""
    latency_ns: int
    """From the request's first byte to the last byte of the answer to the client; 0 if there was no answer."""
    client: IPAddress
    client_port: int
    server: IPAddress
    """The address that the client dialled: a ClusterIP in phase ROUTE, else the server's own."""
    server_port: int
    upstream: IPAddress | None
    """Whom Envoy forwarded to; None if it forwarded to nobody."""
    upstream_port: int
    listener: int
    phase: Phase
    protocol: str
    """``HTTP/1.0``, ``HTTP/1.1``, ``HTTP/2``, ``HTTP/3``; ``TCP`` for a connection in which Envoy saw no request."""
    verdict: L7Verdict
    method: str = ""
    scheme: str = ""
    host: str = ""
    path: str = ""
    """With the query, after normalisation: what the rules were asked about and the server was sent."""
    original_path: str = ""
    """As the client wrote it, if Envoy forwarded another one (a rewrite); else empty."""
    status: int = 0
    """Of the answer that the client got; 0: none."""
    grpc_status: int | None = None
    """RFC: gRPC over HTTP/2, ``grpc-status``; None if the request is not gRPC or was not answered."""
    rule: PolicyRuleRef | RouteRuleRef | None = None
    """None: no rule fitted, or Envoy did not come to ask for one."""
    details: str = ""
    """Why Envoy did not simply forward: ``TLS where HTTP is expected``, ``server refused the connection``..."""
    mismatches: tuple[str, ...] = ()
    """Headers that were not as a headerMatch with ``mismatch: LOG|ADD|DELETE|REPLACE`` says; the request passed."""
    request_headers: tuple[tuple[str, str], ...] = ()
    """Only those that the configuration asks for, in lower case; never one that carries a credential."""
    request_bytes: int = 0
    response_bytes: int = 0
    """Bodies; of a TCP connection, all bytes."""
    request_id: str = ""
    """``x-request-id``, if the client sent one."""
    trace_id: str = ""
    """32 hex digits of a W3C ``traceparent``."""
    traceparent: str = ""

    @property
    def is_grpc(self) -> bool:
        return self.grpc_status is not None

    @property
    def url(self) -> str:
        """``http://product-api/public?x=1``; empty for a connection without a request."""
        return f"{self.scheme or 'http'}://{self.host}{self.path}" if self.method else ""


class L7Entry(Protocol):
    """A record that nobody has read yet."""

    @property
    def end_ns(self) -> int:
        """When the answer was there (without one: when the request began); nanoseconds since 1970 (wall clock)."""

    def record(self) -> L7Record | None:
        """None: of a connection that is none of weft's."""


class L7Batch(Protocol):
    """Entries of Envoy's access log as they came, in bytes: most are forgotten without ever having been read, and
    reading one takes longer than Envoy takes for the request."""

    @property
    def nbytes(self) -> int: ...

    def __len__(self) -> int:
        """How many entries."""

    def entries(self) -> Sequence[L7Entry]:
        """In Envoy's order, which is nearly that of their ends."""
