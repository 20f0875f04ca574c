"""The node's own networking, in the network namespace of the caller: one device to all pods, routes, masquerade.

Everything is safe to repeat: ``set_up`` also repairs. What it changed of the machine's own settings is written down in
the state directory before it is changed, and ``tear_down`` puts it back.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from weft.datapath import netns, nft, rtnetlink, sysctl
from weft.datapath.errors import DatapathError, FeatureError
from weft.datapath.layouts import TUNNEL_PORT
from weft.datapath.netlink import Netlink
from weft.datapath.rtnetlink import Route
from weft.model.net import IPAddress, IPNetwork
from weft.model.objects import NodeConfig

HOST_DEVICE, HOST_PEER, PROXY_DEVICE = "weft_host", "weft_net", "weft_proxy"
TUNNEL_DEVICE = "weft_vxlan"
TUNNEL_OVERHEAD = {4: 50, 6: 70}
"""Bytes that VXLAN adds to a packet, by the address family of what carries it."""
HOST_MAC, _PEER_MAC = bytes.fromhex("027765667402"), bytes.fromhex("027765667403")
PROXY_MAC = bytes.fromhex("027765667405")
"""Of Envoy's end of weft_proxy (bpf/include/base.h)."""
GATEWAY_V4 = IPv4Address("169.254.1.1")
"""The pods' IPv4 gateway: an address of each host side of a pod's veth."""
DEFAULT_MTU = 1500


def mounts(kind: str) -> list[Path]:
    """Mount points of a file system type, in the order of /proc/mounts."""
    lines = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    return [Path(fields[1].replace("\\040", " ")) for fields in lines if fields[2] == kind]


@dataclass(frozen=True, slots=True)
class NodePaths:
    """Where a node lives; several nodes on one machine differ in their name (docs/ARCHITECTURE.md)."""

    name: str
    run_dir: Path
    state_dir: Path
    pin_dir: Path
    """In a bpffs; below it ``v<layout>/<map>`` and ``links/<device or program>``."""
    cgroup: Path
    """Folder of all pods' cgroups in the cgroup2 hierarchy."""
    service_cgroup: Path | None = None
    """Whose sockets reach services: all below this folder. None: those of ``cgroup``, so pods alone."""

    @property
    def proxy_netns(self) -> Path:
        """Where Envoy's network namespace is mounted (weft.datapath.ways)."""
        return self.run_dir / "netns" / "envoy"

    @classmethod
    def default(cls, name: str) -> NodePaths:
        """Mounts a bpffs on /sys/fs/bpf if there is none. Errors: FeatureError without cgroup2."""
        groups = mounts("cgroup2")
        if not groups:
            raise FeatureError("cgroup2", "not mounted", "mount -t cgroup2 none /sys/fs/cgroup")
        return cls(
            name, Path("/run/weft", name), Path("/var/lib/weft", name), bpffs() / "weft" / name,
            groups[0] / "weft" / name / "pods",
        )  # fmt: skip


def bpffs() -> Path:
    """A mounted bpffs, /sys/fs/bpf if that is one."""
    usual = Path("/sys/fs/bpf")
    found = mounts("bpf")
    if not found:
        netns.mount("bpf", usual, "bpf")
        return usual
    return usual if usual in found else found[0]


def uplink_mtu() -> int:
    """MTU of the device of the default route. 1500 without one."""
    with Netlink() as netlink:
        device = rtnetlink.uplink(netlink)
    return device.mtu if device else DEFAULT_MTU


def pod_mtu(tunnel: str, addresses: Sequence[IPAddress]) -> int:
    """What pods get: packets of this size reach every pod of the cluster in one piece.

    ``tunnel``: as NodeConfig has it; ``addresses``: of this node, as Node has them.
    """
    version = addresses[0].version if addresses else 4
    return uplink_mtu() - (TUNNEL_OVERHEAD[version] if tunnel else 0)


def host_addresses() -> tuple[IPAddress, ...]:
    """Every address at which the node itself takes packets: its own, its broadcast and anycast addresses, the gateway
    that pods see. All of them are the host to policy."""
    with Netlink() as netlink:
        found = rtnetlink.answered(netlink) | {GATEWAY_V4}
    return tuple(sorted((a for a in found if not a.is_loopback), key=lambda a: (a.version, a.packed)))


def uplink_addresses() -> tuple[IPAddress, ...]:
    """Those of the device of the default route, which other nodes reach; link-local ones are not among them."""
    with Netlink() as netlink:
        device = rtnetlink.uplink(netlink)
        found = [address for index, address, _ in rtnetlink.addresses(netlink) if device and index == device.ifindex]
    return tuple(sorted((a for a in found if not a.is_link_local), key=lambda a: (a.version, a.packed)))


