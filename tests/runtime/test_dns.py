"""The Kubernetes DNS specification, asked over real UDP and TCP of the process that runs in the DNS pod."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from dnslib import QTYPE, RCODE, DNSRecord

from tests.runtime.dns_server import Dns, Upstream, closed_port, dns, upstream, wait_for
from weft.model.net import TCP, UDP
from weft.model.objects import (
    EndpointSlice,
    NamedPort,
    Namespace,
    NamespacedName,
    NodeConfig,
    Service,
    ServicePort,
    SliceEndpoint,
    Workload,
)
from weft.model.world import World
from weft.runtime.dns.zone import ZoneBuilder, zone


def addresses(*texts: str) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...]:
    return tuple(map(ipaddress.ip_address, texts))


def named(*objects: Service | Workload | EndpointSlice) -> dict[NamespacedName, object]:
    return {one.key: one for one in objects}


def key(name: str, namespace: str = "shop") -> NamespacedName:
    return NamespacedName(namespace, name)


def pod(name: str, *ips: str, **fields: object) -> Workload:
    fields = {"ready": True, "labels": {"app": "db"}, "ports": (NamedPort("sql", 5432, TCP),)} | fields
    return Workload(key(name), service_account="default", node="n", addresses=addresses(*ips), **fields)  # type: ignore[arg-type]


HTTP = ServicePort("http", 80, TCP, 8080)
SERVICES = (
    Service(key("kube-dns", "kube-system"), "ClusterIP", addresses("10.96.0.10", "fd96::a"), ()),
    Service(key("web"), "ClusterIP", addresses("10.96.0.7", "fd96::7"), (HTTP, ServicePort("dns", 53, UDP, 53))),
    Service(key("v4"), "ClusterIP", addresses("10.96.0.8"), (ServicePort("", 90, TCP, 90),)),
    Service(key("db"), "ClusterIP", (), (ServicePort("sql", 1, TCP, "sql"),), {"app": "db"}, headless=True),
    Service(key("all"), "ClusterIP", (), (), {"app": "db"}, headless=True, publish_not_ready=True),
    Service(key("empty"), "ClusterIP", (), (), {"app": "nobody"}, headless=True),
    Service(key("hand"), "ClusterIP", (), (ServicePort("sql", 1, TCP, 1),), headless=True),
    Service(key("far"), "ExternalName", (), (), external_name="www.example.org"),
    Service(key("alias"), "ExternalName", (), (), external_name="web.shop.svc.cluster.local"),
    Service(key("loop"), "ExternalName", (), (), external_name="loop.shop.svc.cluster.local"),
)
PODS = (
    pod("db-0", "10.244.0.20", "fd44::20", hostname="first", subdomain="db"),
    pod("db-1", "10.244.0.21", "fd44::21", hostname="second", subdomain="other"),
    pod("db-2", "10.244.0.22", ready=False),
    pod("other", "10.244.0.23", labels={"app": "other"}),
)
SLICE = EndpointSlice(
    key("hand-1"), "hand", (NamedPort("sql", 6000, TCP),),
    (SliceEndpoint(addresses("10.1.1.1"), hostname="one"), SliceEndpoint(addresses("10.1.1.2"), ready=False)),
)  # fmt: skip
NODE = NodeConfig(
    "n",
    pod_cidrs=(ipaddress.ip_network("10.244.0.0/24"), ipaddress.ip_network("fd44::/64")),
    service_cidrs=(ipaddress.ip_network("10.96.0.0/16"), ipaddress.ip_network("fd96::/108")),
)
WORLD = World(
    NODE,
    {name: Namespace(name) for name in ("default", "shop", "kube-system")},
    named(*PODS),  # type: ignore[arg-type]
    named(*SERVICES),  # type: ignore[arg-type]
    named(SLICE),  # type: ignore[arg-type]
)


@pytest.fixture(scope="module")
def far() -> Iterator[Upstream]:
    with upstream() as server:
        yield server


@pytest.fixture(scope="module")
def server(far: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dns]:
    dead = closed_port()
    with dns(tmp_path_factory.mktemp("dns"), zone(WORLD), [f"127.0.0.1@{dead}", f"127.0.0.1@{far.port}"]) as running:
        yield running


def answers(reply: DNSRecord) -> list[str]:
    return sorted(f"{QTYPE[record.rtype]} {str(record.rdata).rstrip('.')}" for record in reply.rr)


SVC = "svc.cluster.local"
TABLE = [
    # 2.2 schema version
    ("dns-version.cluster.local", "TXT", ['TXT "1.1.0"']),
    # 2.3 services with a cluster IP
    (f"web.shop.{SVC}", "A", ["A 10.96.0.7"]),
    (f"web.shop.{SVC}", "AAAA", ["AAAA fd96::7"]),
    (f"WEB.Shop.{SVC}", "A", ["A 10.96.0.7"]),
    (f"v4.shop.{SVC}", "AAAA", []),
    (f"_http._tcp.web.shop.{SVC}", "SRV", [f"SRV 0 100 80 web.shop.{SVC}"]),
    (f"_dns._udp.web.shop.{SVC}", "SRV", [f"SRV 0 100 53 web.shop.{SVC}"]),
    (f"_dns._tcp.web.shop.{SVC}", "SRV", None),
    (f"_http._tcp.web.shop.{SVC}", "A", []),
    (f"_tcp.web.shop.{SVC}", "SRV", []),
    (f"web.shop.{SVC}", "SRV", [f"SRV 0 100 53 web.shop.{SVC}", f"SRV 0 100 80 web.shop.{SVC}"]),
    ("7.0.96.10.in-addr.arpa", "PTR", [f"PTR web.shop.{SVC}"]),
    (ipaddress.ip_address("fd96::7").reverse_pointer, "PTR", [f"PTR web.shop.{SVC}"]),
    ("99.0.96.10.in-addr.arpa", "PTR", None),
    # 2.4 headless services
    (f"db.shop.{SVC}", "A", ["A 10.244.0.20", "A 10.244.0.21"]),
    (f"db.shop.{SVC}", "AAAA", ["AAAA fd44::20", "AAAA fd44::21"]),
    (f"first.db.shop.{SVC}", "A", ["A 10.244.0.20"]),
    (f"second.db.shop.{SVC}", "A", None),
    (f"10-244-0-21.db.shop.{SVC}", "A", ["A 10.244.0.21"]),
    (f"fd44--21.db.shop.{SVC}", "AAAA", ["AAAA fd44::21"]),
    ("20.0.244.10.in-addr.arpa", "PTR", [f"PTR 10-244-0-20.all.shop.{SVC}", f"PTR first.db.shop.{SVC}"]),
    (f"all.shop.{SVC}", "A", ["A 10.244.0.20", "A 10.244.0.21", "A 10.244.0.22"]),
    (f"empty.shop.{SVC}", "A", None),
    (f"hand.shop.{SVC}", "A", ["A 10.1.1.1"]),
    (f"_sql._tcp.hand.shop.{SVC}", "SRV", [f"SRV 0 100 6000 one.hand.shop.{SVC}"]),
    # 2.5 external names
    (f"alias.shop.{SVC}", "A", ["A 10.96.0.7", f"CNAME web.shop.{SVC}"]),
    (f"far.shop.{SVC}", "A", ["A 192.0.2.1", "CNAME www.example.org"]),
    (f"far.shop.{SVC}", "CNAME", ["CNAME www.example.org"]),
    # 2.6 pods
    ("10-9-8-7.shop.pod.cluster.local", "A", ["A 10.9.8.7"]),
    ("fd44--1.shop.pod.cluster.local", "AAAA", ["AAAA fd44::1"]),
    ("10-9-8-7.shop.pod.cluster.local", "AAAA", []),
    ("10-9-8-7.nowhere.pod.cluster.local", "A", None),
    ("10-9-8-777.shop.pod.cluster.local", "A", None),
    # what exists without records, what does not exist, the zone itself
    (f"shop.{SVC}", "A", []),
    (SVC, "A", []),
    ("cluster.local", "NS", ["NS ns.dns.cluster.local"]),
    ("ns.dns.cluster.local", "A", ["A 10.96.0.10"]),
    (f"no.shop.{SVC}", "A", None),
    (f"web.no.{SVC}", "A", None),
    ("nonsense.cluster.local", "A", None),
    # the rest of the world
    ("www.example.net", "A", ["A 192.0.2.1"]),
    ("web.shop.svc.cluster.localx", "A", ["A 192.0.2.1"]),
]


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize(("name", "kind", "expected"), TABLE, ids=[f"{name} {kind}" for name, kind, _ in TABLE])
def test_specification(server: Dns, name: str, kind: str, expected: list[str] | None, tcp: bool) -> None:
    """``expected``: the answers; [] = NODATA; None = NXDOMAIN."""
    reply = server.ask(name, kind, tcp)
    assert RCODE[reply.header.rcode] == ("NXDOMAIN" if expected is None else "NOERROR")
    assert answers(reply) == (expected or [])
    if not expected:
        (soa,) = reply.auth
        assert (QTYPE[soa.rtype], soa.ttl, soa.rdata.times[4]) == ("SOA", 5, 5)
        assert reply.header.aa
    assert {record.ttl for record in reply.rr} <= {5, 60} | set(range(60))


def test_built_step_by_step_is_the_same() -> None:
    builder, services = ZoneBuilder(), dict(WORLD.services)
    assert builder.build(WORLD) == zone(WORLD)
    services[key("web")] = replace(services[key("web")], cluster_ips=addresses("10.96.0.77"))
    del services[key("v4")]
    pods = {name: pod for name, pod in WORLD.workloads.items() if name.name != "db-0"}
    changed = replace(WORLD, services=services, workloads=pods)
    assert builder.build(changed) == zone(changed) != zone(WORLD)
    assert builder.build(WORLD) == zone(WORLD)


def test_srv_comes_with_addresses(server: Dns) -> None:
    reply = server.ask(f"_sql._tcp.db.shop.{SVC}", "SRV")
    assert answers(reply) == [f"SRV 0 100 5432 {host}.db.shop.{SVC}" for host in ("10-244-0-21", "fd44--21", "first")]
    assert "10.244.0.20" in [str(record.rdata) for record in reply.ar]


def test_ipv6_transport(server: Dns) -> None:
    for tcp in (False, True):
        assert answers(server.ask(f"web.shop.{SVC}", to="::1", tcp=tcp)) == ["A 10.96.0.7"]


def test_cname_loop_ends(server: Dns) -> None:
    reply = server.ask(f"loop.shop.{SVC}")
    assert {QTYPE[record.rtype] for record in reply.rr} == {"CNAME"}


def test_negative_answers_are_passed_on(server: Dns) -> None:
    for name in ("nx.example.org", "nx.example.org"):
        reply = server.ask(name)
        assert (RCODE[reply.header.rcode], QTYPE[reply.auth[0].rtype]) == ("NXDOMAIN", "SOA")


def test_upstream_is_asked_once_while_it_is_remembered(server: Dns, far: Upstream) -> None:
    for _ in range(3):
        assert answers(server.ask("once.example.org")) == ["A 192.0.2.1"]
    assert far.asked.count("once.example.org.") == 1


def test_silent_upstream(server: Dns) -> None:
    reply = server.ask("dead.example.org")
    assert RCODE[reply.header.rcode] == "SERVFAIL"


def test_long_answers(server: Dns) -> None:
    short = server.ask("big.example.org")
    assert short.header.tc and not short.rr
    assert len(server.ask("big.example.org", tcp=True).rr) == 100
    assert server.ask("big.example.org", udp_len=4096).header.tc


def test_long_cluster_answers_and_edns(tmp_path: Path) -> None:
    many = {
        one.key: one
        for one in (pod(f"db-{number}", f"10.244.0.{number}", labels={"app": "db"}) for number in range(2, 52))
    }
    world = World(NODE, {}, many, {one.key: one for one in SERVICES if one.key.name == "db"})
    with dns(tmp_path, zone(world)) as running:
        plain = running.ask(f"db.shop.{SVC}")
        assert plain.header.tc and not plain.rr and not plain.ar
        assert len(running.ask(f"db.shop.{SVC}", udp_len=1232).rr) == 50
        assert len(running.ask(f"db.shop.{SVC}", tcp=True).rr) == 50
        with_options = running.ask(f"web.shop.{SVC}", udp_len=4096)
        assert [QTYPE[record.rtype] for record in with_options.ar] == ["OPT"]
        assert len(running.raw(DNSRecord.question(f"db.shop.{SVC}").pack())) <= 512
        orders = {tuple(str(one.rdata) for one in running.ask(f"db.shop.{SVC}", tcp=True).rr) for _ in range(5)}
        assert len(orders) > 1


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xff", "FORMERR"),
        (b"\x12\x34\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00", "FORMERR"),
        (b"\x12\x34\x29\x00\x00\x01" + bytes(6) + b"\x01a\x00\x00\x01\x00\x01", "NOTIMP"),
        (DNSRecord.question("cluster.local", "AXFR").pack(), "REFUSED"),
        (DNSRecord.question("cluster.local", "A", "CH").pack(), "REFUSED"),
    ],
)
def test_odd_queries(server: Dns, wire: bytes, code: str) -> None:
    reply = server.raw(wire)
    assert (reply[:2], RCODE[reply[3] & 15]) == (wire[:2], code)


def test_unknown_edns_version(server: Dns) -> None:
    reply = server.ask(f"web.shop.{SVC}", udp_len=1232, version=1)
    assert reply.ar[0].edns_rcode << 4 | reply.header.rcode == 16


def test_what_must_not_be_answered(server: Dns) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect(("127.0.0.1", server.ports["127.0.0.1"]))
        client.send(b"short")
        client.send(DNSRecord.question(f"web.shop.{SVC}").reply().pack())
        last = DNSRecord.question(f"web.shop.{SVC}")
        client.send(last.pack())
        assert DNSRecord.parse(client.recv(4096)).header.id == last.header.id


def test_no_zone_yet_then_new_then_broken(tmp_path: Path) -> None:
    name = f"web.shop.{SVC}"
    with dns(tmp_path, None) as running:
        assert RCODE[running.ask(name).header.rcode] == "SERVFAIL"
        running.put(zone(WORLD))
        wait_for(lambda: answers(running.ask(name)) == ["A 10.96.0.7"], "the new zone is served")
        assert RCODE[running.ask("www.example.org").header.rcode] == "SERVFAIL"
        running.put(b"$nonsense\n")
        running.put(zone(World(NODE, WORLD.namespaces)).replace(b"$ttl 5", b"$ttl five"))
        assert answers(running.ask(name)) == ["A 10.96.0.7"]
        running.put(zone(World(NODE, WORLD.namespaces)))
        wait_for(lambda: RCODE[running.ask(name).header.rcode] == "NXDOMAIN", "the newest zone is served")


def test_small(server: Dns) -> None:
    rollup = Path(f"/proc/{server.process.pid}/smaps_rollup").read_text()
    private = sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Anonymous"))
    assert private < 25_000, f"{private} kB"
