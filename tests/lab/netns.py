"""Two namespaces: a node with an uplink, and the world outside it.

    outside ── uplink ── node (the agent's namespace)
    198.51.100.1/24        198.51.100.2/24      + 203.0.113.1 and 203.0.113.77 on the outside's loopback
    2001:db8:51::1/64      2001:db8:51::2/64    + 2001:db8:113::1 and 2001:db8:113::77

The outside knows the way to the node's pods, so that packets can also come in unasked.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

NODE_V4, NODE_V6 = "198.51.100.2", "2001:db8:51::2"
OUTSIDE_V4, OUTSIDE_V6 = "198.51.100.1", "2001:db8:51::1"
WORLD_V4 = ("203.0.113.1", "203.0.113.77")
WORLD_V6 = ("2001:db8:113::1", "2001:db8:113::77")


def ip(*words: str, check: bool = True) -> str:
    """``ip WORDS``; what it printed. Raises RuntimeError with ip's words."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def inside(namespace: str, *command: str) -> list[str]:
    """``command`` in a namespace. Not by ``ip netns exec``: that hides the cgroups."""
    return ["nsenter", f"--net=/run/netns/{namespace}", "--", *command]


class Namespaces:
    """The node's namespace and the outside's; made by ``create``, removed whole by ``remove``."""

    def __init__(self, name: str) -> None:
        self.node, self.outside = f"{name}-node", f"{name}-out"

    def create(self, pod_cidrs: Sequence[str]) -> None:
        for namespace in (self.node, self.outside):
            ip("netns", "add", namespace)
            self._sysctl(namespace, "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0")
            ip("-n", namespace, "link", "set", "lo", "up")
        ip("-n", self.node, "link", "add", "uplink", "type", "veth", "peer", "name", "uplink", "netns", self.outside)
        self._address(self.node, "uplink", f"{NODE_V4}/24", f"{NODE_V6}/64")
        self._address(self.outside, "uplink", f"{OUTSIDE_V4}/24", f"{OUTSIDE_V6}/64")
        self._address(self.outside, "lo", *(f"{address}/32" for address in WORLD_V4), *(f"{a}/128" for a in WORLD_V6))
        ip("-n", self.node, "route", "add", "default", "via", OUTSIDE_V4)
        ip("-n", self.node, "-6", "route", "add", "default", "via", OUTSIDE_V6)
        for cidr in pod_cidrs:
            ip("-n", self.outside, "route", "add", cidr, "via", NODE_V6 if ":" in cidr else NODE_V4)

    def remove(self) -> None:
        for namespace in (self.node, self.outside):
            ip("netns", "del", namespace, check=False)

    def _address(self, namespace: str, device: str, *addresses: str) -> None:
        for address in addresses:
            ip("-n", namespace, "address", "add", address, "dev", device, *(["nodad"] if ":" in address else []))
        ip("-n", namespace, "link", "set", device, "up")

    def _sysctl(self, namespace: str, *settings: str) -> None:
        subprocess.run(inside(namespace, "sysctl", "-qw", *settings), check=True)
