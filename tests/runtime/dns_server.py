"""The DNS process as it runs in its pod, and an upstream server to forward to."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dnslib import QTYPE, RR, A, DNSRecord

from weft.runtime.folder import write_whole


@dataclass
class Dns:
    process: subprocess.Popen[str]
    zone_file: Path
    ports: dict[str, int]

    def put(self, zone: bytes) -> None:
        write_whole(self.zone_file, zone)

    def ask(self, name: str, kind: str = "A", tcp: bool = False, to: str = "127.0.0.1", **edns: int) -> DNSRecord:
        """``edns``: edns_len and ed_flags, for an OPT record."""
        query = DNSRecord.question(name, kind)
        if edns:
            from dnslib import EDNS0

            query.add_ar(EDNS0(udp_len=edns["udp_len"], version=edns.get("version", 0)))
        reply = DNSRecord.parse(self.raw(query.pack(), tcp, to))
        assert reply.header.id == query.header.id
        return reply

    def raw(self, wire: bytes, tcp: bool = False, to: str = "127.0.0.1") -> bytes:
        family = socket.AF_INET6 if ":" in to else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as client:
            client.settimeout(8)
            client.connect((to, self.ports[to]))
            if not tcp:
                client.send(wire)
                return client.recv(65535)
            client.sendall(len(wire).to_bytes(2, "big") + wire)
            return read_tcp(client)


def read_tcp(client: socket.socket) -> bytes:
    data = b""
    while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2], "big"):
        more = client.recv(65535)
        assert more, "closed before the answer"
        data += more
    return data[2:]


@contextlib.contextmanager
def dns(folder: Path, zone: bytes | None, upstream: Sequence[str] = ()) -> Iterator[Dns]:
    zone_file = folder / "zone"
    if zone is not None:
        write_whole(zone_file, zone)
    command = [sys.executable, "-m", "weft.runtime.dns", "--zone", str(zone_file), "--port", "0"]
    command += ["--listen", "127.0.0.1", "::1", "--upstream", *upstream]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        words = [process.stdout.readline().split() for _ in range(2)]
        yield Dns(process, zone_file, {line[2]: int(line[4]) for line in words})
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@dataclass
class Upstream:
    """Answers ``A`` of every name with 192.0.2.1 and a count of questions; ``big.*`` with many records; ``nx.*`` with
    NXDOMAIN; ``dead.*`` not at all."""

    port: int = 0
    asked: list[str] = field(default_factory=list)

    def answer(self, wire: bytes, udp: bool) -> bytes | None:
        query = DNSRecord.parse(wire)
        name = str(query.q.qname)
        self.asked.append(name)
        if name.startswith("dead."):
            return None
        reply = query.reply()
        if name.startswith("nx."):
            reply.header.rcode = 3
            reply.add_auth(*RR.fromZone("example. 60 IN SOA ns.example. root.example. 1 2 3 4 60"))
        else:
            for number in range(100 if name.startswith("big.") else 1):
                reply.add_answer(RR(query.q.qname, QTYPE.A, rdata=A(f"192.0.2.{number + 1}"), ttl=60))
        data: bytes = reply.pack()
        if udp and len(data) > 512:
            reply.rr, reply.header.tc = [], 1
            data = reply.pack()
        return data


@contextlib.contextmanager
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    server.port = udp.getsockname()[1]
    tcp = socket.create_server(("127.0.0.1", server.port))
    stop = threading.Event()

    def serve_udp() -> None:
        while not stop.is_set():
            wire, client = udp.recvfrom(4096)
            if wire and (reply := server.answer(wire, udp=True)):
                udp.sendto(reply, client)

    def serve_tcp() -> None:
        while not stop.is_set():
            with tcp.accept()[0] as client:
                if not stop.is_set() and (reply := server.answer(read_tcp(client), udp=False)):
                    client.sendall(len(reply).to_bytes(2, "big") + reply)

    threads = [threading.Thread(target=serve) for serve in (serve_udp, serve_tcp)]
    for thread in threads:
        thread.start()
    try:
        yield server
    finally:
        stop.set()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", server.port))
        socket.create_connection(("127.0.0.1", server.port)).close()
        for thread in threads:
            thread.join()
        udp.close()
        tcp.close()


def closed_port() -> int:
    """A UDP port where nobody is."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(holds: object, what: str, seconds: float = 10) -> None:
    assert callable(holds)
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)
