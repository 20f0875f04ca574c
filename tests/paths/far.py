"""A host behind the outside, over a link with a smaller MTU: what path MTU discovery is for.

node ── uplink ── outside ── link (MTU 1300) ── far
                                                192.0.2.2, 2001:db8:2::2
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab import Lab
from tests.lab.netns import inside, ip
from tests.lab.tools import tool

FAR_V4, FAR_V6 = "192.0.2.2", "2001:db8:2::2"
MTU = 1300


@contextmanager
def far_host(lab: Lab) -> Iterator[str]:
    """The name of its namespace; the lab's server answers there at TCP and UDP 8080."""
    far, outside = f"{lab.name}-far", lab.namespaces.outside
    server = None
    try:
        ip("netns", "add", far)
        ip("-n", outside, "link", "add", "far", "type", "veth", "peer", "name", "far", "netns", far)
        for namespace, v4, v6 in ((outside, "192.0.2.1", "2001:db8:2::1"), (far, FAR_V4, FAR_V6)):
            ip("-n", namespace, "address", "add", f"{v4}/24", "dev", "far")
            ip("-n", namespace, "address", "add", f"{v6}/64", "dev", "far", "nodad")
            ip("-n", namespace, "link", "set", "far", "up")
        for version, host in (("-4", FAR_V4), ("-6", FAR_V6)):
            # Not the link's own MTU: far would tell it in its TCP options, and nobody need discover it.
            ip("-n", outside, version, "route", "add", host, "dev", "far", "mtu", "lock", str(MTU))
        ip("-n", far, "route", "add", "default", "via", "192.0.2.1")
        ip("-n", far, "-6", "route", "add", "default", "via", "2001:db8:2::1")
        forwarding = ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        subprocess.run(inside(outside, "sysctl", "-qw", *forwarding), check=True)
        server = subprocess.Popen(
            inside(far, tool("server"), "far", "tcp:8080", "udp:8080"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert server.stdout is not None and server.stdout.readline() == "ready\n"
        yield far
    finally:
        if server is not None:
            server.kill()
            server.communicate()
        ip("-n", outside, "link", "del", "far", check=False)
        ip("netns", "del", far, check=False)
