"""The DNS pod as the agent applies it: manifest, volume, sockets on every address, a new zone while it runs."""

from __future__ import annotations

import ipaddress
import subprocess
from pathlib import Path

import msgspec

from tests.runtime.node import Node, until
from tests.runtime.test_dns import NODE, SVC, WORLD
from tests.runtime.test_pods import reaches
from weft.model.kinds.core import Pod
from weft.model.world import World
from weft.runtime.dns import system
from weft.runtime.dns.zone import zone
from weft.runtime.folder import write_whole
from weft.runtime.pods import PodRuntime

QUERY = """
import socket, sys
from dnslib import DNSRecord
for server in sys.argv[2:]:
    client = socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(5)
    client.connect((server, 53))
    client.send(DNSRecord.question(sys.argv[1]).pack())
    reply = DNSRecord.parse(client.recv(4096))
    print(reply.header.rcode, *(record.rdata for record in reply.rr))
"""


def test_dns_pod(node: Node) -> None:
    folder = node.paths.run_dir / "dns"
    folder.mkdir()
    write_whole(folder / system.ZONE, zone(WORLD))
    service, manifest = system.system_pod(folder, NODE.service_cidrs, ())
    assert service["spec"]["clusterIPs"] == ["10.96.0.10", "fd96::a"]
    what = msgspec.convert(manifest, Pod)
    key = system.DNS_SERVICE

    async def scene(runtime: PodRuntime) -> None:
        prepared = await runtime.prepare(key, what, "uid-dns")
        await runtime.start(key)
        await reaches(runtime, "Running", key=key)
        servers = ["127.0.0.1", "::1", *map(str, prepared.addresses)]

        def ask(*to: str) -> str:
            python = manifest["spec"]["containers"][0]["command"][0]
            argv = [*runtime.exec_argv(key), "--", python, "-c", QUERY, f"web.shop.{SVC}", *to]
            return subprocess.run(argv, capture_output=True, text=True, check=False).stdout

        await until(lambda: ask("127.0.0.1") == "0 10.96.0.7\n", "it answers")
        assert ask(*servers) == "0 10.96.0.7\n" * 4
        write_whole(folder / system.ZONE, zone(World(NODE, WORLD.namespaces)))
        await until(lambda: ask("127.0.0.1") == "3\n", "it has seen the new zone")

    node.run(scene)


def test_resolv_conf_of_the_node(tmp_path: Path) -> None:
    usual, resolved = tmp_path / "usual", tmp_path / "resolved"
    usual.write_text("nameserver 127.0.0.53\nsearch lan\n")
    resolved.write_text("nameserver 192.0.2.1\n")
    assert system.node_resolv_conf(usual, resolved) == "nameserver 192.0.2.1\n"
    usual.write_text("nameserver 192.0.2.2\n")
    assert system.node_resolv_conf(usual, resolved) == "nameserver 192.0.2.2\n"
    assert system.node_resolv_conf(tmp_path / "no", tmp_path / "no") == ""
    text = "# comment\nnameserver 127.0.0.1\nnameserver fe80::1%eth0\nnameserver 2001:db8::1\n"
    assert system.nameservers(text) == [ipaddress.ip_address("2001:db8::1")]
