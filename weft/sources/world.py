"""Stored objects → the values that plans are computed from. One object gives one value, so a World is kept up to date
object by object; ``updated`` copies the mappings that change and shares the rest.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from weft.model.kinds.core import Pod
from weft.model.kinds.discovery import Endpoint
from weft.model.kinds.discovery import EndpointSlice as SliceShape
from weft.model.net import PROTOCOL_NUMBERS, IPAddress
from weft.model.objects import (
    EndpointSlice,
    LocalEndpoint,
    NamedPort,
    Namespace,
    NamespacedName,
    Node,
    NodeConfig,
    Service,
    ServicePort,
    SliceEndpoint,
    Workload,
)
from weft.model.origin import ManifestError
from weft.model.policy import PolicyRef, PolicySpec
from weft.model.route import RouteRef
from weft.model.routespec import RouteSpec
from weft.model.world import World
from weft.plan.diff import Edition
from weft.policy.translate import translate
from weft.routes.translate import grant, grpc_route, http_route
from weft.sources import registry
from weft.sources.admission import addresses_of
from weft.sources.errors import ManifestErrors
from weft.sources.objects import Change, Key, Resource, Stored
from weft.sources.rules.services import HEADLESS, SERVICE_NAME_LABEL

ZONE_LABEL = "topology.kubernetes.io/zone"
Locals = Mapping[NamespacedName, LocalEndpoint]
"""What the runtime knows of the node's own pods; a pod without an entry has no way to be reached yet."""

_FIELDS = {
    registry.NAMESPACE: "namespaces",
    registry.NODE: "nodes",
    registry.POD: "workloads",
    registry.SERVICE: "services",
    registry.ENDPOINT_SLICE: "slices",
    **dict.fromkeys(registry.POLICIES, "policies"),
    **dict.fromkeys(registry.ROUTES, "routes"),
    registry.REFERENCE_GRANT: "grants",
}
"""The field of World that objects of a kind live in; Deployments have none."""
_SAME_AS = {"PreferClose": "PreferSameZone"}
"""The older spelling of a Service's trafficDistribution."""
_WITH_STATUS = (registry.HTTP_ROUTE, registry.GRPC_ROUTE)
"""Kinds whose status weft writes and does not read: a change of it alone is none of their value."""


class Edit(NamedTuple):
    """One value of the world that is another one now. What both kinds of source hand to the agent."""

    field: str
    """Of World: ``workloads``."""
    key: Any
    value: Any
    """None: gone."""


def edited(world: World, edits: Iterable[Edit]) -> World:
    """``world`` after ``edits``, in their order. What nothing touches stays the same object."""
    fields: dict[str, Edition[Any, Any]] = {}
    for name, key, value in edits:
        if name not in fields:
            fields[name] = Edition(getattr(world, name))
        if value is None:
            fields[name].remove(key)
        else:
            fields[name][key] = value
    more: dict[str, Any] = dict(fields)
    return replace(world, **more) if fields else world


def build_world(node: NodeConfig, objects: Iterable[Stored], local: Locals) -> World:
    """The whole world. Raises ManifestErrors for stored policies that this version cannot translate."""
    return updated(World(node), (Change(stored.key, None, stored) for stored in objects), local)


def updated(world: World, changes: Iterable[Change], local: Locals) -> World:
    """``world`` after ``changes``. Raises ManifestErrors with every policy that cannot be translated."""
    edits: list[Edit] = []
    errors: list[ManifestError] = []
    for change in changes:
        if (name := _FIELDS.get(change.key.kind)) is None or _only_status(change):
            continue
        try:
            value = _value(change.new, world.node, local) if change.new else None
        except ManifestError as error:
            errors.append(error)
            continue
        edits.append(Edit(name, world_key(change.key), value))
    if errors:
        raise ManifestErrors(errors)
    return edited(world, edits)


def _only_status(change: Change) -> bool:
    old, new = change.old, change.new
    return change.key.kind in _WITH_STATUS and bool(old and new and old.resource is new.resource)


def world_key(key: Key) -> str | NamespacedName | PolicyRef | RouteRef:
    if key.kind in (registry.NAMESPACE, registry.NODE):
        return key.name
    if key.kind in registry.ROUTES:
        return RouteRef(*key)
    return policy_ref(key) if key.kind in registry.POLICIES else key.namespaced


def _value(stored: Stored, here: NodeConfig, local: Locals) -> Any:
    match stored.key.kind:
        case registry.NAMESPACE:
            return namespace(stored)
        case registry.NODE:
            return node(stored)
        case registry.POD:
            return workload(stored, stored.obj.spec.node_name or here.name, local.get(stored.key.namespaced))
        case registry.SERVICE:
            return service(stored)
        case registry.ENDPOINT_SLICE:
            return endpoint_slice(stored)
        case registry.HTTP_ROUTE | registry.GRPC_ROUTE:
            return route(stored)
        case registry.REFERENCE_GRANT:
            return grant(stored.obj)
        case _:
            return policy(stored.resource, here.cluster)


def policy_ref(key: Key) -> PolicyRef:
    return PolicyRef(*key)


