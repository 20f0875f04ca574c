"""The plainest network that pods can have: upstream's ptp plugin on each node, and routes between the nodes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from cluster import build
from cluster.node import Node
from cluster.processes import command


def install(control_plane: str, nodes: Sequence[Node], objects: Sequence[dict[str, Any]]) -> None:
    """On ``nodes``, whose Node ``objects`` must have their podCIDRs; ``control_plane`` is a network namespace."""
    cidrs = _pod_cidrs(objects)
    programs = build.folder("cni")
    for node in nodes:
        node.run("sh", "-c", f"cp {programs}/* /opt/cni/bin/")
        for at in (control_plane, *(other.name for other in nodes if other is not node)):
            _route(at, cidrs[node.name], node)
        node.run("sh", "-c", "cat >/etc/cni/net.d/10-plain.conflist", stdin=json.dumps(_config(cidrs[node.name])))


def route(control_plane: str, nodes: Sequence[Node], objects: Sequence[dict[str, Any]]) -> None:
    """The control plane's alone: nodes have a network of their own."""
    cidrs = _pod_cidrs(objects)
    for node in nodes:
        _route(control_plane, cidrs[node.name], node)


def _pod_cidrs(objects: Sequence[dict[str, Any]]) -> dict[str, Sequence[str]]:
    return {each["metadata"]["name"]: each["spec"]["podCIDRs"] for each in objects}


def _route(at: str, cidrs: Sequence[str], node: Node) -> None:
    for cidr, via in zip(cidrs, node.addresses, strict=True):
        command("ip", "-n", at, "route", "replace", cidr, "via", via)


def _config(cidrs: Sequence[str]) -> dict[str, object]:
    return {
        "cniVersion": "1.0.0",
        "name": "plain",
        "plugins": [
            {
                "type": "ptp",
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": cidr}] for cidr in cidrs],
                    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
                },
            }
        ],
    }
