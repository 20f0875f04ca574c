"""The cluster's network: a bridge in the control plane's network namespace, and a veth from it to each node."""

from __future__ import annotations

from cluster.layout import CONTROL_PLANE, NETNS, NODE_PREFIXES, node_addresses
from cluster.processes import command

MTU = 1500

# Forwarding is what kubeadm demands of a node.
_SYSCTLS = "cd /proc/sys/net && echo 1 >ipv4/ip_forward && echo 1 >ipv6/conf/all/forwarding"


def create_control_plane(name: str) -> None:
    """The namespace ``name`` with the bridge ``br0``, which has the control plane's addresses."""
    command("ip", "netns", "add", name)
    _batch(
        name,
        "link set lo up",
        "link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
        *(f"addr add {a}/{p} dev br0 nodad" for a, p in zip(CONTROL_PLANE, NODE_PREFIXES, strict=True)),
        "link set br0 up",
    )


def create_node(name: str, number: int, control_plane: str) -> None:
    """The namespace ``name`` with ``eth0`` on the bridge and default routes to the control plane."""
    command("ip", "netns", "add", name)
    port = f"node{number}"
    _batch(
        control_plane,
        f"link add {port} mtu {MTU} type veth peer name eth0 mtu {MTU} netns {name}",
        f"link set {port} master br0 up",
    )
    command("nsenter", f"--net={NETNS / name}", "sh", "-c", _SYSCTLS)
    _batch(
        name,
        "link set lo up",
        *(f"addr add {a}/{p} dev eth0 nodad" for a, p in zip(node_addresses(number), NODE_PREFIXES, strict=True)),
        "link set eth0 up",
        f"route add default via {CONTROL_PLANE[0]}",
        f"-6 route add default via {CONTROL_PLANE[1]}",
    )


def remove(name: str) -> None:
    """The namespace and all that is in it."""
    if (NETNS / name).exists():
        command("ip", "netns", "del", name)


def _batch(namespace: str, *commands: str) -> None:
    for words in commands:
        command("ip", "-n", namespace, *words.split())
