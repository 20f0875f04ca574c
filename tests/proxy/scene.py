"""A namespace with a real Envoy, driven by ``Proxy``, and servers and clients around it; no datapath.

The datapath's part is played by nftables: who dials 10.9.0.1 (fd09::1) at the port of a listener reaches that listener,
and Envoy's own connections, known by their mark, reach the server of that address. Envoy learns the address that was
dialled, and servers see the client's.
"""

from __future__ import annotations

import http.client
import http.server
import ipaddress
import json
import os
import select
import signal
import socket
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.netns import ip
from tests.lab.waiting import SLOWNESS, until
from weft.datapath.netns import entered
from weft.datapath.node import mounts
from weft.model.desired import Listener
from weft.model.http import HeaderMatch, HttpMatch, HttpPermission, HttpRuleSet
from weft.model.l7 import L7Batch, L7Record
from weft.model.net import RuleId
from weft.model.objects import NamespacedName
from weft.model.route import ClusterEndpoint, ClusterRef
from weft.proxy.proxy import Clusters, Proxy
from weft.proxy.said import Rejection

SERVER, SERVER6 = "10.9.0.1", "fd09::1"
CLIENT, CLIENT6 = "10.9.0.2", "fd09::2"
BACKENDS = ("10.9.0.11", "10.9.0.12", "10.9.0.13")
BACKEND_PORT = 8080
NFT = f"""
table inet detour {{
  chain out {{
    type nat hook output priority -100
    meta mark & 0x800 == 0x800 accept
    ip daddr {SERVER} tcp dport 10000-59999 dnat ip to 127.119.101.102
    ip6 daddr {SERVER6} tcp dport 10000-59999 dnat ip6 to 100::7765:6674
  }}
}}
"""


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with what it got, as JSON, and the status and delay that the query asks for (``?status=503&sleep=1``)."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        query = self.path.partition("?")[2]
        order = dict(urllib.parse.parse_qsl(query))
        status = int(order.get("status", 200))
        time.sleep(float(order.get("sleep", 0)))
        what = {
            "method": self.command,
            "path": self.path,
            "headers": self.headers.items(),
            "client": self.client_address[0],
            "client_port": self.client_address[1],
            "server": self.connection.getsockname()[0],
            "body": body.decode(errors="replace"),
        }
        self.server.seen.append(what)  # type: ignore[attr-defined]
        text = json.dumps(what).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("X-MixedCase", "kept")
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_DELETE = do_OPTIONS = answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        return


