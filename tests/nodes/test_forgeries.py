"""Who claims to be a pod of another node and is not: refused, counted, never heard."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from ipaddress import ip_address

import pytest

from tests.nodes.frames import MARK, datagram, send_from_pod, send_in_tunnel, send_plain
from tests.nodes.scene import WORLD, Cluster
from tests.nodes.talk import make_socket, udp_server
from weft.datapath.layouts import TUNNEL_ID
from weft.datapath.spare import GATEWAY_MAC
from weft.model.net import IPAddress
from weft.model.verdicts import Verdict

PORT = 8080
TUNNEL = pytest.mark.parametrize("standing", ["vxlan"], indirect=True)
VERSIONS = pytest.mark.parametrize("version", [4, 6])
OUTSIDE = {4: ip_address("198.51.100.1"), 6: ip_address("2001:db8:51::1")}
Source = Callable[[Cluster, int], IPAddress]
CLAIMS: dict[str, tuple[str, Source, bool]] = {
    "a pod of the node itself, but another node says it": (
        "n1",
        lambda c, v: c.pods["default/neighbour"].address(v),
        True,
    ),
    "a pod of the sender, but nobody knows the sender": ("", lambda c, v: c.pods["default/client"].address(v), True),
    "the world, in the name of a node": ("n1", lambda c, v: WORLD[v == 6], True),
    "the receiving node itself": ("n1", lambda c, v: c.nodes["n2"].addresses[v == 6], True),
    "a pod of the sender, in somebody else's VXLAN": ("n1", lambda c, v: c.pods["default/client"].address(v), False),
}


@TUNNEL
@VERSIONS
@pytest.mark.parametrize("claim", CLAIMS)
def test_a_node_speaks_for_its_own_pods_only(cluster: Cluster, version: int, claim: str) -> None:
    """And nobody speaks who is no node. The same packet, told by the right one, arrives: so it was well made."""
    who, source_of, ours = CLAIMS[claim]
    client, server, receiver = cluster.pods["default/client"], cluster.pods["default/server"], cluster.nodes["n2"]
    home = cluster.nodes[who].home if who else cluster.switch
    sender = cluster.nodes[who].addresses[0] if who else OUTSIDE[4]
    target = server.address(version)
    lie = datagram(source_of(cluster, version), target, PORT)
    with contextlib.closing(udp_server(server.netns, version, PORT)) as heard:
        before = receiver.counted(Verdict.FORGED_HOST_SOURCE)
        send_in_tunnel(home, sender, receiver.addresses[0], lie, TUNNEL_ID if ours else TUNNEL_ID + 1)
        cluster.wait(lambda: receiver.counted(Verdict.FORGED_HOST_SOURCE) == before + 1, "the refusal is counted")
        truth = datagram(client.address(version), target, PORT)
        send_in_tunnel(cluster.nodes["n1"].home, cluster.nodes["n1"].addresses[0], receiver.addresses[0], truth)
        data, peer = heard.recvfrom(100)
        assert (data, peer[0]) == (MARK, str(client.address(version))), "the first that was heard is the true one"


@TUNNEL
@VERSIONS
def test_the_tunnel_leads_to_pods_and_to_the_node_only(cluster: Cluster, version: int) -> None:
    client, receiver = cluster.pods["default/client"], cluster.nodes["n2"]
    packet = datagram(client.address(version), WORLD[version == 6], PORT)
    with contextlib.closing(udp_server(cluster.switch, version, PORT)) as heard:
        before = receiver.counted(Verdict.UNKNOWN_TARGET)
        send_in_tunnel(cluster.nodes["n1"].home, cluster.nodes["n1"].addresses[0], receiver.addresses[0], packet)
        cluster.wait(lambda: receiver.counted(Verdict.UNKNOWN_TARGET) == before + 1, "the refusal is counted")
        heard.setblocking(False)
        with pytest.raises(BlockingIOError):
            heard.recv(100)


PAST_A_TUNNEL: dict[str, Source] = {
    "a pod of another node": lambda c, v: c.pods["default/client"].address(v),
    "another node's address among its pods": lambda c, v: c.nodes["n1"].spec.pod_cidrs[v == 6][1],
}


def is_refused(cluster: Cluster, source: IPAddress, source_port: int = 40000) -> None:
    server, receiver = cluster.pods["default/server"], cluster.nodes["n2"]
    target = server.address(source.version)
    with contextlib.closing(udp_server(server.netns, source.version, PORT)) as heard:
        before = receiver.counted(Verdict.FORGED_HOST_SOURCE)
        send_plain(cluster.switch, datagram(source, target, PORT, source_port), target)
        cluster.wait(lambda: receiver.counted(Verdict.FORGED_HOST_SOURCE) == before + 1, "the refusal is counted")
        send_plain(cluster.switch, datagram(OUTSIDE[source.version], target, PORT), target)
        assert heard.recvfrom(100)[1][0] == str(OUTSIDE[source.version]), "what is not a lie arrives"


@VERSIONS
def test_nobody_outside_is_a_pod_of_the_receiving_node(cluster: Cluster, version: int) -> None:
    is_refused(cluster, cluster.pods["default/neighbour"].address(version))


@TUNNEL
@VERSIONS
@pytest.mark.parametrize("source", PAST_A_TUNNEL)
def test_what_belongs_into_the_tunnel_comes_by_no_other_way(cluster: Cluster, version: int, source: str) -> None:
    is_refused(cluster, PAST_A_TUNNEL[source](cluster, version))


@TUNNEL
@VERSIONS
def test_nor_as_part_of_a_conversation_that_came_through_the_tunnel(cluster: Cluster, version: int) -> None:
    client, server = cluster.pods["default/client"], cluster.pods["default/server"]
    with (
        contextlib.closing(udp_server(server.netns, version, PORT)) as heard,
        contextlib.closing(make_socket(client.netns, version, 2)) as sender,
    ):
        sender.settimeout(20)
        sender.connect((str(server.address(version)), PORT))
        sender.send(b"hello")
        heard.sendto(*heard.recvfrom(100))
        assert sender.recv(100) == b"hello"
        port = sender.getsockname()[1]
        heard.close()
        is_refused(cluster, client.address(version), port)


@VERSIONS
def test_a_pod_cannot_be_a_pod_of_another_node(cluster: Cluster, version: int) -> None:
    stranger, server, sender = cluster.pods["default/stranger"], cluster.pods["default/server"], cluster.nodes["n1"]
    packet = datagram(server.address(version), cluster.pods["default/client"].address(version), PORT)
    before = sender.counted(Verdict.INVALID_SOURCE_IP, door=0)
    send_from_pod(stranger.netns, packet, GATEWAY_MAC)
    cluster.wait(lambda: sender.counted(Verdict.INVALID_SOURCE_IP, door=0) == before + 1, "the refusal is counted")
