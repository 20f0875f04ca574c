"""Packets that are too large for the way: fragments, path MTU discovery, bulk data in super-packets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.lab import Lab, Pod
from tests.lab.inside import python
from tests.lab.netns import OUTSIDE_V4, OUTSIDE_V6, WORLD_V4, WORLD_V6, ip
from tests.lab.waiting import SLOWNESS
from tests.paths.far import FAR_V4, FAR_V6, MTU, far_host
from weft.datapath import netns

ECHO = """
def echoes(address, size):
    with socket.socket(family(address), socket.SOCK_DGRAM) as s:
        s.connect((address, 8080))
        data = os.urandom(size)
        for attempt in range(3):  # a first datagram may be lost to path MTU discovery
            s.settimeout(1)
            try: s.send(data); return s.recv(65535) == data
            except (TimeoutError, OSError) as error: last = str(error)
        return last
say([echoes(address, size) for address in arguments[0] for size in arguments[1]])
"""
BULK = """
# The server echoes; both directions are full at once.
import select
def bulk(address, size):
    with socket.create_connection((address, 8080)) as s:
        block, sent, got = os.urandom(1 << 16), 0, bytearray()
        s.setblocking(False)
        end = time.monotonic() + arguments[2]
        while len(got) < size and time.monotonic() < end:
            can_read, can_write, _ = select.select([s], [s] if sent < size and sent - len(got) < 1 << 16 else [], [], 1)
            if can_write: sent += s.send(block[sent % len(block):])
            if can_read: got += s.recv(1 << 20)
        whole = block * (len(got) // len(block) + 1)
        return [len(got) >= size, bytes(got) == whole[:len(got)], s.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)]
say([bulk(address, arguments[1]) for address in arguments[0]])
"""
SIZES = (1473, 9000, 60000)
"""All more than one packet of 1500 bytes."""
MEGABYTE = 1 << 20
SECONDS = 10 * SLOWNESS


@pytest.fixture
def client(lab: Lab) -> Pod:
    return lab.run("client")


@pytest.fixture
def server(lab: Lab) -> Pod:
    return lab.serve("server", "tcp:8080", "udp:8080")


@pytest.fixture
def far(lab: Lab) -> Iterator[str]:
    with far_host(lab) as namespace:
        yield namespace


def test_large_datagrams_between_pods(client: Pod, server: Pod) -> None:
    assert python(client, ECHO, [server.v4, server.v6], SIZES) == [True] * 6


def test_large_datagrams_to_the_outside_and_back(client: Pod) -> None:
    assert python(client, ECHO, [WORLD_V4[0], WORLD_V6[0]], SIZES) == [True] * 6


@pytest.mark.parametrize("where", ["node", "outside"])
def test_large_datagrams_from_the_node_and_the_outside(lab: Lab, server: Pod, where: str) -> None:
    space = Path("/run/netns", getattr(lab.namespaces, where))
    for address in (server.v4, server.v6):
        with netns.entered(space):
            s = socket.socket(
                socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET, socket.SOCK_DGRAM
            )
        with s:
            s.settimeout(5 * SLOWNESS)
            s.connect((address, 8080))
            for size in SIZES:
                data = bytes(range(256)) * (size // 256 + 1)
                s.send(data[:size])
                assert s.recv(65535) == data[:size]


def test_bulk_between_pods_and_to_the_outside(client: Pod, server: Pod) -> None:
    for targets in ((server.v4, server.v6), (WORLD_V4[0], WORLD_V6[0])):
        for whole, intact, _ in python(client, BULK, targets, 32 * MEGABYTE, SECONDS, seconds=30):
            assert whole and intact


ONLY_8080 = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: only-8080}
spec:
  podSelector: {}
  policyTypes: [Ingress, Egress]
  egress: [{ports: [{port: 8080, protocol: TCP}, {port: 8080, protocol: UDP}]}]
"""
"""No rule speaks of ICMP: an error passes because of the packet that it is about."""


@pytest.mark.usefixtures("far")
def test_a_narrow_link_far_away(lab: Lab, client: Pod) -> None:
    """The router's "packet too big" finds its way through masquerade and policy to the pod's socket."""
    lab.apply(ONLY_8080)
    assert python(client, ECHO, [FAR_V4, FAR_V6], SIZES, seconds=30) == [True] * 6
    fits(python(client, BULK, [FAR_V4, FAR_V6], 4 * MEGABYTE, SECONDS, seconds=30))


@pytest.mark.usefixtures("far")
def test_tcp_learns_of_a_narrow_link_by_itself(client: Pod) -> None:
    """No datagram has found the way's MTU out before."""
    fits(python(client, BULK, [FAR_V4, FAR_V6], 4 * MEGABYTE, SECONDS, seconds=30))


@pytest.fixture
def narrow_uplink(lab: Lab) -> Iterator[None]:
    """Of the node's route only: else the outside would tell the MTU in its TCP options."""
    routes = ((lab.namespaces.node, "-4", OUTSIDE_V4), (lab.namespaces.node, "-6", OUTSIDE_V6))
    for node, version, router in routes:
        ip("-n", node, version, "route", "replace", "default", "via", router, "mtu", "lock", str(MTU))
    yield
    for node, version, router in routes:
        ip("-n", node, version, "route", "replace", "default", "via", router)


@pytest.mark.usefixtures("narrow_uplink")
def test_an_uplink_that_became_narrower_than_the_pods(lab: Lab, client: Pod) -> None:
    """Here the node itself says "packet too big"."""
    lab.apply(ONLY_8080)
    fits(python(client, BULK, [WORLD_V4[0], WORLD_V6[0]], 4 * MEGABYTE, SECONDS, seconds=30))
    assert python(client, ECHO, [WORLD_V4[0], WORLD_V6[0]], [1273], seconds=30) == [True] * 2


def fits(bulks: list[list[object]]) -> None:
    """All came through, in segments for a way with that MTU."""
    (v4, v6) = bulks
    assert v4[:2] == v6[:2] == [True, True]
    assert v4[2] == MTU - 40 - 12 and v6[2] == MTU - 60 - 12, bulks
