"""What this kernel and machine can do, found by trying: tiny programs are loaded and attached, devices and maps made,
all in scratch namespaces and a scratch cgroup. `weft doctor` prints it; without what it needs no agent starts.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import NamedTuple

from weft.built import built
from weft.datapath import bpf, layouts, netns, node, rtnetlink
from weft.datapath.errors import DatapathError, FeatureError
from weft.datapath.libbpf import Object
from weft.datapath.maps import Map
from weft.datapath.netlink import Netlink
from weft.datapath.rtnetlink import Route

OLDEST_KERNEL = (6, 1)
_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13, "CAP_SYS_ADMIN": 21, "CAP_BPF": 39}
_CONNECT4, _MEMLOCK_FREE = 10, 64
_LOAD = "run Linux 6.1 or later with CONFIG_BPF_SYSCALL, CONFIG_CGROUP_BPF and CONFIG_NET_CLS_ACT"


@dataclass(frozen=True, slots=True)
class Feature:
    """One finding. ``detail``: what was seen; ``remedy``: what to do where ``ok`` is false."""

    name: str
    needed: bool
    ok: bool
    detail: str
    remedy: str


class Probe(NamedTuple):
    """``attempt`` returns what it saw; DatapathError or OSError means that the feature is not there."""

    name: str
    needed: bool
    attempt: Callable[[], str]
    remedy: str


def probe(probes: Sequence[Probe] | None = None) -> list[Feature]:
    """Try everything, in a tenth of a second. Leaves nothing behind."""
    found = []
    for each in PROBES if probes is None else probes:
        try:
            detail, ok = each.attempt(), True
        except (DatapathError, OSError) as error:
            detail, ok = str(error).splitlines()[0], False
        found.append(Feature(each.name, each.needed, ok, detail, "" if ok else each.remedy))
    return found


def require(features: Sequence[Feature]) -> None:
    """Errors: FeatureError that names every needed feature that is missing, and what to do."""
    missing = [feature for feature in features if feature.needed and not feature.ok]
    if missing:
        cause = "\n".join(f"  {each.name}: {each.detail}; {each.remedy}" for each in missing)
        raise FeatureError("this machine lacks what weft needs", f"\n{cause}", "`weft doctor` shows everything")


# ---- the attempts ---------------------------------------------------------------------------------------------------


def _kernel() -> str:
    release = os.uname().release
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2])
    if numbers < OLDEST_KERNEL:
        raise FeatureError(f"Linux {release}", f"older than {'.'.join(map(str, OLDEST_KERNEL))}")
    return release


def _capabilities() -> str:
    status = Path("/proc/thread-self/status").read_text()
    held = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff"))
    missing = [name for name, bit in _CAPABILITIES.items() if not held >> bit & 1]
    if missing:
        raise FeatureError("this process", f"has no {', '.join(missing)}")
    return ", ".join(_CAPABILITIES)


def _libbpf() -> str:
    library = ctypes.CDLL("libbpf.so.1")
    library.libbpf_version_string.restype = ctypes.c_char_p
    return str(library.libbpf_version_string().decode())


def _bpffs() -> str:
    if mounted := node.mounts("bpf"):
        return str(mounted[0])
    if "\tbpf\n" not in Path("/proc/filesystems").read_text():
        raise FeatureError("bpffs", "neither mounted nor in /proc/filesystems")
    return "not mounted yet; the agent mounts it on /sys/fs/bpf"


def _cgroup2() -> Path:
    mounts = node.mounts("cgroup2")
    if not mounts:
        raise FeatureError("cgroup2", "not mounted")
    return mounts[0]


def _socket_hook() -> str:
    folder = _cgroup2() / f"weft-probe-{os.getpid()}"
    folder.mkdir()
    try:
        target = os.open(folder, os.O_RDONLY)
        allow = bpf.RETURN_ZERO[:4] + b"\1" + bpf.RETURN_ZERO[5:]
        program = bpf.program_load(bpf.PROG_TYPE_CGROUP_SOCK_ADDR, _CONNECT4, allow, "weft_probe")
        link = bpf.link_create(program, target, _CONNECT4, "a cgroup")
        for fd in (link, program, target):
            os.close(fd)
    finally:
        folder.rmdir()
    return "cgroup/connect4 attached by link"


def _maps() -> str:
    for kind, key, value, size, flags in (
        (bpf.MAP_TYPE_LPM_TRIE, 16, 8, 16, bpf.F_NO_PREALLOC),
        (bpf.MAP_TYPE_RINGBUF, 0, 0, 4096, 0),
        (bpf.MAP_TYPE_LRU_HASH, 16, 8, 16, 0),
    ):
        Map.create(kind, key, value, size, flags=flags, name="weft_probe").close()
    return "trie, ring buffer, least-recently-used hash"


def _program(prefix: str) -> Callable[[], str]:
    """Load the object's programs of that name (or beginning) and no other: what they need is there, or it is named."""

    def attempt() -> str:
        with Object(built("bpf/weft.bpf.o")) as loaded:
            chosen = [name for name in loaded.programs if name.startswith(prefix)]
            if not chosen:
                raise FeatureError(f"{loaded.path}", f"has no program {prefix}")
            for name in loaded.programs:
                loaded.autoload(name, name in chosen)
            for name in loaded.maps:
                if "." not in name and loaded.shape(name).max_entries > _MEMLOCK_FREE:
                    loaded.resize(name, 4096)
            loaded.load()
        return ", ".join(chosen)

    return attempt


