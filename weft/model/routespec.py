"""An HTTPRoute or GRPCRoute as somebody wrote it, in one shape for both; its references are not looked up yet.

``weft.routes.bind`` looks them up in a world and makes ``weft.model.route.RouteRule`` of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from weft.model.objects import NamespacedName
from weft.model.origin import NOWHERE, Origin
from weft.model.route import NO_CHANGE, Cors, HeaderChange, Persistence, Redirect, Retry, Rewrite, RouteMatch, RouteRef


class ServiceParent(NamedTuple):
    """A parentRef of kind Service; those of other kinds are somebody else's and not kept."""

    service: NamespacedName
    port: int | None
    section: str
    """The port's name; empty = not given. Without both, every port."""
    position: int
    """In spec.parentRefs."""


class BackendTarget(NamedTuple):
    """A reference to an object that requests are sent to."""

    group: str
    kind: str
    object: NamespacedName
    port: int | None

    def __str__(self) -> str:
        kind = f"{self.kind}.{self.group}" if self.group else self.kind
        return f"{kind} {self.object}" + (f":{self.port}" if self.port else "")


class WeightedTarget(NamedTuple):
    target: BackendTarget
    weight: int
    request_headers: HeaderChange = NO_CHANGE
    response_headers: HeaderChange = NO_CHANGE


class MirrorTarget(NamedTuple):
    target: BackendTarget
    numerator: int = 1
    denominator: int = 1


Rank = tuple[int, ...]
"""How specific a match is, by the rules of its route's kind: the least tuple is looked at first."""


class RankedMatch(NamedTuple):
    rank: Rank
    match: RouteMatch


@dataclass(frozen=True, slots=True)
class RuleSpec:
    """One element of spec.rules."""

    index: int
    name: str
    matches: tuple[RankedMatch, ...]
    """Alternatives; at least one."""
    backends: tuple[WeightedTarget, ...] = ()
    request_headers: HeaderChange = NO_CHANGE
    response_headers: HeaderChange = NO_CHANGE
    redirect: Redirect | None = None
    rewrite: Rewrite | None = None
    mirrors: tuple[MirrorTarget, ...] = ()
    cors: Cors | None = None
    request_timeout_ms: int | None = None
    backend_timeout_ms: int | None = None
    retry: Retry | None = None
    persistence: Persistence | None = None
    unsupported: str = ""
    """What this rule asks for that weft does not do, for people. Its requests are answered with 500."""
    unknown_ref: str = ""
    """An extensionRef among it: a reference that leads nowhere."""


@dataclass(frozen=True, slots=True)
class RouteSpec:
    ref: RouteRef
    created: int
    """Seconds since 1970: the older of two equally specific routes wins."""
    parents: tuple[ServiceParent, ...]
    rules: tuple[RuleSpec, ...]
    origin: Origin = field(default=NOWHERE, compare=False)

    @property
    def is_grpc(self) -> bool:
        return self.ref.kind == GRPC_ROUTE

    def scope(self, service: NamespacedName) -> str:
        """The namespace whose clients it concerns; empty = all (a producer route)."""
        return "" if service.namespace == self.ref.namespace else self.ref.namespace


HTTP_ROUTE, GRPC_ROUTE = "HTTPRoute", "GRPCRoute"


class GrantFrom(NamedTuple):
    group: str
    kind: str
    namespace: str


class GrantTo(NamedTuple):
    group: str
    kind: str
    name: str
    """Empty = every one."""


@dataclass(frozen=True, slots=True)
class GrantSpec:
    """A ReferenceGrant: any of ``from_`` may refer to any of ``to`` in the grant's namespace."""

    from_: tuple[GrantFrom, ...]
    to: tuple[GrantTo, ...]

    def permits(self, source: GrantFrom, target: BackendTarget) -> bool:
        wanted = ((target.group, target.kind, target.object.name), (target.group, target.kind, ""))
        return source in self.from_ and any(to in wanted for to in self.to)
