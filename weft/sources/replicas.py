"""What a Deployment asks for: which pods to make and which to delete. Pure; ids are given.

The rules are those of Kubernetes' Deployment controller, without ReplicaSets in between: a pod belongs to a template by
label ``pod-template-hash``; a rolling update keeps at least replicas − maxUnavailable pods ready and at most
replicas + maxSurge alive; Recreate deletes the old ones first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec

from weft.model.kinds.apps import DeploymentSpec
from weft.model.origin import Origin
from weft.sources.deletion import owns
from weft.sources.objects import Json, Key, Resource, Stored
from weft.sources.registry import KINDS, POD
from weft.sources.world import is_ready

HASH_LABEL = "pod-template-hash"
_SAFE = "bcdfghjklmnpqrstvwxz2456789"
"""apimachinery's alphabet for generated names: no vowels, so no words."""
_TEMPLATE = ("spec", "template")


class Wanted(NamedTuple):
    create: list[Resource]
    delete: list[Key]


def safe_hash(text: bytes, length: int) -> str:
    """``length`` letters of Kubernetes' alphabet that depend on ``text`` alone."""
    number = int.from_bytes(hashlib.blake2s(text).digest(), "big")
    letters = []
    for _ in range(length):
        number, index = divmod(number, len(_SAFE))
        letters.append(_SAFE[index])
    return "".join(letters)


def template_hash(deployment: Stored) -> str:
    """Names the present template: ten letters."""
    template = deployment.resource.raw["spec"]["template"]
    return safe_hash(msgspec.json.encode(template, order="deterministic"), 10)


def owned(deployment: Stored, pods: Iterable[Stored]) -> list[Stored]:
    """The pods that the Deployment made and that are not on their way out, oldest first."""
    mine = [pod for pod in pods if pod.deleting is None and owns(deployment, pod)]
    return sorted(mine, key=lambda pod: (pod.created, pod.key))


def wanted(deployment: Stored, pods: Iterable[Stored], new_suffix: Callable[[], str]) -> Wanted:
    """The next step towards the Deployment. ``pods``: all of its namespace; ``new_suffix``: five fresh letters each.

    Call it again whenever a pod becomes ready or goes; it is done when both lists are empty.
    """
    if deployment.deleting is not None:
        return Wanted([], [])
    spec: DeploymentSpec = deployment.obj.spec
    hash_ = template_hash(deployment)
    mine = owned(deployment, pods)
    new = [pod for pod in mine if pod.resource.labels.get(HASH_LABEL) == hash_]
    old = [pod for pod in mine if pod not in new]
    surplus = _by_worth(new)[: max(0, len(new) - spec.replicas)]
    surge, unavailable = _bounds(spec)
    if spec.strategy.type == "Recreate":
        delete, room = old, 0 if old else spec.replicas - len(new)
    else:
        ready = sum(is_ready(pod) for pod in mine)
        spare = max(0, ready - (spec.replicas - unavailable))
        delete = [pod for pod in old if not is_ready(pod)]
        delete += [pod for pod in old if is_ready(pod)][:spare]
        room = min(spec.replicas - len(new), spec.replicas + surge - len(mine))
    create = [_pod(deployment, hash_, new_suffix()) for _ in range(max(0, room))]
    return Wanted(create, [pod.key for pod in (*delete, *surplus)])


def _by_worth(pods: list[Stored]) -> list[Stored]:
    """Those that are missed least first: not ready before ready, then young before old."""
    return sorted(pods, key=lambda pod: (is_ready(pod), -pod.created.timestamp(), pod.key))


def _bounds(spec: DeploymentSpec) -> tuple[int, int]:
    """maxSurge (rounded up) and maxUnavailable (rounded down) in pods; not both 0."""
    rolling = spec.strategy.rolling_update
    surge = _share(rolling.max_surge, spec.replicas, up=True)
    unavailable = _share(rolling.max_unavailable, spec.replicas, up=False)
    return surge, max(unavailable, 0 if surge else 1)


def _share(value: int | str, replicas: int, up: bool) -> int:
    if isinstance(value, int):
        return value
    return (int(value.rstrip("%")) * replicas + (99 if up else 0)) // 100


def _pod(deployment: Stored, hash_: str, suffix: str) -> Resource:
    source = deployment.resource
    template = source.raw["spec"]["template"]
    name = f"{source.name[:46]}-{hash_}-{suffix}"
    metadata: Json = template.get("metadata") or {}
    raw: Json = {
        "apiVersion": "v1",
        "kind": POD,
        "metadata": {
            "name": name,
            "namespace": source.namespace,
            "labels": {**(metadata.get("labels") or {}), HASH_LABEL: hash_},
            **({"annotations": metadata["annotations"]} if metadata.get("annotations") else {}),
            "ownerReferences": [
                {
                    "apiVersion": source.api_version,
                    "kind": source.kind,
                    "name": source.name,
                    "uid": deployment.uid,
                    "controller": True,
                }
            ],
        },
        "spec": template["spec"],
    }
    obj: Any = msgspec.convert(raw, KINDS[POD].shape)
    return Resource("v1", POD, source.namespace, name, obj, raw, _template_origin(source.origin), source.excerpt)


def _template_origin(origin: Origin) -> Origin:
    """The lines of the template's fields, as if it were a document of its own."""
    size = len(_TEMPLATE)
    lines = {path[size:]: line for path, line in origin.lines.items() if path[:size] == _TEMPLATE}
    return Origin(origin.file, lines)
