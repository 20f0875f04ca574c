"""Services and pods as manifests (JSON is YAML), and where a service is reached."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.lab import Lab

DUAL = "RequireDualStack"
Port = tuple[str, int, int | str, str]
"""name, port, targetPort, protocol"""
WEB: Port = ("http", 80, 8080, "TCP")
ASK: Port = ("ask", 53, 8080, "UDP")


def service(
    name: str, *ports: Port, app: str | None = "server", namespace: str = "default", **spec: object
) -> dict[str, Any]:
    """A dual-stack Service of the pods with ``app``; with None, of its EndpointSlices."""
    words = ("name", "port", "targetPort", "protocol")
    filled: dict[str, object] = {
        "ipFamilyPolicy": DUAL,
        "ports": [dict(zip(words, port, strict=True)) for port in ports or (WEB, ASK)],
    }
    if app is not None:
        filled["selector"] = {"app": app}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": filled | spec}


def pod(name: str, command: Sequence[str], app: str, **spec: object) -> dict[str, Any]:
    """For what ``Lab.run`` has no word for."""
    container = {"name": name, "command": list(command)}
    metadata = {"name": name, "labels": {"app": app}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container], **spec}}


def deployment(name: str, replicas: int, command: Sequence[str], probe: Mapping[str, Any]) -> dict[str, Any]:
    """Pods with app=NAME."""
    labels = {"app": name}
    container = {"name": name, "command": list(command), "readinessProbe": dict(probe)}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def endpoint_slice(service_name: str, family: int, port: int, *addresses: str, name: str = "http") -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{service_name}-{family}", "labels": {"kubernetes.io/service-name": service_name}},
        "addressType": f"IPv{family}",
        "endpoints": [{"addresses": [address]} for address in addresses],
        "ports": [{"name": name, "port": port, "protocol": "TCP"}],
    }


def apply(lab: Lab, *objects: Mapping[str, Any]) -> None:
    lab.apply("\n---\n".join(map(json.dumps, objects)))


def cluster_ips(lab: Lab, name: str) -> tuple[str, str]:
    """IPv4 and IPv6."""
    v4, v6 = lab.get("services", name, "default")["spec"]["clusterIPs"]
    return v4, v6
