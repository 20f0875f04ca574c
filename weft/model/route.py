"""Routes of a Service's port after translation: what HTTPRoute and GRPCRoute become, and what Envoy is told.

A routed port of a Service is not translated by the socket hooks: the connection reaches the node's Envoy under the
ClusterIP, and Envoy picks the backend. Matches stand in the order of the Gateway API's precedence, so the first that
fits decides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from weft.model.net import IPAddress
from weft.model.objects import NamespacedName
from weft.model.origin import NOWHERE, FieldPath, Origin


class RouteRef(NamedTuple):
    kind: str
    """``HTTPRoute`` or ``GRPCRoute``."""
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"


class MatchKind(Enum):
    EXACT = "Exact"
    PREFIX = "PathPrefix"
    REGEX = "RegularExpression"
    PRESENT = "Present"
    """Only for headers: gRPC and CORS need it; nobody writes it."""


class ValueMatch(NamedTuple):
    """Of a path, a header or a query parameter."""

    kind: MatchKind
    value: str
    name: str = ""
    """Header (lower case) or query parameter; empty for a path."""


class RouteMatch(NamedTuple):
    """All must hold. ``path`` is always there (the default is PathPrefix /)."""

    path: ValueMatch
    method: str = ""
    headers: tuple[ValueMatch, ...] = ()
    query: tuple[ValueMatch, ...] = ()


class HeaderChange(NamedTuple):
    """RequestHeaderModifier or ResponseHeaderModifier."""

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


NO_CHANGE = HeaderChange()


class Redirect(NamedTuple):
    status: int = 302
    scheme: str = ""
    host: str = ""
    port: int = 0
    """0: as the Gateway API says (the scheme's own if a scheme is given, else the request's)."""
    full_path: str | None = None
    prefix: str | None = None
    """ReplacePrefixMatch: takes the place of the match's path prefix."""


class Rewrite(NamedTuple):
    host: str = ""
    full_path: str | None = None
    prefix: str | None = None


class Cors(NamedTuple):
    allow_origins: tuple[str, ...] = ()
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    allow_credentials: bool = False
    max_age_seconds: int = 5


class ClusterRef(NamedTuple):
    """A Service's port as a backend; its endpoints are in ``Desired.clusters``."""

    service: NamespacedName
    port: int
    h2c: bool = False
    """They are spoken to in HTTP/2 whatever the client speaks; else in the client's version."""


class BackendChoice(NamedTuple):
    """One backendRef with its weight. ``cluster`` None: invalid or unresolved, its share is answered with 500."""

    cluster: ClusterRef | None
    weight: int = 1
    request_headers: HeaderChange = NO_CHANGE
    response_headers: HeaderChange = NO_CHANGE


class Mirror(NamedTuple):
    cluster: ClusterRef
    numerator: int = 1
    denominator: int = 1


class Retry(NamedTuple):
    codes: tuple[int, ...]
    attempts: int
    backoff_ms: int = 0
    """0: Envoy's own."""


class Persistence(NamedTuple):
    """sessionPersistence: by cookie or by header."""

    cookie: bool
    name: str
    lifetime_seconds: int = 0
    """Of the cookie; 0: a session cookie."""
    path: str = "/"
    """Of the cookie."""


@dataclass(frozen=True, slots=True)
class RouteRule:
    """One match of one rule of one route, and what is done with the requests that fit."""

    route: RouteRef
    rule: int
    """Position in spec.rules."""
    name: str
    """Of the named rule; empty without one."""
    match: RouteMatch
    backends: tuple[BackendChoice, ...] = ()
    """Empty without a redirect, or with weights that are all zero: 500."""
    request_headers: HeaderChange = NO_CHANGE
    response_headers: HeaderChange = NO_CHANGE
    redirect: Redirect | None = None
    rewrite: Rewrite | None = None
    mirrors: tuple[Mirror, ...] = ()
    cors: Cors | None = None
    request_timeout_ms: int | None = None
    """None: no limit; 0: none either (GEP-1742)."""
    backend_timeout_ms: int | None = None
    retry: Retry | None = None
    persistence: Persistence | None = None
    origin: Origin = field(default=NOWHERE, compare=False)
    path: FieldPath = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class RouteTable:
    """What happens to requests for one port of one Service, for the clients that share these routes.

    ``rules`` empty: no route concerns these clients; whatever they send (HTTP or not) goes to ``cluster`` untouched.
    """

    cluster: ClusterRef
    """The routed port itself."""
    rules: tuple[RouteRule, ...] = ()
    """In order of precedence; a request that fits none is answered with 404."""


class ClusterEndpoint(NamedTuple):
    """``draining``: terminating but still serving; used only while nobody else is ready, as Kubernetes' proxies do."""

    address: IPAddress
    port: int
    draining: bool = False
