"""What on a machine would be in weft's way as a Kubernetes node's network: other networks, taken ports, no VXLAN.

As ``features``, found by looking and trying; nothing is changed.
"""

from __future__ import annotations

import errno
import fnmatch
import json
import socket
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from weft.datapath import netns, rtnetlink
from weft.datapath.errors import FeatureError
from weft.datapath.features import Probe
from weft.datapath.layouts import TUNNEL_PORT
from weft.datapath.netlink import Netlink
from weft.datapath.node import TUNNEL_DEVICE

OWN_CONFIGURATION = "05-weft.conflist"
CONFIGURATIONS = ("*.conf", "*.conflist", "*.json")
"""What container runtimes read (libcni's ConfFiles); the first by name is in force."""
RIVALS = (
    "cilium_*",
    "lxc*",
    "cali*",
    "vxlan.calico",
    "tunl0",
    "flannel*",
    "cni[0-9]*",
    "weave",
    "kube-bridge",
    "antrea-*",
    "ovn-*",
)
"""Devices of other networks for pods."""
NODE_PROXY_DEVICES = ("kube-ipvs0",)


def probes(conf_dir: Path, ports: Sequence[int]) -> tuple[Probe, ...]:
    """``ports``: TCP ports that the agent will listen on."""
    return (
        Probe(
            "no CNI plugin before weft's",
            True,
            partial(_configurations, conf_dir, before=True),
            f"remove it: container runtimes use the first file of {conf_dir}",
        ),
        Probe(
            "no other CNI plugin",
            False,
            partial(_configurations, conf_dir, before=False),
            "weft's comes first; remove the other with its pods, and start pods that it connected anew",
        ),
        Probe("no other pod network", True, _devices, "uninstall it and restart the machine, or remove its devices"),
        Probe(
            "no kube-proxy",
            False,
            _kube_proxy,
            "ClusterIPs are weft's all the same; delete kube-proxy's DaemonSet and run `kube-proxy --cleanup` "
            "unless it has NodePorts to serve",
        ),
        *(
            Probe(f"port {port} free", True, partial(_port, port), "choose another: healthPort, prometheus.port")
            for port in ports
        ),
        Probe("VXLAN", False, _vxlan, "a kernel with CONFIG_VXLAN; or routingMode=native"),
        Probe(f"UDP port {TUNNEL_PORT} free", False, _tunnel_port, "routingMode=native; or end who has it"),
    )


def _configurations(conf_dir: Path, before: bool) -> str:
    if not conf_dir.is_dir():
        return f"{conf_dir} is not there yet"
    names = sorted(path.name for path in conf_dir.iterdir() if _matches(path.name, CONFIGURATIONS))
    found = [name for name in names if name != OWN_CONFIGURATION and (name < OWN_CONFIGURATION) == before]
    if found:
        raise FeatureError(str(conf_dir), f"has {', '.join(found)}")
    return f"none in {conf_dir}"


def _devices() -> str:
    with Netlink() as netlink:
        found = sorted(name for name in rtnetlink.links(netlink) if _matches(name, RIVALS))
    if found:
        raise FeatureError("this network namespace", f"has {', '.join(found[:5])}{', ...' if len(found) > 5 else ''}")
    return "none of its devices"


def _kube_proxy() -> str:
    """Its chains, whichever of its modes made them (proxy/iptables, proxy/nftables; IPVS has a device)."""
    found = [name for name in NODE_PROXY_DEVICES if rtnetlink.index_of(name)]
    listed = subprocess.run(["nft", "-j", "list", "chains"], capture_output=True, text=True, check=False)
    for entry in json.loads(listed.stdout or '{"nftables": []}')["nftables"]:
        chain = entry.get("chain", {})
        if chain.get("table") == "kube-proxy" or chain.get("name") == "KUBE-SERVICES":
            found.append(f"nftables chain {chain['family']} {chain['table']} {chain['name']}")
    if found:
        raise FeatureError("kube-proxy", f"has {found[0]}")
    return "none of its rules"


def _port(port: int) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _bind(probe, port)
    return "free"


def _tunnel_port() -> str:
    if rtnetlink.index_of(TUNNEL_DEVICE):
        return f"{TUNNEL_DEVICE} has it"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        _bind(probe, TUNNEL_PORT)
    return "free"


def _bind(probe: socket.socket, port: int) -> None:
    try:
        probe.bind(("", port))
    except OSError as error:
        taken = "somebody listens there" if error.errno == errno.EADDRINUSE else error.strerror
        raise FeatureError(f"port {port}", str(taken)) from None


def _vxlan() -> str:
    with netns.scratch(), Netlink() as netlink:
        netlink.request(rtnetlink.add_vxlan("wf0", TUNNEL_PORT, 1450))
    return "made in a scratch namespace"


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
