"""What an application sees of a service: the address it dialled, from every socket call, over every kind of socket."""

from __future__ import annotations

import pytest

from tests.lab import Lab
from tests.lab.inside import python
from tests.services.manifests import WEB, apply, cluster_ips, service

DIALS = """
def dials(kind, address, port, mapped):
    with socket.socket(socket.AF_INET6 if mapped else family(address), kind) as s:
        s.connect(('::ffff:' + address if mapped else address, port))
        peer = s.getpeername()[:2]
        s.send(b'who\\n')
        data, _, _, source = s.recvmsg(100)
        s.send(b'echo')
        again, plain = s.recvfrom(100)
        return [data.decode().split()[0], peer, source and source[:2], again.decode(), plain and plain[:2]]
say([dials(getattr(socket, kind), *rest) for kind, *rest in arguments])
"""
ASKS = """
# Each service is asked from one socket without connect(); the answers may come in any order.
with socket.socket(family(arguments[0][0]), socket.SOCK_DGRAM) as s:
    s.bind(('', 0))
    for address, port in arguments:
        s.sendto(b'who\\n', (address, port))
    answers = [s.recvfrom(100) for _ in arguments]
say([[data.decode().split()[0], *source[:2]] for data, source in answers])
"""


@pytest.fixture
def web(lab: Lab) -> tuple[str, str]:
    """A service ``web`` with one server behind it."""
    lab.serve("server", "tcp:8080", "udp:8080", labels={"app": "server"})
    apply(lab, service("web"))
    return cluster_ips(lab, "web")


def test_the_application_sees_the_address_it_dialled(lab: Lab, web: tuple[str, str]) -> None:
    v4, v6 = web
    tcp = [("SOCK_STREAM", v4, 80, False), ("SOCK_STREAM", v6, 80, False), ("SOCK_STREAM", v4, 80, True)]
    udp = [("SOCK_DGRAM", v4, 53, False), ("SOCK_DGRAM", v6, 53, False), ("SOCK_DGRAM", v4, 53, True)]
    for (kind, address, port, mapped), seen in zip(
        tcp + udp, python(lab.run("client"), DIALS, *tcp, *udp), strict=True
    ):
        dialled = [f"::ffff:{address}" if mapped else address, port]
        source = dialled if kind == "SOCK_DGRAM" else None
        assert seen == ["server", dialled, source, "echo", source], (kind, address, mapped)


def test_an_unconnected_socket_asks_many_services(lab: Lab) -> None:
    """All questions before the first answer is read: each answer comes from the service that was asked. Of more than
    64 services at once (UDP_PEERS), the answer of the one asked first shows the backend, never another service."""
    numbers = range(9000, 9065)
    server = lab.serve("server", *(f"udp:{number}" for number in numbers), labels={"app": "server"})
    apply(lab, service("many", *((f"p{number}", number - 8000, number, "UDP") for number in numbers)))
    client = lab.run("client")
    for family, backend in enumerate((server.v4, server.v6)):
        address = cluster_ips(lab, "many")[family]
        asked = [[address, number - 8000] for number in numbers]
        few = python(client, ASKS, *asked[:64])
        assert sorted(source for _, *source in few) == asked[:64]
        many = sorted(source for _, *source in python(client, ASKS, *asked))
        assert many == sorted([[backend, 9000], *asked[1:]])


def test_an_ipv6_socket_sends_to_ipv4_services_without_connecting(lab: Lab, web: tuple[str, str]) -> None:
    mapped = f"::ffff:{web[0]}"
    assert python(lab.run("client"), ASKS, [mapped, 53]) == [["server", mapped, 53]]


def test_ports_of_one_service_are_told_apart(lab: Lab) -> None:
    lab.serve("server", "tcp:8080", "tcp:9090", "udp:8080", labels={"app": "server"}, ports=[("admin", 9090, "TCP")])
    apply(lab, service("web", WEB, ("admin", 81, "admin", "TCP"), ("ask", 80, 8080, "UDP")))
    client = lab.run("client")
    for address in cluster_ips(lab, "web"):
        assert client.probe("tcp", address, 80).outcome == "open"
        assert client.probe("tcp", address, 81).outcome == "open"
        assert client.probe("udp", address, 80).outcome == "open"
        # A port that the service does not have is no way to anywhere.
        assert client.probe("tcp", address, 82).outcome in ("timeout", "refused", "unreachable")
    lab.delete("pods", "server")
    lab.serve("server", "tcp:8080", labels={"app": "server"})  # has no port of that name
    assert client.probe("tcp", cluster_ips(lab, "web")[0], 80).outcome == "open"
    assert client.probe("tcp", cluster_ips(lab, "web")[0], 81).outcome in ("refused", "unreachable")


def test_a_socket_that_dialled_a_service_dials_something_else(lab: Lab, web: tuple[str, str]) -> None:
    """connect() of a datagram socket may be called again: what it dialled before is forgotten."""
    client, outside = lab.run("client"), "203.0.113.1"
    code = """
(service, other) = arguments
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    peers = []
    for address, port in (service, other, service):
        s.connect((address, port))
        s.send(b'who\\n')
        data, source = s.recvfrom(100)
        peers.append([data.decode().split()[0], s.getpeername() == (address, port) == source])
say(peers)
"""
    assert python(client, code, [web[0], 53], [outside, 8080]) == [
        ["server", True],
        ["outside", True],
        ["server", True],
    ]