def policy(resource: Resource, cluster: str = "default") -> tuple[PolicySpec, ...]:
    """Raises ManifestError with file, line and field."""
    return translate(resource.obj, resource.origin, resource.namespace, cluster)


def route(stored: Stored) -> RouteSpec:
    make = http_route if stored.key.kind == registry.HTTP_ROUTE else grpc_route
    created = int(stored.created.timestamp())
    return make(stored.obj, stored.key.namespace, created, stored.resource.origin)


def namespace(stored: Stored) -> Namespace:
    return Namespace(stored.key.name, dict(stored.resource.labels))


def node(stored: Stored) -> Node:
    """One that shares the store with this one."""
    return Node(
        name=stored.key.name,
        addresses=_addresses(one["address"] for one in stored.status.get("addresses", ())),
        pod_cidrs=tuple(map(ipaddress.ip_network, stored.obj.spec.pod_cidrs)),
        zone=stored.resource.labels.get(ZONE_LABEL, ""),
    )


def workload(stored: Stored, node: str, local: LocalEndpoint | None) -> Workload:
    """Addresses and readiness come from the status (``status.pod_status``). A pod that has ended has neither."""
    pod: Pod = stored.obj
    status = stored.status
    ended = status.get("phase") in {"Succeeded", "Failed"}
    ports = tuple(
        NamedPort(port.name, port.container_port, PROTOCOL_NUMBERS[port.protocol])
        for container in pod.spec.containers
        for port in container.ports
        if port.name
    )
    return Workload(
        key=stored.key.namespaced,
        labels=dict(stored.resource.labels),
        service_account=pod.spec.service_account_name or pod.spec.service_account or "default",
        node=node,
        addresses=() if ended else _addresses(entry["ip"] for entry in status.get("podIPs", ())),
        ports=ports,
        ready=is_ready(stored),
        terminating=stored.deleting is not None,
        local=local,
        owner=owner(stored),
        hostname=pod.spec.hostname,
        subdomain=pod.spec.subdomain,
    )


def is_ready(pod: Stored) -> bool:
    """The status' condition Ready."""
    conditions = pod.status.get("conditions", ())
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def owner(stored: Stored) -> str:
    """``Deployment/frontend``, or nothing."""
    references = stored.resource.raw["metadata"].get("ownerReferences") or ()
    return next((f"{reference.get('kind')}/{reference.get('name')}" for reference in references), "")


def service(stored: Stored) -> Service:
    spec = stored.obj.spec
    affine = spec.session_affinity == "ClientIP"
    return Service(
        key=stored.key.namespaced,
        type=spec.type,
        cluster_ips=_addresses(addresses_of(stored.resource)) if spec.type == "ClusterIP" else (),
        ports=tuple(
            ServicePort(
                port.name,
                port.port,
                PROTOCOL_NUMBERS[port.protocol],
                port.port if port.target_port is None else port.target_port,
                port.app_protocol,
            )
            for port in spec.ports
        ),
        selector=dict(spec.selector),
        labels=dict(stored.resource.labels),
        headless=spec.cluster_ip == HEADLESS,
        external_name=spec.external_name.removesuffix(".") if spec.type == "ExternalName" else "",
        affinity_seconds=spec.session_affinity_config.client_ip.timeout_seconds if affine else 0,
        publish_not_ready=spec.publish_not_ready_addresses,
        internal_local=spec.internal_traffic_policy == "Local",
        traffic_distribution=_SAME_AS.get(spec.traffic_distribution, spec.traffic_distribution),
    )


def endpoint_slice(stored: Stored) -> EndpointSlice:
    shape: SliceShape = stored.obj
    return EndpointSlice(
        key=stored.key.namespaced,
        service=stored.resource.labels[SERVICE_NAME_LABEL],
        ports=tuple(NamedPort(port.name, port.port, PROTOCOL_NUMBERS[port.protocol]) for port in shape.ports),
        endpoints=tuple(_slice_endpoint(endpoint, stored.key.namespace) for endpoint in shape.endpoints),
    )


def _slice_endpoint(endpoint: Endpoint, namespace: str) -> SliceEndpoint:
    """Conditions that are not given: ready unless it terminates, serving, not terminating (discovery/v1,
    EndpointConditions). "Ready" beside "terminating" is an order: a Service's publishNotReadyAddresses."""
    given, hints = endpoint.conditions, endpoint.hints
    return SliceEndpoint(
        addresses=_addresses(endpoint.addresses),
        ready=given.ready if given.ready is not None else not given.terminating,
        hostname=endpoint.hostname,
        target=_target(endpoint.target_ref, namespace),
        serving=given.serving is not False,
        terminating=given.terminating is True,
        node=endpoint.node_name,
        zones=tuple(each.name for each in hints.for_zones),
        nodes=tuple(each.name for each in hints.for_nodes),
    )


def _target(reference: Any, namespace: str) -> NamespacedName | None:
    is_pod = reference.kind == registry.POD and reference.name
    return NamespacedName(reference.namespace or namespace, reference.name) if is_pod else None


def _addresses(texts: Iterable[str]) -> tuple[IPAddress, ...]:
    return tuple(ipaddress.ip_address(text) for text in texts)