def set_up(paths: NodePaths, node: NodeConfig, mtu: int) -> int:
    """Make or repair it all; returns the ifindex of weft_host. Nothing passes there before its program is attached
    (``Datapath.enforce``): the device comes up last, by ``bring_up``."""
    paths.run_dir.mkdir(parents=True, exist_ok=True)
    paths.state_dir.mkdir(parents=True, exist_ok=True)
    paths.cgroup.mkdir(parents=True, exist_ok=True)
    netns.gather(paths.run_dir / "netns")
    with Netlink() as netlink:
        if HOST_DEVICE not in rtnetlink.links(netlink):
            netlink.request(rtnetlink.add_veth(HOST_DEVICE, HOST_MAC, HOST_PEER, _PEER_MAC, mtu))
        ifindex = rtnetlink.index_of(HOST_DEVICE)
        netlink.request(rtnetlink.set_link(HOST_DEVICE, mtu=mtu), rtnetlink.set_link(HOST_PEER, mtu=mtu))
        _make_tunnel(netlink, node.tunnel, mtu)
    _settings(paths)
    _masquerade(node)
    return ifindex


def _make_tunnel(netlink: Netlink, tunnel: str, mtu: int) -> None:
    """The device of the tunnel, down if it is new; none with direct routing."""
    if not tunnel:
        netlink.request(rtnetlink.delete_link(TUNNEL_DEVICE), ignore=(errno.ENODEV,))
        return
    if TUNNEL_DEVICE not in rtnetlink.links(netlink):
        netlink.request(rtnetlink.add_vxlan(TUNNEL_DEVICE, TUNNEL_PORT, mtu))
    netlink.request(rtnetlink.set_link(TUNNEL_DEVICE, mtu=mtu))
    sysctl.write(f"ipv6/conf/{TUNNEL_DEVICE}/addr_gen_mode", 1)
    sysctl.write(f"ipv6/conf/{TUNNEL_DEVICE}/accept_ra", 0)
    sysctl.write(f"ipv4/conf/{TUNNEL_DEVICE}/rp_filter", 2)


def bring_up(node: NodeConfig) -> None:
    """Open the doors to the pods, after their programs are attached: weft_host (and the tunnel) up, its addresses, the
    routes to pods, and no route to services (only socket hooks know them). What an earlier configuration left is taken
    away."""
    with Netlink() as netlink:
        netlink.request(rtnetlink.set_link(HOST_PEER, up=True), rtnetlink.set_link(HOST_DEVICE, up=True))
        if node.tunnel:
            netlink.request(rtnetlink.set_link(TUNNEL_DEVICE, up=True))
        ifindex = rtnetlink.index_of(HOST_DEVICE)
        router = {address.version: address for address in node.router_addresses}
        stale = [a for a in rtnetlink.addresses(netlink) if a[0] == ifindex and a[1] not in router.values()]
        netlink.request(*(rtnetlink.delete_address(ifindex, address, bits) for _, address, bits in stale))
        netlink.request(*(rtnetlink.add_address(ifindex, address) for address in node.router_addresses))
        wanted = [Route(cidr, ifindex, source=router.get(cidr.version)) for cidr in node.pod_cidrs]
        wanted += [Route(cidr, kind=rtnetlink.UNREACHABLE) for cidr in node.service_cidrs]
        for version in (4, 6):
            _delete_routes(netlink, version, {route.destination for route in wanted})
        netlink.request(*map(rtnetlink.add_route, wanted))


def _delete_routes(netlink: Netlink, version: int, keep: set[IPNetwork]) -> None:
    """Weft's own routes of the main table, but those to ``keep`` and those of weft.datapath.nodes."""
    present = rtnetlink.routes(netlink, version)
    stale = [r for r in present if r.ours and r.destination not in keep and r.gateway is None]
    netlink.request(*map(rtnetlink.delete_route, stale), ignore=(errno.ESRCH,))


# ---- settings -----------------------------------------------------------------------------------------------------


def _settings(paths: NodePaths) -> None:
    """Forwarding, with router advertisements still heard (they are not, once a host forwards, unless accept_ra is 2).

    rp_filter is left to the machine: each of our devices has 2 (loose) of its own, and the larger one counts.
    """
    for device in (HOST_DEVICE, HOST_PEER):
        sysctl.write(f"ipv6/conf/{device}/addr_gen_mode", 1)
        sysctl.write(f"ipv6/conf/{device}/accept_ra", 0)
        sysctl.write(f"ipv4/conf/{device}/rp_filter", 2)
    if sysctl.read("ipv6/conf/all/forwarding") != "1":
        for folder in sorted(Path("/proc/sys/net/ipv6/conf").glob("*")):
            name = f"ipv6/conf/{folder.name}/accept_ra"
            if folder.name not in ("all", HOST_DEVICE, HOST_PEER) and sysctl.read(name) == "1":
                sysctl.change(paths.state_dir, name, "2")
        sysctl.change(paths.state_dir, "ipv6/conf/all/forwarding", "1")
    sysctl.change(paths.state_dir, "ipv4/ip_forward", "1")
    for version in (4, 6):  # without its program weft_host would send packets round in a circle
        sysctl.write(f"ipv{version}/conf/{HOST_PEER}/forwarding", 0)


