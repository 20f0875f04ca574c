"""Policy after translation: what CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy and NetworkPolicy all become.

Selectors are values: two equal selectors are the same selector, wherever they were written. What each field means is
given once, by ``weft.policy.decide``; the compiler and the BPF program must agree with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum

from weft.model.http import HttpMatch
from weft.model.net import Prefix
from weft.model.origin import NOWHERE, FieldPath, Origin


class Direction(IntEnum):
    EGRESS = 0
    INGRESS = 1


class Action(Enum):
    ALLOW = "allow"
    DENY = "deny"


class Operator(Enum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


@dataclass(frozen=True, slots=True, order=True)
class Requirement:
    """One field of a label selector. ``key`` carries its source; ``any:`` matches the key under every source."""

    key: str
    operator: Operator = field(compare=True)
    values: tuple[str, ...] = ()
    """Sorted. Exactly the values of In and NotIn; matchLabels is In with one."""
    field_path: FieldPath = field(default=(), compare=False, hash=False)
    """Where it was written, below the policy document; not part of its value."""


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """All requirements hold. No requirements: everything that has an identity which is not `unknown`."""

    requirements: tuple[Requirement, ...] = ()
    """Sorted."""


@dataclass(frozen=True, slots=True)
class CidrSelector:
    """Addresses in ``prefix`` and in none of ``excepts``.

    ``covers_pods``: NetworkPolicy's ipBlock means pods and nodes too; a CNP's CIDR never does (it only matches what
    has no other identity than world, per Cilium's documentation).
    """

    prefix: Prefix
    excepts: tuple[Prefix, ...] = ()
    covers_pods: bool = False


@dataclass(frozen=True, slots=True)
class PeerPortSelector:
    """Egress to a named port: peers for which ``name`` is ``port``/``protocol``. Never written by people."""

    name: str
    protocol: int
    port: int


@dataclass(frozen=True, slots=True)
class ServiceSelector:
    """toServices: whatever answers for these services, known only together with the World.

    ``weft.policy.services.resolve`` replaces it before anything is compiled or decided.
    """

    namespace: str
    """Empty: services of every namespace."""
    name: str = ""
    """Empty: by ``labels``."""
    labels: LabelSelector | None = None
    """Over the services' own labels, bare keys."""


Selector = LabelSelector | CidrSelector | ServiceSelector


@dataclass(frozen=True, slots=True)
class PortMatch:
    """Ports of one protocol. ``name`` set: a named port, resolved on the destination pod, and first/last are 0.

    Ports are inclusive and 0..65535; ICMP and ICMPv6 use ``type << 8 .. type << 8 | 255``.
    """

    protocol: int
    first: int = 0
    last: int = 65535
    name: str = ""
    http: tuple[HttpMatch, ...] | None = None
    """TCP only. None: the whole port; else the requests that fit one of these, never empty."""


@dataclass(frozen=True, slots=True)
class PolicyRef:
    kind: str
    """``CiliumNetworkPolicy``, ``CiliumClusterwideNetworkPolicy`` or ``NetworkPolicy``."""
    namespace: str
    """Empty for a clusterwide one."""
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace + '/' if self.namespace else ''}{self.name}"


@dataclass(frozen=True, slots=True)
class Rule:
    """One element of ingress, egress, ingressDeny or egressDeny."""

    policy: PolicyRef
    direction: Direction
    action: Action
    index: int
    """Position in its list, over all ``specs``: with policy, direction and action it names the rule."""
    peers: tuple[Selector, ...] | None
    """Alternatives. None = every peer, addresses without an identity included; () = none at all."""
    ports: tuple[PortMatch, ...] | None
    """Alternatives. None = every protocol and port; () = none at all."""
    origin: Origin = field(default=NOWHERE, compare=False)
    path: FieldPath = field(default=(), compare=False)
    """``("spec", "ingress", 0)``: with origin, the file and line that explanations show."""
    peer_paths: tuple[FieldPath, ...] = field(default=(), compare=False)
    """Where each of ``peers`` was written (same order)."""
    port_paths: tuple[FieldPath, ...] = field(default=(), compare=False)
    """Where each of ``ports`` was written (same order)."""


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """One ``spec`` (or one of ``specs``): which pods, which directions become default-deny, which rules."""

    policy: PolicyRef
    subject: LabelSelector
    """Over identity labels; for a namespaced policy the namespace is one of its requirements."""
    default_deny: frozenset[Direction]
    """Directions in which being selected alone isolates the pod."""
    rules: tuple[Rule, ...]
    origin: Origin = field(default=NOWHERE, compare=False)
    path: FieldPath = field(default=("spec",), compare=False)
