"""Packets of every size between nodes: what fits, what is cut, and links that are narrower than pods think."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.nodes.scene import Cluster, ip
from tests.nodes.talk import make_socket, tcp_server, transfer, udp_server
from weft.datapath import netns, rtnetlink
from weft.datapath.netlink import Netlink

PORT = 8080
VERSIONS = pytest.mark.parametrize("version", [4, 6])
MEGABYTE = 1 << 20
HEADERS = {4: 28, 6: 48}
"""IP and UDP."""


def pod_mtu(cluster: Cluster) -> int:
    """An underlay of IPv4, links of 1500 bytes."""
    return 1450 if cluster.nodes["n1"].config.tunnel else 1500


def bulk(cluster: Cluster, version: int) -> None:
    client, server = cluster.pods["default/client"], cluster.pods["default/server"]
    with (
        contextlib.closing(tcp_server(server.netns, version, PORT)) as listening,
        contextlib.closing(make_socket(client.netns, version)) as sender,
    ):
        sender.settimeout(20)
        sender.connect((str(server.address(version)), PORT))
        assert transfer(listening, sender, 4 * MEGABYTE)


@pytest.fixture
def narrow(cluster: Cluster) -> Iterator[Cluster]:
    """The nodes' links take 1320 bytes now; the pods were made before."""
    set_mtu(cluster, 1320)
    yield cluster
    set_mtu(cluster, 1500)


def set_mtu(cluster: Cluster, mtu: int) -> None:
    for node in cluster.nodes.values():
        with node.inside():
            ip("link", "set", "uplink", "mtu", str(mtu))


def test_pods_have_the_mtu_that_fits(cluster: Cluster) -> None:
    for pod in cluster.pods.values():
        with netns.entered(pod.netns), Netlink() as netlink:
            assert rtnetlink.links(netlink)["eth0"].mtu == pod_mtu(cluster)


@VERSIONS
def test_much_data_both_ways(cluster: Cluster, version: int) -> None:
    bulk(cluster, version)


@VERSIONS
def test_much_data_over_a_link_that_got_narrower(narrow: Cluster, version: int) -> None:
    """The pods learn of it (fragmentation needed, packet too big), or what carries their packets is cut."""
    bulk(narrow, version)


@VERSIONS
def test_datagrams_of_every_size(cluster: Cluster, version: int) -> None:
    """The largest that is sent whole, one more than that, and up to 40 fragments."""
    client, server = cluster.pods["default/client"], cluster.pods["default/server"]
    whole = pod_mtu(cluster) - HEADERS[version]
    with (
        contextlib.closing(udp_server(server.netns, version, PORT)) as echo,
        contextlib.closing(udp_server(client.netns, version, 40001)) as sender,
    ):
        for size in (0, 1, whole, whole + 1, 9000, 60000):
            sender.sendto(bytes(size), (str(server.address(version)), PORT))
            data, peer = echo.recvfrom(65535)
            assert len(data) == size
            echo.sendto(data, peer)
            assert len(sender.recv(65535)) == size