def _masquerade(node: NodeConfig) -> None:
    """Pods' packets that leave the node carry its address, unless they go to what the sets hold (weft.datapath.nodes).
    The sets keep what they have; the rules are replaced in one transaction."""
    sets = "".join(
        f"  set cluster_v{version} {{ type ipv{version}_addr; flags interval; auto-merge; }}\n" for version in (4, 6)
    )
    chain = "  chain postrouting { type nat hook postrouting priority srcnat; policy accept; }\n"
    rules = "".join(
        f"add rule inet {nft.TABLE} postrouting {_masqueraded(cidr)} masquerade\n" for cidr in node.pod_cidrs
    )
    script = f"table inet {nft.TABLE} {{\n{sets}{chain}}}\nflush chain inet {nft.TABLE} postrouting\n{rules}"
    nft.run(script)


def _masqueraded(cidr: IPNetwork) -> str:
    family = "ip" if cidr.version == 4 else "ip6"
    return f'{family} saddr {cidr} oifname != "{HOST_DEVICE}" {family} daddr != @cluster_v{cidr.version}'


# ---- and away again -----------------------------------------------------------------------------------------------


def tear_down(paths: NodePaths) -> None:
    """Remove every trace of the node: pods' namespaces and devices, programs, maps, routes, table, cgroup, settings.

    Processes of pods must be gone. Errors: DatapathError that names what could not be removed, after all else was.
    """
    failures: list[str] = []
    for step in (
        _remove_devices,
        _remove_table,
        _remove_namespaces,
        _remove_maps,
        _restore_settings,
        _remove_cgroup,
    ):
        try:
            step(paths)
        except (DatapathError, OSError) as error:
            failures.append(str(error))
    shared = (*paths.cgroup.parents[:2], paths.pin_dir.parent)  # these go with the last node
    for folder in shared:
        with contextlib.suppress(OSError):
            folder.rmdir()
    if failures:
        raise DatapathError(f"tear down node {paths.name}", "; ".join(failures))


def _remove_devices(_: NodePaths) -> None:
    with Netlink() as netlink:
        names, own = rtnetlink.links(netlink), (HOST_DEVICE, PROXY_DEVICE, TUNNEL_DEVICE)
        ours = [name for name in names if is_pod_device(name) or is_spare_device(name) or name in own]
        netlink.request(*map(rtnetlink.delete_link, ours), ignore=(errno.ENODEV,))
        for version in (4, 6):
            routes = [route for route in rtnetlink.routes(netlink, version) if route.ours]
            netlink.request(*map(rtnetlink.delete_route, routes), ignore=(errno.ESRCH,))


def _remove_table(_: NodePaths) -> None:
    nft.run(f"table inet {nft.TABLE} {{ }}\ndelete table inet {nft.TABLE}\n")


def _remove_namespaces(paths: NodePaths) -> None:
    folder = paths.run_dir / "netns"
    for mount in sorted(folder.glob("*")):
        netns.delete(mount)
    netns.unmount(folder)
    with contextlib.suppress(FileNotFoundError):
        folder.rmdir()


def _remove_maps(paths: NodePaths) -> None:
    remove_pins(paths.pin_dir)


def _restore_settings(paths: NodePaths) -> None:
    sysctl.restore(paths.state_dir)


def _remove_cgroup(paths: NodePaths) -> None:
    try:
        for root, _, _ in os.walk(paths.cgroup, topdown=False):
            Path(root).rmdir()
    except OSError as error:
        raise DatapathError(f"remove cgroup {error.filename}", error.errno or 0, "stop the pods first") from error


def is_pod_device(name: str) -> bool:
    return _is_device("wf", name)


def is_spare_device(name: str) -> bool:
    """One that waits for a pod (weft.datapath.spare). It goes with the agent that made it, a moment after that."""
    return _is_device("ws", name)


def _is_device(prefix: str, name: str) -> bool:
    return len(name) == 10 and name.startswith(prefix) and all(c in "0123456789abcdef" for c in name[2:])


def remove_pins(folder: Path) -> None:
    """A folder of a bpffs and all below it."""
    for root, folders, files in os.walk(folder, topdown=False):
        for name in files:
            Path(root, name).unlink(missing_ok=True)
        for name in folders:
            Path(root, name).rmdir()
    if folder.exists():
        folder.rmdir()
