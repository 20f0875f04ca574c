"""The columns of ``get`` per kind: kubectl's names, order and wording (pkg/printers/internalversion)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from weft.model.kinds.meta import LabelSelectorShape
from weft.sources import registry
from weft.sources.objects import Stored

NONE = "<none>"


class Column(NamedTuple):
    name: str
    cell: Callable[[Stored, datetime], str]
    wide: bool = False


def age(seconds: float) -> str:
    """``45s``, ``3m20s``, ``25m``, ``3h5m``, ``26h``, ``3d4h``, ``40d``, ``2y10d`` (apimachinery's HumanDuration)."""
    total = int(seconds)
    minutes, hours, days, years = total // 60, total // 3600, total // 86400, total // (86400 * 365)
    if total < 0:
        return "0s" if total >= -1 else "<invalid>"
    if total < 120:
        return f"{total}s"
    if minutes < 10:
        return f"{minutes}m" + (f"{total % 60}s" if total % 60 else "")
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h" + (f"{minutes % 60}m" if minutes % 60 else "")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d" + (f"{hours % 24}h" if hours % 24 else "")
    if years < 2:
        return f"{days}d"
    if years < 8:
        return f"{years}y" + (f"{days % 365}d" if days % 365 else "")
    return f"{years}y"


def _name(stored: Stored, now: datetime) -> str:
    return stored.key.name


def _age(stored: Stored, now: datetime) -> str:
    return age((now - stored.created).total_seconds())


def pod_word(pod: Stored) -> str:
    """STATUS: what is most worth knowing of a pod: Terminating, a container's reason, or the phase."""
    if pod.deleting is not None:
        return "Terminating"
    for container in reversed(pod.status.get("containerStatuses", ())):
        state = container.get("state", {})
        for kind in ("waiting", "terminated"):
            if reason := state.get(kind, {}).get("reason"):
                return str(reason)
    return str(pod.status.get("phase") or "Pending")


def _containers(pod: Stored) -> list[Any]:
    return list(pod.status.get("containerStatuses", ()))


def _pod_ready(pod: Stored, now: datetime) -> str:
    ready = sum(bool(container.get("ready")) for container in _containers(pod))
    return f"{ready}/{len(pod.obj.spec.containers)}"


def _restarts(pod: Stored, now: datetime) -> str:
    return str(sum(container.get("restartCount", 0) for container in _containers(pod)))


def _ips(pod: Stored, now: datetime) -> str:
    return _listed(entry["ip"] for entry in pod.status.get("podIPs", ()))


def _listed(items: Iterable[str]) -> str:
    return ",".join(items) or NONE


def _map(labels: Mapping[str, str]) -> str:
    return _listed(f"{key}={value}" for key, value in sorted(labels.items()))


def selector(shape: LabelSelectorShape) -> str:
    """``app=web,tier in (a,b),!old``: the way kubectl writes a label selector."""
    parts = [f"{key}={value}" for key, value in sorted((shape.match_labels or {}).items())]
    for one in shape.match_expressions or ():
        values = ",".join(one.values or ())
        words = {"In": f"{one.key} in ({values})", "NotIn": f"{one.key} notin ({values})", "Exists": one.key}
        parts.append(words.get(one.operator, f"!{one.key}"))
    return _listed(parts)


def _external(stored: Stored, now: datetime) -> str:
    return stored.obj.spec.external_name or NONE


def _cluster_ip(stored: Stored, now: datetime) -> str:
    return stored.obj.spec.cluster_ip or NONE


def _service_ports(stored: Stored, now: datetime) -> str:
    return _listed(f"{port.port}/{port.protocol}" for port in stored.obj.spec.ports)


def _number(name: str) -> Callable[[Stored, datetime], str]:
    return lambda stored, now: str(stored.status.get(name, 0))


def _deployment_ready(stored: Stored, now: datetime) -> str:
    return f"{stored.status.get('readyReplicas', 0)}/{stored.obj.spec.replicas}"


def _containers_of(stored: Stored, now: datetime) -> str:
    return _listed(container.name for container in stored.obj.spec.template.spec.containers)


def _slice_ports(stored: Stored, now: datetime) -> str:
    return _listed(str(port.port) for port in stored.obj.ports)


def _slice_addresses(stored: Stored, now: datetime) -> str:
    return _listed(address for endpoint in stored.obj.endpoints for address in endpoint.addresses)


def _phase(stored: Stored, now: datetime) -> str:
    return "Terminating" if stored.deleting is not None else "Active"


def _valid(stored: Stored, now: datetime) -> str:
    """A policy that is stored has passed translation, so it is valid: an invalid one is never stored."""
    return "True"


def _hostnames(stored: Stored, now: datetime) -> str:
    """As kubectl prints a printer column whose JSONPath finds a list."""
    hosts = stored.obj.spec.hostnames
    return json.dumps(hosts, separators=(",", ":")) if hosts else ""


_NAME, _AGE = Column("NAME", _name), Column("AGE", _age)
_POLICY = (_NAME, _AGE, Column("VALID", _valid))
_ROUTE = (_NAME, Column("HOSTNAMES", _hostnames), _AGE)

COLUMNS: Mapping[str, tuple[Column, ...]] = {
    registry.NAMESPACE: (_NAME, Column("STATUS", _phase), _AGE),
    registry.NODE: (
        _NAME,
        Column("INTERNAL-IP", lambda stored, now: _listed(a["address"] for a in stored.status.get("addresses", ()))),
        Column("POD-CIDR", lambda stored, now: _listed(stored.obj.spec.pod_cidrs)),
        _AGE,
    ),
    registry.POD: (
        _NAME,
        Column("READY", _pod_ready),
        Column("STATUS", lambda stored, now: pod_word(stored)),
        Column("RESTARTS", _restarts),
        _AGE,
        Column("IP", _ips, wide=True),
        Column("NODE", lambda stored, now: stored.obj.spec.node_name or "<none>", wide=True),
        Column("LABELS", lambda stored, now: _map(stored.resource.labels), wide=True),
    ),
    registry.SERVICE: (
        _NAME,
        Column("TYPE", lambda stored, now: stored.obj.spec.type),
        Column("CLUSTER-IP", _cluster_ip),
        Column("EXTERNAL-IP", _external),
        Column("PORT(S)", _service_ports),
        _AGE,
        Column("SELECTOR", lambda stored, now: _map(stored.obj.spec.selector), wide=True),
    ),
    registry.DEPLOYMENT: (
        _NAME,
        Column("READY", _deployment_ready),
        Column("UP-TO-DATE", _number("updatedReplicas")),
        Column("AVAILABLE", _number("availableReplicas")),
        _AGE,
        Column("CONTAINERS", _containers_of, wide=True),
        Column("SELECTOR", lambda stored, now: selector(stored.obj.spec.selector), wide=True),
    ),
    registry.ENDPOINT_SLICE: (
        _NAME,
        Column("ADDRESSTYPE", lambda stored, now: stored.obj.address_type),
        Column("PORTS", _slice_ports),
        Column("ENDPOINTS", _slice_addresses),
        _AGE,
    ),
    registry.NETWORK_POLICY: (
        _NAME,
        Column("POD-SELECTOR", lambda stored, now: selector(stored.obj.spec.pod_selector)),
        _AGE,
    ),
    registry.CNP: _POLICY,
    registry.CCNP: _POLICY,
    registry.HTTP_ROUTE: _ROUTE,
    registry.GRPC_ROUTE: _ROUTE,
    registry.REFERENCE_GRANT: (_NAME, _AGE),
}