def _veth() -> str:
    with netns.scratch(), Netlink() as netlink:
        netlink.request(rtnetlink.add_veth("wf0", b"\2\0\0\0\0\1", "wf1", b"\2\0\0\0\0\2", 1500))
    return "made in a scratch namespace"


def _vxlan() -> str:
    far, near = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
    with netns.scratch(), Netlink() as netlink:
        netlink.request(rtnetlink.add_vxlan("wf0", layouts.TUNNEL_PORT, 1450), rtnetlink.set_link("wf0", up=True))
        tunnel = rtnetlink.Tunnel(far, near, layouts.TUNNEL_ID)
        netlink.request(rtnetlink.add_route(Route(IPv4Network("10.0.0.0/8"), rtnetlink.index_of("wf0"), tunnel=tunnel)))
    return "a device, and a route through it"


def _masquerade() -> str:
    script = "table inet weft { chain c { type nat hook postrouting priority srcnat; meta nfproto ipv6 masquerade; }; }"
    with netns.scratch():
        done = subprocess.run(["nft", "-f", "-"], input=script, capture_output=True, text=True, check=False)
    if done.returncode:
        raise FeatureError("nft", done.stderr.strip())
    return "masquerade of IPv4 and IPv6"


def _tcx() -> str:
    program = bpf.program_load(bpf.PROG_TYPE_SCHED_CLS, 0, bpf.RETURN_ZERO, "weft_probe")
    try:
        with netns.scratch():
            os.close(bpf.link_create(program, rtnetlink.index_of("lo"), bpf.TCX_INGRESS, "lo of a scratch namespace"))
    finally:
        os.close(program)
    return "links, replaced in one step"


def _clsact() -> str:
    program = bpf.program_load(bpf.PROG_TYPE_SCHED_CLS, 0, bpf.RETURN_ZERO, "weft_probe")
    try:
        with netns.scratch(), Netlink() as netlink:
            lo = rtnetlink.index_of("lo")
            netlink.request(rtnetlink.add_clsact(lo))
            netlink.request(rtnetlink.replace_filter(lo, rtnetlink.CLSACT_INGRESS, program, "weft_probe"))
    finally:
        os.close(program)
    return "filters"


def has_tcx() -> bool:
    """Whether tc programs can be attached by link (Linux 6.6), without a wait: asked to attach to device 0, a kernel
    that has it says "no such device", another one "invalid"."""
    program = bpf.program_load(bpf.PROG_TYPE_SCHED_CLS, 0, bpf.RETURN_ZERO, "weft_probe")
    try:
        return bpf.call(bpf.LINK_CREATE, bpf.attribute("IIII", program, 0, bpf.TCX_INGRESS, 0)) == -errno.ENODEV
    finally:
        os.close(program)


def _redirect_peer() -> str:
    """r1 = 1; r2 = 0; call bpf_redirect_peer; exit"""
    load = struct.pack("=BBhi", 0xB7, 1, 0, 1) + struct.pack("=BBhi", 0xB7, 2, 0, 0)
    code = load + struct.pack("=BBhi", 0x85, 0, 0, 155) + bpf.RETURN_ZERO[8:]
    os.close(bpf.program_load(bpf.PROG_TYPE_SCHED_CLS, 0, code, "weft_probe"))
    return "loaded"


PROBES = (
    Probe("Linux 6.1", True, _kernel, "run Linux 6.1 or later"),
    Probe("capabilities", True, _capabilities, "run as root"),
    Probe("libbpf 1", True, _libbpf, "install libbpf1"),
    Probe("bpffs", True, _bpffs, "mount -t bpf bpf /sys/fs/bpf"),
    Probe("cgroup2", True, lambda: str(_cgroup2()), "mount -t cgroup2 none /sys/fs/cgroup/unified"),
    Probe("veth", True, _veth, "a kernel with CONFIG_VETH"),
    Probe(
        "nftables NAT", True, _masquerade, "install nftables; a kernel with CONFIG_NFT_MASQ and CONFIG_NF_TABLES_INET"
    ),
    Probe("maps", True, _maps, _LOAD),
    Probe("socket hooks on cgroups", True, _socket_hook, "a kernel with CONFIG_CGROUP_BPF"),
    Probe("service programs", True, _program("service_"), f"they need sk_storage and set_retval: {_LOAD}"),
    Probe("redirect_peer", True, _redirect_peer, _LOAD),
    Probe("bpf_timer", True, _program("start_expiry"), _LOAD),
    Probe("tc filters", True, _clsact, "a kernel with CONFIG_NET_CLS_ACT and CONFIG_NET_CLS_BPF"),
    Probe(
        "VXLAN",
        False,
        _vxlan,
        "only --tunnel=vxlan needs it, direct routing does not; a kernel with CONFIG_VXLAN and CONFIG_LWTUNNEL",
    ),
    Probe("tcx", False, _tcx, "nothing to do: weft uses clsact filters instead; Linux 6.6 has tcx"),
)
