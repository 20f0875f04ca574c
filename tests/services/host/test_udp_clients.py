"""UDP backends that go leave no client talking to nobody."""

from __future__ import annotations

from contextlib import closing
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from tests.lab import Lab, Pod
from tests.lab.inside import Process
from tests.lab.lab import SERVICE_CIDRS
from tests.lab.waiting import until
from tests.services.manifests import ASK, WEB, apply, cluster_ips, service
from tests.services.test_backends import SERVER
from weft.model.origin import NOWHERE
from weft.sources.decode import decode
from weft.sources.objects import Document
from weft.sources.store import Store

CONNECTED = """
# Says who answers through one connected socket, again for each line; its error, if the socket has one, and what answers
# through a new one.
def connected():
    s = socket.socket(socket.AF_INET6 if mapped else family(address), socket.SOCK_DGRAM)
    s.connect(('::ffff:' + address if mapped else address, port))
    return s
def asked():
    s.send(b'who\\n')
    return s.recv(100).decode().split()[0]
address, port, mapped = arguments
s = connected()
say(asked())
for line in sys.stdin:
    try: say(asked())
    except OSError as error:
        s = connected()
        say([error.errno, asked()])
"""
UNCONNECTED = """
address, port = arguments
with socket.socket(family(address), socket.SOCK_DGRAM) as s:
    while True:
        s.sendto(b'who\\n', (address, port))
        data, source = s.recvfrom(100)
        say([data.decode().split()[0], source[0] == address])
        if not sys.stdin.readline(): break
"""
EDESTADDRREQ = 89
"""What send() says of a socket that was destroyed; one that waits in recv() hears ECONNABORTED."""


@pytest.fixture
def clients(lab: Lab, host: Pod) -> list[Pod]:
    """In a pod, and a program of the node. Of two backends, "one" answers first."""
    lab.serve("one", "tcp:8080", "udp:8080", labels=SERVER)
    apply(lab, service("web", ASK))
    return [lab.run("client"), host]


def sockets(lab: Lab, clients: list[Pod]) -> list[Process]:
    v4, v6 = cluster_ips(lab, "web")
    found = [
        (client, address, mapped) for client in clients for address, mapped in ((v4, False), (v6, False), (v4, True))
    ]
    opened = [Process(client, CONNECTED, address, 53, mapped) for client, address, mapped in found]
    assert [each.heard() for each in opened] == ["one"] * 6
    return opened


def ask(opened: list[Process]) -> list[Any]:
    for each in opened:
        each.tell()
    return [each.heard() for each in opened]


def end(opened: list[Process]) -> None:
    for each in opened:
        each.__exit__()


def test_connected_sockets_are_told_at_once(lab: Lab, clients: list[Pod]) -> None:
    """As with Cilium: the socket is closed, and its owner connects again. Whoever has another backend notices
    nothing."""
    opened = sockets(lab, clients)
    try:
        lab.serve("two", "tcp:8080", "udp:8080", labels=SERVER)
        assert ask(opened) == ["one"] * 6, "a backend more is nobody's loss"
        lab.delete("pods", "one")
        assert ask(opened) == [[EDESTADDRREQ, "two"]] * 6
        lab.serve("one", "tcp:8080", "udp:8080", labels=SERVER)
        assert ask(opened) == ["two"] * 6
    finally:
        end(opened)


def test_also_when_the_backend_lives_but_is_not_ready(lab: Lab, clients: list[Pod]) -> None:
    opened = sockets(lab, clients)
    try:
        lab.serve("two", "tcp:8080", "udp:8080", labels={"app": "other"})
        apply(lab, service("web", ASK, app="other"))
        assert ask(opened) == [[EDESTADDRREQ, "two"]] * 6
    finally:
        end(opened)


def test_what_happened_while_the_agent_was_away_is_made_up_for(lab: Lab, clients: list[Pod]) -> None:
    lab.serve("two", "tcp:8080", "udp:8080", labels={"app": "other"})
    opened = sockets(lab, clients)
    direct = Process(clients[0], CONNECTED, lab.pod("one").v4, 8080, False)
    try:
        assert direct.heard() == "one"
        lab.kill_agent()
        with closing(
            Store(Path("/var/lib/weft", lab.name, "store.sqlite"), tuple(map(ip_network, SERVICE_CIDRS)))
        ) as store:
            store.apply([decode(Document(NOWHERE, service("web", ASK, app="other")))[0]])
        lab.start_agent()
        assert ask(opened) == [[EDESTADDRREQ, "two"]] * 6
        direct.tell()
        assert direct.heard() == "one", "who dialled the pod itself keeps it"
    finally:
        end([*opened, direct])


def test_unconnected_sockets_move_at_the_next_send(lab: Lab, clients: list[Pod]) -> None:
    opened = [Process(client, UNCONNECTED, address, 53) for client in clients for address in cluster_ips(lab, "web")]
    try:
        assert [each.heard() for each in opened] == [["one", True]] * 4
        for number in range(3):  # they stay where they are as long as that serves
            lab.serve(f"more{number}", "tcp:8080", "udp:8080", labels=SERVER)
            assert ask(opened) == [["one", True]] * 4
        lab.delete("pods", "one")
        moved = ask(opened)
        assert all(name.startswith("more") and right for name, right in moved), moved
        assert ask(opened) == moved
    finally:
        end(opened)


def test_tcp_connections_are_left_alone(lab: Lab, clients: list[Pod]) -> None:
    """A backend that leaves may still end what it has begun."""
    apply(lab, service("tcp", WEB))
    held = [client.hold(cluster_ips(lab, "tcp")[0], 80, interval_ms=5) for client in clients]
    lab.serve("two", "tcp:8080", "udp:8080", labels={"app": "other"})
    apply(lab, service("tcp", WEB, app="other"), service("web", ASK, app="other"))
    until(lambda: clients[0].probe("tcp", cluster_ips(lab, "tcp")[0], 80).server == "two", "the service has moved")
    assert [each.stop().outcome for each in held] == ["held", "held"]
