"""The DNS pod and its Service as manifests: ordinary objects in kube-system, for policies to treat as on Kubernetes."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weft.model.net import IPAddress, IPNetwork
from weft.runtime.dns.zone import DNS_SERVICE

LABELS = {"k8s-app": "kube-dns"}
ZONE = "zone"
"""The zone file's name in its directory."""
_TENTH = 10
_RESOLVED = Path("/run/systemd/resolve/resolv.conf")


def cluster_ips(service_cidrs: Sequence[IPNetwork]) -> tuple[IPAddress, ...]:
    """Where pods find DNS: the tenth address of each service range, as kubeadm chooses."""
    return tuple(network[_TENTH] for network in service_cidrs)


def node_resolv_conf(usual: Path = Path("/etc/resolv.conf"), resolved: Path = _RESOLVED) -> str:
    """The node's resolv.conf as pods can use it: behind a local stub the one with the real servers, as kubeadm does.
    Empty if there is none."""
    for path in (usual, resolved):
        if path.exists() and nameservers(path.read_text()):
            return path.read_text()
    return ""


def nameservers(resolv_conf: str) -> list[IPAddress]:
    """Those that a pod can reach: not the loopback's. A scope (``%eth0``) means nothing in a pod."""
    words = (line.split() for line in resolv_conf.splitlines())
    found = [ipaddress.ip_address(word[1].partition("%")[0]) for word in words if word[:1] == ["nameserver"]]
    return [address for address in found if not address.is_loopback and not address.is_link_local]


def system_pod(
    zone_directory: Path, service_cidrs: Sequence[IPNetwork], upstream: Sequence[IPAddress]
) -> list[dict[str, Any]]:
    """Service and Pod. ``zone_directory``: holds the file ``zone``; in one of the directories that pods cannot see,
    so the pod gets it by a volume at the same path."""
    directory = str(zone_directory)
    command = [sys.executable, "-m", "weft.runtime.dns", "--zone", f"{directory}/{ZONE}", "--listen", "0.0.0.0", "::"]
    if upstream:
        command += ["--upstream", *map(str, upstream)]
    metadata = {"name": DNS_SERVICE.name, "namespace": DNS_SERVICE.namespace, "labels": LABELS}
    addresses = [str(address) for address in cluster_ips(service_cidrs)]
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "selector": LABELS,
            "clusterIP": addresses[0],
            "clusterIPs": addresses,
            "ipFamilyPolicy": "PreferDualStack",
            "ports": ports,
        },
    }
    container = {
        "name": "dns",
        "command": command,
        "ports": [{"name": port["name"], "containerPort": 53, "protocol": port["protocol"]} for port in ports],
        "readinessProbe": {"tcpSocket": {"port": 53}, "periodSeconds": 1},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            # DAC_OVERRIDE: a clone may lie in a home directory that is closed to others, and root is "others" without.
            "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE", "DAC_OVERRIDE"]},
        },
        "volumeMounts": [{"name": "zone", "mountPath": directory, "readOnly": True}],
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {
            "dnsPolicy": "Default",
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
            "volumes": [{"name": "zone", "hostPath": {"path": directory, "type": "Directory"}}],
        },
    }
    return [service, pod]
