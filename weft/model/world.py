"""A snapshot of everything that the plan is computed from. Replaced whole, never edited."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from weft.model.objects import EndpointSlice, Namespace, NamespacedName, Node, NodeConfig, Service, Workload
from weft.model.policy import PolicyRef, PolicySpec
from weft.model.route import RouteRef
from weft.model.routespec import GrantSpec, RouteSpec


@dataclass(frozen=True, slots=True)
class World:
    node: NodeConfig
    """This node."""
    namespaces: Mapping[str, Namespace] = field(default_factory=dict)
    workloads: Mapping[NamespacedName, Workload] = field(default_factory=dict)
    services: Mapping[NamespacedName, Service] = field(default_factory=dict)
    slices: Mapping[NamespacedName, EndpointSlice] = field(default_factory=dict)
    policies: Mapping[PolicyRef, tuple[PolicySpec, ...]] = field(default_factory=dict)
    routes: Mapping[RouteRef, RouteSpec] = field(default_factory=dict)
    grants: Mapping[NamespacedName, GrantSpec] = field(default_factory=dict)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    """The cluster's, by name; empty where there is but one."""
