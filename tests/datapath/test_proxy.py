"""Connections through a proxy on the node: real namespaces, real sockets, every way a connection can take."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.datapath.conftest import FAMILY, PATIENCE, Node, address
from tests.datapath.proxy_scene import (
    CLIENT,
    EGRESS,
    HTTP_IN,
    HTTP_OUT,
    INGRESS,
    OTHER,
    OWN_ROUTE,
    PLAIN_IN,
    PORT,
    ROUTE,
    SERVER,
    UPLINK,
    VERSIONS,
    VIP,
    WORLD,
    Scene,
    proxy_scene,
    talk,
)
from weft.datapath import layouts, netns
from weft.datapath.pod import GATEWAY
from weft.datapath.proxied import proxied
from weft.model.verdicts import Verdict


@pytest.fixture
def scene(running: Node, tmp_path: Path) -> Iterator[Scene]:
    with proxy_scene(running, tmp_path) as made:
        yield made


@VERSIONS
@pytest.mark.parametrize(
    ("egress", "ingress", "seen"),
    [
        (HTTP_OUT, 0, f"<{EGRESS}>"),
        (0, HTTP_IN, f"<{INGRESS}>"),
        (HTTP_OUT, HTTP_IN, f"<{INGRESS}><{EGRESS}>"),
        (HTTP_OUT, PLAIN_IN, f"<{EGRESS}>"),
    ],
    ids=["egress", "ingress", "both", "plain ingress"],
)
def test_pod_to_pod(scene: Scene, version: int, egress: int, ingress: int, seen: str) -> None:
    scene.standard()
    scene.tables(CLIENT, egress=egress)
    scene.tables(SERVER, ingress=ingress)
    with scene.listen(SERVER, version) as server:
        for _ in range(3):
            with scene.dial(CLIENT, address(SERVER, version)) as client:
                talk(client, server, seen, address(CLIENT, version))


@VERSIONS
def test_routed_service(scene: Scene, version: int) -> None:
    """The client dials the service's address and keeps it; which listener it meets depends on its namespace. Policy is
    asked about the backend, in the client's name."""
    server_at = address(SERVER, version)
    scene.proxy(f"{ROUTE},route,{server_at},{PORT}", f"{OWN_ROUTE},route,{server_at},{PORT}", f"{INGRESS},ingress")
    scene.route(version)
    with scene.listen(SERVER, version) as server:
        for scope, listener in ((0, ROUTE), (9, ROUTE), (5, OWN_ROUTE)):
            scene.scope(CLIENT, scope)
            with scene.dial(CLIENT, VIP[version], 80) as client:
                assert client.getpeername()[0] == VIP[version]
                talk(client, server, f"<{listener}>", address(CLIENT, version))
        scene.tables(SERVER, ingress=HTTP_IN)
        with scene.dial(CLIENT, VIP[version], 80) as client:
            talk(client, server, f"<{INGRESS}><{OWN_ROUTE}>", address(CLIENT, version))
        scene.tables(SERVER, ingress=PLAIN_IN)
        with scene.dial(OTHER, VIP[version], 80) as client:
            started = time.monotonic()
            assert client.recv(100) == b"503 %d" % errno.ECONNREFUSED, "policy refuses the backend, and at once"
            assert time.monotonic() - started < 1
    (refused,) = [event for event in scene.events() if event.reason]
    assert (refused.source_endpoint, refused.destination_endpoint) == (OTHER, SERVER)
    assert refused.reason == Verdict.POLICY_DENIED and refused.flags & layouts.EVENT_F_FROM_PROXY
    counts = proxied(scene.node.datapath)
    assert (counts["route"].connections, counts["egress"].connections, counts["ingress"].connections) == (5, 0, 1)


@VERSIONS
def test_a_service_that_leads_back_to_its_client(scene: Scene, version: int) -> None:
    """A pod's stack takes no packet from outside with its own address as the source: the pod sees its gateway. What a
    pod says to itself is no policy's matter."""
    gateway = str(GATEWAY[version])
    scene.proxy(f"{ROUTE},route,{address(OTHER, version)},{PORT}", f"{INGRESS},ingress")
    scene.route(version)
    with scene.listen(OTHER, version) as server:
        for ingress in (0, HTTP_IN, PLAIN_IN):
            scene.tables(OTHER, ingress=ingress)
            with scene.dial(OTHER, VIP[version], 80) as client:
                talk(client, server, f"<{ROUTE}>", gateway)
    assert not [event for event in scene.events() if event.reason]
    with scene.dial(OTHER, VIP[version], 80) as client:
        assert client.recv(100) == b"503 %d" % errno.ECONNREFUSED, "nobody listens: the pod's own refusal comes back"
    scene.all_end()


@VERSIONS
def test_from_the_world(scene: Scene, version: int) -> None:
    scene.standard()
    scene.tables(SERVER, ingress=HTTP_IN)
    with scene.listen(SERVER, version) as server:
        for _ in range(3):
            with scene.dial(None, address(SERVER, version)) as client:
                talk(client, server, f"<{INGRESS}>", WORLD[version])
    scene.all_end()


@VERSIONS
def test_to_the_world(scene: Scene, version: int) -> None:
    """Masqueraded as without a proxy: the world sees the node."""
    scene.standard()
    scene.tables(CLIENT, egress=HTTP_OUT)
    with scene.listen(None, version) as server:
        for _ in range(3):
            with scene.dial(CLIENT, WORLD[version]) as client:
                talk(client, server, f"<{EGRESS}>", UPLINK[version])
    scene.all_end()


@VERSIONS
def test_to_the_node_itself(scene: Scene, version: int) -> None:
    scene.standard()
    scene.tables(CLIENT, egress=HTTP_OUT)
    target = "10.55.0.1" if version == 4 else "fd55::1"
    with socket.socket(FAMILY[version]) as server:
        server.settimeout(PATIENCE)
        server.bind((target, PORT))
        server.listen()
        for _ in range(2):
            with scene.dial(CLIENT, target) as client:
                talk(client, server, f"<{EGRESS}>", address(CLIENT, version))
    with scene.dial(CLIENT, target) as client:
        assert client.recv(100) == b"503 %d" % errno.ECONNREFUSED, "nobody listens any more"
    scene.all_end()


@VERSIONS
def test_the_node_itself_is_not_judged(scene: Scene, version: int) -> None:
    scene.standard()
    scene.tables(SERVER, ingress=HTTP_IN)
    with scene.listen(SERVER, version) as server, scene.node.connect(None, SERVER, version) as client:
        talk(client, server, "", "10.55.0.1" if version == 4 else "fd55::1")


def test_udp_goes_past(scene: Scene) -> None:
    """A rule for http is a rule for TCP: it does not allow a datagram."""
    scene.standard()
    scene.tables(CLIENT, egress=HTTP_OUT)
    scene.events()
    with netns.entered(scene.node.netns(CLIENT)), socket.socket(type=socket.SOCK_DGRAM) as out:
        out.sendto(b"x", (address(SERVER, 4), 53))
    assert [event.reason for event in scene.events() if event.protocol == socket.IPPROTO_UDP] == [Verdict.POLICY_DENIED]
