"""The ways to and from Envoy in the node's namespace: routing rules by mark, and no connection tracking on them.

    ip rule  fwmark 0x200/0xf00 → table 200   local default dev lo         what the doors send to Envoy is taken in
    ip rule  fwmark 0x800/0x800 → table 201   default dev weft_host        what Envoy sends comes to the door to_pod
    nft      table inet weft_proxy            packets with either mark are not tracked

Not tracked, because one connection passes the stack under the same addresses more than once; what Envoy sends on to the
world is tracked, and masqueraded, when it is forwarded. Source: docs/decisions/0007-layer-7.md.
"""

from __future__ import annotations

import errno
import subprocess
from ipaddress import ip_network
from pathlib import Path

from weft.datapath import rtnetlink, sysctl
from weft.datapath.errors import DatapathError, FeatureError
from weft.datapath.layouts import (
    MARK_MASK,
    MARK_PROXY,
    MARK_TO_PROXY,
    PROXY_RULE_IN,
    PROXY_RULE_OUT,
    PROXY_TABLE_IN,
    PROXY_TABLE_OUT,
)
from weft.datapath.netlink import Netlink
from weft.datapath.rtnetlink import LOCAL, Route

HOST_DEVICE = "weft_host"
TABLE = "weft"
"""The nftables table (inet) of the node's masquerade."""
_TABLE = "weft_proxy"
_RULES = (
    (PROXY_RULE_IN, MARK_TO_PROXY, MARK_MASK, PROXY_TABLE_IN),
    (PROXY_RULE_OUT, MARK_PROXY, MARK_PROXY, PROXY_TABLE_OUT),
)
_EVERYWHERE = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}
_UNTRACKED = f"meta mark & {MARK_TO_PROXY | MARK_PROXY:#x} != 0 notrack"
"""One comparison, because every packet of the node's stack pays for it."""


def open_proxy_ways() -> None:
    """Make or repair them; ``weft_host`` must be up (``node.bring_up``). Errors: DatapathError."""
    nft(
        f"table inet {_TABLE} {{ }}\ndelete table inet {_TABLE}\ntable inet {_TABLE} {{\n"
        f"  chain prerouting {{ type filter hook prerouting priority raw; {_UNTRACKED}; }}\n"
        f"  chain output {{ type filter hook output priority raw; {_UNTRACKED}; }}\n}}\n"
    )
    # The node's own answers to Envoy come back in by weft_host, with the node's address as their source.
    sysctl.write(f"ipv4/conf/{HOST_DEVICE}/accept_local", 1)
    lo, host = rtnetlink.index_of("lo"), rtnetlink.index_of(HOST_DEVICE)
    with Netlink() as netlink:
        for version in _versions():
            inwards = Route(_EVERYWHERE[version], lo, kind=LOCAL, table=PROXY_TABLE_IN)
            outwards = Route(_EVERYWHERE[version], host, table=PROXY_TABLE_OUT)
            netlink.request(rtnetlink.add_route(inwards), rtnetlink.add_route(outwards))
            netlink.request(*(rtnetlink.add_rule(version, *rule) for rule in _RULES), ignore=(errno.EEXIST,))


def close_proxy_ways() -> None:
    """Take them away; nothing there is not an error."""
    lo, host = rtnetlink.index_of("lo"), rtnetlink.index_of(HOST_DEVICE)
    gone = (errno.ENOENT, errno.ESRCH, errno.ENODEV)
    with Netlink() as netlink:
        for version in _versions():
            netlink.request(*(rtnetlink.delete_rule(version, *rule) for rule in _RULES), ignore=gone)
            inwards = Route(_EVERYWHERE[version], lo, kind=LOCAL, table=PROXY_TABLE_IN)
            outwards = Route(_EVERYWHERE[version], host, table=PROXY_TABLE_OUT)
            netlink.request(rtnetlink.delete_route(inwards), rtnetlink.delete_route(outwards), ignore=gone)
    sysctl.write(f"ipv4/conf/{HOST_DEVICE}/accept_local", 0)
    nft(f"table inet {_TABLE} {{ }}\ndelete table inet {_TABLE}\n")


def _versions() -> tuple[int, ...]:
    """Address families that the namespace speaks."""
    has_v6 = Path("/proc/net/if_inet6").exists() and sysctl.read("ipv6/conf/lo/disable_ipv6") != "1"
    return (4, 6) if has_v6 else (4,)


def nft(script: str) -> None:
    """Carry out a script in one transaction."""
    try:
        done = subprocess.run(["nft", "-f", "-"], input=script, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise FeatureError("nftables", "the program nft was not found", "install nftables") from error
    if done.returncode:
        raise DatapathError("write nftables table inet weft", done.stderr.strip(), "the kernel needs nftables with NAT")
