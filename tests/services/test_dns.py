"""Names, asked from inside a pod: through the system's resolver and by raw questions over both families."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from dnslib import DNSRecord

from tests.lab import Lab, Pod, until
from tests.lab.inside import python
from tests.lab.netns import WORLD_V4, inside
from tests.services.manifests import ASK, WEB, apply, cluster_ips, service

RESOLVE = """
def resolve(name, which):
    try: found = socket.getaddrinfo(name, 80, getattr(socket, which or 'AF_UNSPEC'), socket.SOCK_STREAM)
    except socket.gaierror as error: return error.errno == socket.EAI_NONAME and 'no name' or str(error)
    return sorted({entry[4][0] for entry in found})
say([resolve(name, which) for name, which in arguments])
"""
REVERSE = "say([socket.gethostbyaddr(address)[0] for address in arguments])"
ASK_RAW = """
def ask(server, wire):
    with socket.socket(family(server), socket.SOCK_DGRAM) as s:
        s.sendto(bytes.fromhex(wire), (server, 53))
        data, source = s.recvfrom(4096)
        assert source[0] == server, source
        return data.hex()
say([ask(*pair) for pair in arguments])
"""
UPSTREAM = """
import socket, sys
from dnslib import RR, DNSRecord
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind((sys.argv[1], 53))
print('ready', flush=True)
while True:
    data, client = server.recvfrom(4096)
    query = DNSRecord.parse(data)
    reply = query.reply()
    if str(query.q.qname) == 'www.example.org.':
        reply.add_answer(*RR.fromZone('www.example.org. 60 IN A 203.0.113.1')) if query.q.qtype == 1 else None
    else:
        reply.header.rcode = 3
    server.sendto(reply.pack(), client)
"""
SERVERS = ("10.96.0.10", "fd00:96::a")
V4, V6 = "AF_INET", "AF_INET6"


def resolve(client: Pod, *questions: tuple[str, str]) -> list[Any]:
    return list(python(client, RESOLVE, *questions))


def ask(client: Pod, name: str, kind: str, server: str = SERVERS[0]) -> DNSRecord:
    wire = DNSRecord.question(name, kind).pack().hex()
    return DNSRecord.parse(bytes.fromhex(python(client, ASK_RAW, [server, wire])[0]))


def records(answer: DNSRecord) -> set[str]:
    return {str(record.rdata) for record in answer.rr}


def known(client: Pod, name: str) -> None:
    """The DNS pod follows a change a moment behind."""
    until(lambda: isinstance(resolve(client, (name, ""))[0], list), f"{name} is known")


@pytest.fixture(scope="module", autouse=True)
def upstream(session_lab: Lab) -> Iterator[None]:
    """The outside's name server, which the lab's agent was told of. Searching for a name asks it in the end."""
    process = subprocess.Popen(
        inside(session_lab.namespaces.outside, sys.executable, "-c", UPSTREAM, WORLD_V4[1]),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    yield
    process.kill()
    process.communicate()


@pytest.fixture
def client(lab: Lab) -> Pod:
    lab.serve("server", "tcp:8080", "udp:8080", labels={"app": "server"})
    elsewhere = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "elsewhere"}}
    apply(lab, elsewhere, service("web"), service("far", WEB, app="none", namespace="elsewhere"))
    client = lab.run("client")
    known(client, "web")
    return client


def test_services_by_every_spelling(lab: Lab, client: Pod) -> None:
    v4, v6 = cluster_ips(lab, "web")
    far = lab.get("services", "far", "elsewhere")["spec"]["clusterIPs"]
    full = "web.default.svc.cluster.local"
    names = ["web", "web.default", "web.default.svc", full, full + "."]
    for found in resolve(client, *((name, "") for name in names)):
        assert found == sorted([v4, v6])
    assert resolve(client, ("web", V4), ("web", V6)) == [[v4], [v6]]
    assert resolve(client, ("far.elsewhere", ""), ("far", "")) == [sorted(far), "no name"]
    assert resolve(client, ("nothing", ""), ("web.elsewhere", ""), ("nothing.default.svc.cluster.local.", "")) == (
        ["no name"] * 3
    )


def test_raw_questions_over_both_families(lab: Lab, client: Pod) -> None:
    v4, v6 = cluster_ips(lab, "web")
    full = "web.default.svc.cluster.local"
    for server in SERVERS:
        assert records(ask(client, full, "A", server)) == {v4}
        assert records(ask(client, full, "AAAA", server)) == {v6}
        missing = ask(client, "nothing.default.svc.cluster.local", "A", server)
        assert (missing.header.rcode, missing.rr) == (3, [])
    answer = ask(client, f"_http._tcp.{full}", "SRV")
    assert records(answer) == {f"0 100 80 {full}."}
    assert {record.ttl for record in answer.rr} == {5}
    assert records(ask(client, f"_ask._udp.{full}", "SRV")) == {f"0 100 53 {full}."}
    assert python(client, REVERSE, v4, v6) == [full] * 2


def test_headless_services_are_their_pods(lab: Lab, client: Pod) -> None:
    other = lab.serve("other", "tcp:8080", labels={"app": "server"})
    server = lab.pod("server")
    apply(lab, service("pods", WEB, clusterIP="None"))
    every = sorted([server.v4, server.v6, other.v4, other.v6])
    until(lambda: resolve(client, ("pods", "")) == [every], "all pods by the service's name")
    full = "pods.default.svc.cluster.local"
    targets = records(ask(client, f"_http._tcp.{full}", "SRV"))
    names = {target.split()[3] for target in targets}
    assert {target.split()[2] for target in targets} == {"8080"} and len(names) == 4
    assert {address for found in resolve(client, *((name, "") for name in names)) for address in found} == {*every}
    assert python(client, REVERSE, other.v4)[0] == f"{other.v4.replace('.', '-')}.{full}"
    lab.delete("pods", "other")
    until(lambda: resolve(client, ("pods", "")) == [sorted([server.v4, server.v6])], "the deleted pod is gone")


def test_external_names(lab: Lab, client: Pod) -> None:
    external = service("alias", type="ExternalName", externalName="web.default.svc.cluster.local")
    external["spec"] = {key: external["spec"][key] for key in ("type", "externalName")}
    apply(lab, external)
    known(client, "alias")
    assert resolve(client, ("alias", "")) == [sorted(cluster_ips(lab, "web"))]
    assert "web.default.svc.cluster.local." in records(ask(client, "alias.default.svc.cluster.local", "CNAME"))


def test_other_names_are_asked_outside(client: Pod) -> None:
    assert resolve(client, ("www.example.org", ""), ("other.example.org", "")) == [["203.0.113.1"], "no name"]
    assert records(ask(client, "www.example.org", "A", SERVERS[1])) == {"203.0.113.1"}


def test_names_and_services_live_on_without_the_agent(lab: Lab, client: Pod) -> None:
    wanted = sorted(cluster_ips(lab, "web"))
    try:
        lab.kill_agent()
        assert resolve(client, ("web", ""), ("nothing", "")) == [wanted, "no name"]
        for address in wanted:
            assert client.probe("tcp", address, 80).server == "server"
            assert client.probe("udp", address, ASK[1]).server == "server"
    finally:
        lab.start_agent()
    assert resolve(client, ("web", "")) == [wanted]
    lab.delete("services", "web")
    until(lambda: resolve(client, ("web", "")) == ["no name"], "the deleted service's name is gone")
