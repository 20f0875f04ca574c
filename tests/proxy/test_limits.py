"""One client cannot take the others down: floods, resets, slow senders, readers that do not read."""

from __future__ import annotations

import resource
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import h2.config
import h2.connection
import pytest

from tests.lab.waiting import SLOWNESS, until, volume
from tests.proxy.scene import BACKENDS, CLIENT, SERVER, Client, Scene, cluster, endpoints, rules
from weft.model.desired import Listener
from weft.model.http import HttpMatch
from weft.model.l7 import L7Verdict
from weft.model.route import RouteTable

NUMBER, PLAIN = 12_001, 12_002


@pytest.fixture(scope="module")
def busy(stage: Scene) -> Scene:
    stage.serve(SERVER, NUMBER)
    stage.serve(BACKENDS[0], 8080)
    sets: dict[int, Listener] = {NUMBER: rules(HttpMatch(path="/a.*")), PLAIN: RouteTable(cluster("one"))}
    assert stage.ensure(sets, {cluster("one"): endpoints(BACKENDS[0])}) == []
    return stage


@contextmanager
def another_client() -> Iterator[list[float]]:
    """Asks all the time, on new connections; seconds that each answer took."""
    times: list[float] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            began = time.perf_counter()
            client = Client(NUMBER)
            assert client.ask("/a").status == 200
            client.close()
            times.append(time.perf_counter() - began)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield times
    finally:
        over.set()
        thread.join()


def dial(number: int = NUMBER) -> socket.socket:
    return socket.create_connection((SERVER, number), 20, source_address=(CLIENT, 0))


def fast(times: list[float]) -> None:
    assert times
    print(f"{len(times)} answers, slowest after {max(times) * 1000:.0f} ms")
    assert max(times) < 5 * SLOWNESS


def http2(connection: socket.socket) -> h2.connection.H2Connection:
    conversation = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    conversation.initiate_connection()
    connection.sendall(conversation.data_to_send())
    return conversation


def request(path: str) -> list[tuple[str, str]]:
    return [(":method", "GET"), (":path", path), (":scheme", "http"), (":authority", "x")]


def test_rapid_reset(busy: Scene) -> None:
    """CVE-2023-44487: requests that are taken back at once, as fast as they can be sent."""
    with another_client() as times, dial() as connection:
        conversation = http2(connection)
        until(lambda: times, "another client is served")
        with pytest.raises(OSError):
            for stream in range(1, 100_000, 2):
                conversation.send_headers(stream, request("/a"), end_stream=True)
                conversation.reset_stream(stream)
                connection.sendall(conversation.data_to_send())
                if select.select([connection], [], [], 0)[0] and not connection.recv(65536):
                    raise ConnectionError("Envoy closed the connection")
    fast(times)


def test_continuation_flood(busy: Scene) -> None:
    """CVE-2024-27316: a head that never ends."""
    headers, continuation = 1, 9

    def frame(kind: int, payload: bytes) -> bytes:
        return len(payload).to_bytes(3, "big") + bytes([kind, 0]) + (1).to_bytes(4, "big") + payload

    # HPACK, literal without indexing: name x-a, value of 8,000 letters.
    field = b"\x00\x03x-a\x7f" + bytes([0xC1, 0x3D]) + b"a" * 8000
    with another_client() as times, dial() as connection:
        http2(connection)
        with pytest.raises(OSError):
            connection.sendall(frame(headers, b"\x82\x84\x86"))
            for _ in range(10_000):
                connection.sendall(frame(continuation, field))
                if select.select([connection], [], [], 0)[0] and not connection.recv(65536):
                    raise ConnectionError("Envoy closed the connection")
    fast(times)


def test_slow_head_ends(busy: Scene) -> None:
    """Neither a head that comes byte by byte nor silence keeps a connection for long."""
    with another_client() as times, dial() as slow, dial() as silent:
        began = time.monotonic()
        slow.setblocking(False)
        answer = b""
        for byte in b"GET /a HTTP/1.1\r\nX-Slow: " + b"a" * 400:
            try:
                slow.send(bytes([byte]))
                if select.select([slow], [], [], 0.1)[0]:
                    answer = slow.recv(4096)
                    break
            except OSError:
                break
        assert time.monotonic() - began < 30
        assert answer.split()[1:2] in ([], [b"408"])
        silent.settimeout(30)
        assert silent.recv(4096) == b""
    fast(times)
    assert busy.record(status=408).verdict is L7Verdict.DROPPED


@pytest.fixture
def many_files() -> Iterator[None]:
    """A login shell may have 1024 at once, and more if it asks."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("many_files")
def test_many_idle_connections(busy: Scene) -> None:
    count = volume(1500)
    held = [dial() for _ in range(count)]
    try:
        for each in held:
            each.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        with another_client() as times:
            until(lambda: len(times) > 20, "others are answered")
        fast(times)
        until(lambda: busy.proxy.status().connections >= count, "the connections are counted")
    finally:
        for each in held:
            each.close()


def test_reader_that_does_not_read(busy: Scene) -> None:
    """What a server sends stays with the server, not in Envoy."""
    number = NUMBER + 10
    source = socket.create_server((SERVER, number), backlog=64)

    def pour() -> None:
        while True:
            try:
                connection, _ = source.accept()
            except OSError:
                return
            threading.Thread(target=_pour, args=(connection,), daemon=True).start()

    threading.Thread(target=pour, daemon=True).start()
    busy.ensure({number: rules(HttpMatch())})
    before = busy.proxy.status().memory_bytes
    held = [dial(number) for _ in range(20)]
    try:
        for each in held:
            each.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        with another_client() as times:
            until(lambda: len(times) > 50, "others are answered")
        fast(times)
        grown = busy.proxy.status().memory_bytes - before
        print(f"20 answers of 1 GB that nobody reads: {grown >> 10} KB")
        assert grown < 32 << 20
    finally:
        source.close()
        for each in held:
            each.close()


def _pour(connection: socket.socket) -> None:
    connection.recv(4096)
    try:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        for _ in range(1000):
            connection.sendall(b"a" * 1_000_000)
    except OSError:
        connection.close()


def test_connection_for_each_request(busy: Scene) -> None:
    """More connections in a few seconds than Envoy has source ports for one client, and the client closes them."""
    for _ in range(5000):
        with dial(PLAIN) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
