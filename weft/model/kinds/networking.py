"""``networking.k8s.io/v1`` NetworkPolicy, whole. Lists and their emptiness as in Kubernetes' API reference.

There an empty list and an absent one mean the same (``from: []`` = every source), unlike Cilium's. null is refused: in
a policy it is a template that went wrong more often than it is meant.
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, UnsetType, field

from weft.model.kinds.meta import LabelSelectorShape, ObjectMeta, Strict


class NetworkPolicyPort(Strict, frozen=True):
    protocol: str = "TCP"
    port: int | str | UnsetType = UNSET
    """Absent = every port of the protocol; text = a named port."""
    end_port: int | UnsetType = UNSET


class IPBlock(Strict, frozen=True):
    cidr: str
    except_: tuple[str, ...] = field(default=(), name="except")


class NetworkPolicyPeer(Strict, frozen=True):
    """Either ipBlock alone, or one or both of the selectors."""

    pod_selector: LabelSelectorShape | UnsetType = UNSET
    namespace_selector: LabelSelectorShape | UnsetType = UNSET
    ip_block: IPBlock | UnsetType = UNSET


class NetworkPolicyIngressRule(Strict, frozen=True):
    from_: tuple[NetworkPolicyPeer, ...] = field(default=(), name="from")
    ports: tuple[NetworkPolicyPort, ...] = ()


class NetworkPolicyEgressRule(Strict, frozen=True):
    to: tuple[NetworkPolicyPeer, ...] = ()
    ports: tuple[NetworkPolicyPort, ...] = ()


class NetworkPolicySpec(Strict, frozen=True):
    pod_selector: LabelSelectorShape = LabelSelectorShape()
    """Absent or empty: every pod of the namespace."""
    ingress: tuple[NetworkPolicyIngressRule, ...] = ()
    egress: tuple[NetworkPolicyEgressRule, ...] = ()
    policy_types: tuple[str, ...] = ()


class NetworkPolicy(Strict, frozen=True):
    api_version: str
    kind: str
    spec: NetworkPolicySpec
    metadata: ObjectMeta = ObjectMeta()
    status: Any = None
