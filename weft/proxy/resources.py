"""All resources of Envoy for listeners and clusters, as JSON by type. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from weft.model.desired import Listener
from weft.model.http import HttpRuleSet
from weft.model.route import ClusterEndpoint, ClusterRef, RouteTable
from weft.proxy import names
from weft.proxy.clusters import assignment, backends
from weft.proxy.listeners import listener
from weft.proxy.routes import table_routes
from weft.proxy.rules import rule_set_routes

Json = dict[str, Any]
FAMILIES = (4, 6)


class ListenerResources(NamedTuple):
    listener: Json
    routes: tuple[Json, ...]
    """RouteConfigurations that it refers to."""


def listener_resources(
    number: int, content: Listener, log_headers: Sequence[str] = (), v6: bool = True, traced: bool = False
) -> ListenerResources:
    """``v6``: the node has IPv6. ``traced``: there is a collector.

    Errors: ValueError with the reason why Envoy cannot do what the rules say.
    """
    routes: tuple[Json, ...]
    if isinstance(content, HttpRuleSet):
        routes = (rule_set_routes(number, content),)
    elif content.rules:
        routes = tuple(table_routes(number, content, family) for family in FAMILIES)
    else:
        routes = ()
    return ListenerResources(listener(number, content, log_headers, v6, traced), routes)


def references(content: Listener) -> set[ClusterRef]:
    """The clusters that a listener names."""
    if not isinstance(content, RouteTable):
        return set()
    if not content.rules:
        return {content.cluster}
    chosen = {choice.cluster for rule in content.rules for choice in rule.backends if choice.cluster and choice.weight}
    return chosen | {mirror.cluster for rule in content.rules for mirror in rule.mirrors}


def cluster_resources(refs: Iterable[ClusterRef]) -> list[Json]:
    return [backends(names.cluster_name(ref, family), ref.h2c) for ref in sorted(refs) for family in FAMILIES]


def endpoint_resources(
    refs: Iterable[ClusterRef], clusters: Mapping[ClusterRef, tuple[ClusterEndpoint, ...]]
) -> list[Json]:
    """ClusterLoadAssignments; a reference without endpoints has an empty one."""
    return [
        assignment(
            names.cluster_name(ref, family),
            [endpoint for endpoint in clusters.get(ref, ()) if endpoint.address.version == family],
        )
        for ref in sorted(refs)
        for family in FAMILIES
    ]
