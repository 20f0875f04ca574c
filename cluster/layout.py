"""Where things are: addresses, folders, names. Clusters share their addresses: each is alone in its namespaces."""

from __future__ import annotations

import re
from pathlib import Path

STATE = Path("/var/lib/weft-cluster")
NETNS = Path("/run/netns")

CONTROL_PLANE = ("172.30.0.1", "fd00:30::1")
API_PORT = 6443
NODE_PREFIXES = (24, 64)
POD_CIDRS = ("10.244.0.0/16", "fd00:244::/48")
POD_CIDRS_OF_A_NODE = (24, 64)
SERVICE_CIDRS = ("10.96.0.0/16", "fd00:96::/108")
API_SERVICES = ("10.96.0.1", "fd00:96::1")
DNS_SERVICE = "10.96.0.10"
UPSTREAM_DNS = CONTROL_PLANE[0]
DOMAIN = "cluster.local"

_NAME = re.compile(r"[a-z][a-z0-9]{0,9}")


def check_name(name: str) -> str:
    """The name, if it can be a cluster's: it becomes part of names of hosts and network devices. Raises ValueError."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"a cluster's name is 1 to 10 lower-case letters and digits, a letter first: not {name!r}")
    return name


def node_name(cluster: str, number: int) -> str:
    """Nodes are numbered from 1."""
    return f"{cluster}-{number}"


def control_plane_name(cluster: str) -> str:
    """The namespace and cgroup of etcd, the API server, the controller manager and the scheduler."""
    return f"{cluster}-cp"


def node_addresses(number: int) -> tuple[str, str]:
    """IPv4 and IPv6 address of a node."""
    return f"172.30.0.{10 + number}", f"fd00:30::{10 + number}"


def is_part(cluster: str, name: str) -> bool:
    """Whether ``name`` is the cluster's control plane or one of its nodes."""
    return re.fullmatch(rf"{re.escape(cluster)}-(cp|\d+)", name) is not None
