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
    cidrs = {each["metadata"]["name"]: each["spec"]["podCIDRs"] for each in objects}
    programs = build.folder("cni")
    for node in nodes:
        node.run("sh", "-c", f"cp {programs}/* /opt/cni/bin/")
        for at in (control_plane, *(other.name for other in nodes if other is not node)):
            for cidr, via in zip(cidrs[node.name], node.addresses, strict=True):
                command("ip", "-n", at, "route", "replace", cidr, "via", via)
        node.run("sh", "-c", "cat >/etc/cni/net.d/10-plain.conflist", stdin=json.dumps(_config(cidrs[node.name])))


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