class Server(http.server.ThreadingHTTPServer):
    def __init__(self, address: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.seen: list[dict[str, Any]] = []
        super().__init__((address, port), Handler)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: list[tuple[str, str]]
    text: str

    @property
    def echo(self) -> dict[str, Any]:
        """What the server got."""
        value: dict[str, Any] = json.loads(self.text)
        return value

    @property
    def header(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers}

    def server_header(self, name: str) -> list[str]:
        return [value for key, value in self.echo["headers"] if key.lower() == name]


class Client:
    """One connection to a listener's port, under the server's address."""

    def __init__(self, number: int, v6: bool = False) -> None:
        self._http = http.client.HTTPConnection(
            SERVER6 if v6 else SERVER, number, timeout=10, source_address=(CLIENT6 if v6 else CLIENT, 0)
        )

    def ask(self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> Answer:
        self._http.request(method, path, headers=dict(headers or {}))
        response = self._http.getresponse()
        return Answer(response.status, response.getheaders(), response.read().decode())

    def connect(self) -> None:
        self._http.connect()

    @property
    def over(self) -> bool:
        """Whether the other side has closed it."""
        return bool(select.select([self._http.sock], [], [], 0)[0])

    @property
    def port(self) -> int:
        """Of the client."""
        return int(self._http.sock.getsockname()[1])

    def close(self) -> None:
        self._http.close()


@dataclass
class Scene:
    proxy: Proxy
    records: list[L7Record] = field(default_factory=list)
    exits: list[float] = field(default_factory=list)
    servers: dict[tuple[str, int], Server] = field(default_factory=dict)

    def serve(self, address: str, port: int) -> Server:
        if (address, port) not in self.servers:
            self.servers[address, port] = Server(address, port)
        return self.servers[address, port]

    def ensure(self, listeners: Mapping[int, Listener], clusters: Clusters | None = None) -> list[Rejection]:
        return self.proxy.ensure(listeners, clusters or {}, 20 * SLOWNESS)

    def ask(
        self,
        number: int,
        path: str = "/",
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        v6: bool = False,
    ) -> Answer:
        """One request on a connection of its own."""
        client = Client(number, v6)
        try:
            return client.ask(path, method, headers)
        finally:
            client.close()

    def record(self, **wanted: object) -> L7Record:
        """The access log's record whose fields are these, when it has come."""

        def find() -> L7Record | None:
            fits = (r for r in self.records if all(getattr(r, name) == value for name, value in wanted.items()))
            return next(fits, None)

        found = until(find, f"a record with {wanted}; there are {self.records}")
        assert found is not None
        return found

    @property
    def pid(self) -> int:
        return self.proxy.status().pid

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def take(batch: L7Batch, records: list[L7Record]) -> None:
    records += [record for entry in batch.entries() if (record := entry.record())]


def again(scene: Scene, cgroup: Path) -> Proxy:
    """The proxy of an agent that starts beside what the scene's left."""
    return Proxy(scene.proxy.paths.directory, cgroup, "scene", on_log=lambda batch: take(batch, scene.records))


def cgroup_of(name: str) -> Path:
    return mounts("cgroup2")[0] / f"weft-{name}"


@contextmanager
def scene(name: str, **options: Any) -> Iterator[Scene]:
    """The calling thread is in the scene's namespace meanwhile."""
    ip("netns", "add", name)
    records: list[L7Record] = []
    exits: list[float] = []
    directory, cgroup = Path(f"/run/weft-{name}"), cgroup_of(name)
    try:
        _furnish(name)
        with entered(Path(f"/run/netns/{name}")):
            subprocess.run(["nft", "-f", "-"], input=NFT, text=True, check=True)
            proxy = Proxy(
                directory,
                cgroup,
                "scene",
                on_log=lambda batch: take(batch, records),
                on_exit=lambda: exits.append(0.0),
                log_headers=("User-Agent", "Authorization"),
                **options,
            )
            made = Scene(proxy, records, exits)
            try:
                yield made
            finally:
                made.proxy.stop()
                for server in made.servers.values():
                    server.shutdown()
                    server.server_close()
    finally:
        ip("netns", "del", name, check=False)
        for file in directory.glob("*"):
            file.unlink()
        if directory.exists():
            directory.rmdir()
        if cgroup.exists():
            until(lambda: not (cgroup / "cgroup.procs").read_text(), f"{cgroup} is empty")
            cgroup.rmdir()


def _furnish(name: str) -> None:
    ip("-n", name, "link", "set", "lo", "up")
    for address in (SERVER, CLIENT, *BACKENDS):
        ip("-n", name, "address", "add", f"{address}/32", "dev", "lo")
    for address in (SERVER6, CLIENT6):
        ip("-n", name, "-6", "address", "add", f"{address}/128", "dev", "lo", "nodad")
    ip("-n", name, "-6", "route", "add", "local", "100::7765:6674", "dev", "lo")


def rules(*matches: HttpMatch, egress: bool = True) -> HttpRuleSet:
    """Alternatives, numbered from 1."""
    return HttpRuleSet(egress, tuple(HttpPermission(RuleId(n), match) for n, match in enumerate(matches, 1)))


def header(name: str, value: str | None = None, *rest: Any) -> HeaderMatch:
    return HeaderMatch(name, value, *rest)


def cluster(name: str) -> ClusterRef:
    return ClusterRef(NamespacedName("default", name), 80)


def endpoints(*addresses: str, draining: bool = False) -> tuple[ClusterEndpoint, ...]:
    return tuple(ClusterEndpoint(ipaddress.ip_address(a), BACKEND_PORT, draining) for a in addresses)
