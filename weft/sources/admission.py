"""What an API server does between a valid object and storing it: fill in defaults, refuse changes of what is fixed.

Pure: one object, what is stored under its name, and the world around it as far as needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from weft.model.kinds.core import PodSpec
from weft.model.net import IPNetwork
from weft.model.origin import ManifestError
from weft.sources import cluster_ips
from weft.sources.decode import with_raw
from weft.sources.objects import Json, Key, Resource, Stored
from weft.sources.registry import DEPLOYMENT, KINDS, NAMESPACE, POD, SERVICE
from weft.sources.rules.services import HEADLESS

NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name"


def admit(
    resource: Resource,
    old: Stored | None,
    used_ips: Mapping[str, Key],
    service_cidrs: tuple[IPNetwork, ...],
    place: Callable[[], str] = str,
) -> Resource:
    """The object as it is to be stored. ``used_ips``: all services' cluster IPs; ``place``: the node for a pod that
    names none, or nothing. Raises ManifestError."""
    if old is not None and old.deleting is not None:
        problem = f"{KINDS[resource.kind].plural_resource} {resource.name!r} is being deleted"
        raise ManifestError(
            resource.origin, ("metadata", "name"), problem, "wait until it is gone, or use another name"
        )
    if resource.kind == NAMESPACE:
        return _with_metadata(resource, {"labels": {**resource.labels, NAMESPACE_NAME_LABEL: resource.name}})
    if resource.kind == SERVICE:
        spec = cluster_ips.assign(resource, old.obj.spec if old else None, used_ips, service_cidrs)
        return with_raw(resource, {**resource.raw, "spec": spec})
    if resource.kind == POD and not resource.obj.spec.node_name:
        where = old.obj.spec.node_name if old else place()
        if where:
            resource = with_raw(resource, {**resource.raw, "spec": {**resource.raw["spec"], "nodeName": where}})
    if old is not None and resource.kind == POD:
        if _lasting(resource.obj.spec) != _lasting(old.obj.spec):
            problem = "the spec of a pod may not change"
            remedy = f"delete it first (weft delete pod {resource.name} -n {resource.namespace})"
            raise ManifestError(resource.origin, ("spec",), problem, remedy)
        return _keep_owner(resource, old)
    if old is not None and resource.kind == DEPLOYMENT and resource.obj.spec.selector != old.obj.spec.selector:
        remedy = f"delete it first (weft delete deployment {resource.name} -n {resource.namespace})"
        raise ManifestError(resource.origin, ("spec", "selector"), "may not change", remedy)
    return resource


def addresses_of(service: Resource) -> list[str]:
    """The cluster IPs that a stored service holds."""
    return [text for text in service.obj.spec.cluster_ips if text != HEADLESS]


def _with_metadata(resource: Resource, more: Json) -> Resource:
    return with_raw(resource, {**resource.raw, "metadata": {**resource.raw["metadata"], **more}})


def _keep_owner(resource: Resource, old: Stored) -> Resource:
    """A pod that its Deployment made stays the Deployment's when somebody relabels it by hand."""
    owners: Any = old.resource.raw["metadata"].get("ownerReferences")
    return _with_metadata(resource, {"ownerReferences": owners}) if owners else resource


def _lasting(spec: PodSpec) -> PodSpec:
    """Without the image, which Kubernetes lets change and weft does not use."""
    return replace(spec, containers=tuple(replace(container, image=None) for container in spec.containers))
