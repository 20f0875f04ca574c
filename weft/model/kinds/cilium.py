"""``cilium.io/v2`` manifests: CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy, fields of layers 3 and 4, http.

Shapes and defaults are those of Cilium's CRD. In a rule, a list that is absent and a list that is empty mean different
things, so absent is UNSET, and null is neither: it is an error, as it is at an API server. ``Later`` fields exist in
Cilium and are refused by ``weft.policy.cnp`` with a message that says so, whatever their value.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType, field

from weft.model.kinds.meta import LabelSelectorShape, ObjectMeta, Strict

Later = Any | UnsetType
"""A feature of Cilium's that this version does not enforce: refused when present."""


class PortProtocol(Strict, frozen=True):
    port: str
    """A number in quotes, or a port's name; ``"0"`` = every port. Cilium's CRD takes text only."""
    end_port: int | UnsetType = UNSET
    protocol: str = "ANY"


class HeaderMatchShape(Strict, frozen=True):
    """An element of headerMatches."""

    name: str
    value: str = ""
    """Empty: the header is there, whatever it says."""
    mismatch: str = ""
    """Empty, LOG, ADD, DELETE or REPLACE."""
    secret: Later = UNSET


class HttpRule(Strict, frozen=True):
    """An element of rules.http. Empty and absent are the same in every field: whatever the request says."""

    method: str = ""
    path: str = ""
    host: str = ""
    headers: tuple[str, ...] = ()
    header_matches: tuple[HeaderMatchShape, ...] = ()


class L7Rules(Strict, frozen=True):
    """No rules at all, or ``http: []``: the whole port, as Cilium's L7Rules.IsEmpty has it."""

    http: tuple[HttpRule, ...] = ()
    kafka: Later = UNSET
    dns: Later = UNSET
    l7proto: Later = UNSET
    l7: Later = UNSET


class PortRule(Strict, frozen=True):
    """An element of toPorts."""

    ports: tuple[PortProtocol, ...] | UnsetType = UNSET
    rules: L7Rules | UnsetType = UNSET
    terminating_tls: Later = field(default=UNSET, name="terminatingTLS")
    originating_tls: Later = field(default=UNSET, name="originatingTLS")
    server_names: Later = UNSET
    listener: Later = UNSET
    authentication: Later = UNSET
    """Not Cilium's: a mistake so common that it deserves its own message."""


class IcmpField(Strict, frozen=True):
    type: int | str
    """0..255, or a name such as ``EchoRequest``."""
    family: str = "IPv4"


class IcmpRule(Strict, frozen=True):
    fields: tuple[IcmpField, ...] | UnsetType = UNSET


class CidrRule(Strict, frozen=True):
    """An element of fromCIDRSet and toCIDRSet."""

    cidr: str | UnsetType = UNSET
    except_: tuple[str, ...] = field(default=(), name="except")
    cidr_group_ref: Later = UNSET
    cidr_group_selector: Later = UNSET


class K8sService(Strict, frozen=True):
    service_name: Annotated[str, Meta(min_length=1)]
    namespace: str = ""
    """Empty = every namespace."""


class K8sServiceSelector(Strict, frozen=True):
    selector: LabelSelectorShape
    namespace: str = ""
    """Empty = every namespace."""


class ServiceReference(Strict, frozen=True):
    """An element of toServices: exactly one of the two."""

    k8s_service: K8sService | UnsetType = field(default=UNSET, name="k8sService")
    k8s_service_selector: K8sServiceSelector | UnsetType = field(default=UNSET, name="k8sServiceSelector")


class IngressRule(Strict, frozen=True):
    """An element of ingress or ingressDeny."""

    from_endpoints: tuple[LabelSelectorShape, ...] | UnsetType = UNSET
    from_entities: tuple[str, ...] | UnsetType = UNSET
    from_cidr: tuple[str, ...] | UnsetType = field(default=UNSET, name="fromCIDR")
    from_cidr_set: tuple[CidrRule, ...] | UnsetType = field(default=UNSET, name="fromCIDRSet")
    to_ports: tuple[PortRule, ...] | UnsetType = UNSET
    icmps: tuple[IcmpRule, ...] | UnsetType = UNSET
    authentication: Later = UNSET
    from_nodes: Later = UNSET
    from_groups: Later = UNSET
    from_requires: Later = UNSET


class EgressRule(Strict, frozen=True):
    """An element of egress or egressDeny."""

    to_endpoints: tuple[LabelSelectorShape, ...] | UnsetType = UNSET
    to_entities: tuple[str, ...] | UnsetType = UNSET
    to_cidr: tuple[str, ...] | UnsetType = field(default=UNSET, name="toCIDR")
    to_cidr_set: tuple[CidrRule, ...] | UnsetType = field(default=UNSET, name="toCIDRSet")
    to_services: tuple[ServiceReference, ...] | UnsetType = UNSET
    to_ports: tuple[PortRule, ...] | UnsetType = UNSET
    icmps: tuple[IcmpRule, ...] | UnsetType = UNSET
    authentication: Later = UNSET
    to_fqdns: Later = field(default=UNSET, name="toFQDNs")
    to_nodes: Later = UNSET
    to_groups: Later = UNSET
    to_requires: Later = UNSET


class EnableDefaultDeny(Strict, frozen=True):
    ingress: bool | UnsetType = UNSET
    egress: bool | UnsetType = UNSET


class CiliumRule(Strict, frozen=True):
    """``spec``, or an element of ``specs``."""

    endpoint_selector: LabelSelectorShape | UnsetType = UNSET
    ingress: tuple[IngressRule, ...] | UnsetType = UNSET
    ingress_deny: tuple[IngressRule, ...] | UnsetType = UNSET
    egress: tuple[EgressRule, ...] | UnsetType = UNSET
    egress_deny: tuple[EgressRule, ...] | UnsetType = UNSET
    enable_default_deny: EnableDefaultDeny = EnableDefaultDeny()
    description: str = ""
    labels: Any = None
    """For the author's own book-keeping (Cilium's labels.LabelArray); they select nothing."""
    node_selector: Later = UNSET
    log: Later = UNSET


class CiliumNetworkPolicy(Strict, frozen=True):
    """Both kinds: a CiliumClusterwideNetworkPolicy differs only in having no namespace."""

    api_version: str
    kind: str
    metadata: ObjectMeta = ObjectMeta()
    spec: CiliumRule | UnsetType = UNSET
    specs: tuple[CiliumRule, ...] | UnsetType = UNSET
    status: Any = None
    """Written by Cilium's agents, never read."""


class CiliumClusterwideNetworkPolicy(CiliumNetworkPolicy, frozen=True):
    """Policies of the whole cluster."""
