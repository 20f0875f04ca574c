"""What speaks HTTP in other ways is judged as the requests that it is: gRPC, WebSocket, HTTP/1.0, pieces, pipelines."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpclib.client import Channel
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Server

from tests.proxy.scene import CLIENT, SERVER, Scene, rules
from weft.model.http import HttpMatch
from weft.model.l7 import L7Verdict

GRPC, WEBSOCKET, PLAIN = 11_001, 11_002, 11_003


class Greeter:
    """``greet`` answers with what it got; ``fail`` with NOT_FOUND."""

    async def greet(self, stream: Any) -> None:
        await stream.send_message(StringValue(value=f"hello {(await stream.recv_message()).value}"))

    async def fail(self, stream: Any) -> None:
        raise GRPCError(Status.NOT_FOUND)

    def __mapping__(self) -> dict[str, Handler]:
        calls = {"Greet": self.greet, "Secret": self.greet, "Fail": self.fail}
        return {
            f"/shop.Greeter/{name}": Handler(call, Cardinality.UNARY_UNARY, StringValue, StringValue)
            for name, call in calls.items()
        }


async def call(channel: Channel, method: str) -> str:
    path = f"/shop.Greeter/{method}"
    async with channel.request(path, Cardinality.UNARY_UNARY, StringValue, StringValue, timeout=10) as stream:
        await stream.send_message(StringValue(value="you"), end=True)
        answer = await stream.recv_message()
        assert answer is not None
        return str(answer.value)


def test_grpc(stage: Scene) -> None:
    assert stage.ensure({GRPC: rules(HttpMatch(method="POST", path="/shop[.]Greeter/(Greet|Fail)"))}) == []

    async def talk() -> None:
        server = Server([Greeter()])
        await server.start(SERVER, GRPC)
        channel = Channel(SERVER, GRPC)
        try:
            assert await call(channel, "Greet") == "hello you"
            for method, status in (("Secret", Status.PERMISSION_DENIED), ("Fail", Status.NOT_FOUND)):
                with pytest.raises(GRPCError) as refusal:
                    await call(channel, method)
                assert refusal.value.status is status
            assert await call(channel, "Greet") == "hello you"
        finally:
            channel.close()
            server.close()
            await server.wait_closed()

    asyncio.run(talk())
    passed = stage.record(path="/shop.Greeter/Greet")
    assert (passed.protocol, passed.verdict, passed.grpc_status) == ("HTTP/2", L7Verdict.FORWARDED, 0)
    failed = stage.record(path="/shop.Greeter/Fail")
    assert (failed.verdict, failed.grpc_status) == (L7Verdict.FORWARDED, 5)
    refused = stage.record(path="/shop.Greeter/Secret")
    assert (refused.verdict, refused.grpc_status) == (L7Verdict.DROPPED, 7)


def serve_upgrades(listener: socket.socket) -> None:
    """Answers every request with 101 and then echoes."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(4096)
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        while data := connection.recv(4096):
            connection.sendall(data)
        connection.close()


def dial(number: int) -> socket.socket:
    return socket.create_connection((SERVER, number), 10, source_address=(CLIENT, 0))


def read_until(connection: socket.socket, end: bytes) -> bytes:
    data = b""
    while end not in data and (more := connection.recv(4096)):
        data += more
    return data


def test_websocket(stage: Scene) -> None:
    assert stage.ensure({WEBSOCKET: rules(HttpMatch(path="/ws"))}) == []
    listener = socket.create_server((SERVER, WEBSOCKET))
    threading.Thread(target=serve_upgrades, args=(listener,), daemon=True).start()
    upgrade = b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    try:
        with dial(WEBSOCKET) as connection:
            connection.sendall(upgrade % b"/ws")
            assert read_until(connection, b"\r\n\r\n").startswith(b"HTTP/1.1 101")
            for message in (b"\x81\x03one", b"GET /secret HTTP/1.1\r\n\r\n"):
                connection.sendall(message)
                assert read_until(connection, message) == message
        with dial(WEBSOCKET) as connection:
            connection.sendall(upgrade % b"/other")
            assert read_until(connection, b"denied").startswith(b"HTTP/1.1 403")
    finally:
        listener.close()


@pytest.fixture
def plain(stage: Scene) -> int:
    stage.serve(SERVER, PLAIN)
    assert stage.ensure({PLAIN: rules(HttpMatch(path="/a"))}) == []
    return PLAIN


@pytest.mark.parametrize(("path", "status"), [(b"/a", b"200"), (b"/b", b"403")])
def test_request_in_pieces(plain: int, path: bytes, status: bytes) -> None:
    with dial(plain) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path:
            connection.send(bytes([byte]))
        assert read_until(connection, b"no end").split()[1] == status


@pytest.mark.parametrize(
    ("paths", "statuses"),
    [("aaaa", ["200"] * 4), ("bbbb", ["403"] * 4), ("baaa", ["403", "200", "200", "200"])],
)
def test_pipelined_requests_are_judged_one_by_one(plain: int, stage: Scene, paths: str, statuses: list[str]) -> None:
    """Envoy 1.40 leaves what follows a forwarded and then a refused request unanswered until the client sends more;
    that order is in the next test, which asks only that nothing slips through."""
    stage.serve(SERVER, plain).seen.clear()
    assert pipeline(plain, paths) == statuses
    assert [seen["path"] for seen in stage.serve(SERVER, plain).seen] == ["/a"] * statuses.count("200")


def test_pipelined_requests_do_not_slip_through(plain: int, stage: Scene) -> None:
    stage.serve(SERVER, plain).seen.clear()
    for paths in ("abab", "aab", "abba"):
        wanted = ["200" if path == "a" else "403" for path in paths]
        answers = pipeline(plain, paths, 0.5)
        assert answers == wanted[: len(answers)]
    assert {seen["path"] for seen in stage.serve(SERVER, plain).seen} == {"/a"}


def pipeline(number: int, paths: str, patience: float = 10) -> list[str]:
    """Statuses of the answers to requests for these one-letter paths, all sent at once."""
    answers = b""
    with dial(number) as connection:
        connection.settimeout(patience)
        connection.sendall(b"".join(b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode() for path in paths))
        try:
            while answers.count(b"HTTP/1.1 ") < len(paths) and (more := connection.recv(4096)):
                answers += more
        except TimeoutError:
            pass
    return [part.split()[0].decode() for part in answers.split(b"HTTP/1.1 ")[1:]]


def test_http_1_0(plain: int) -> None:
    for path, status in ((b"/a", b"200"), (b"/b", b"403")):
        with dial(plain) as connection:
            connection.sendall(b"GET %s HTTP/1.0\r\nHost: x\r\n\r\n" % path)
            assert read_until(connection, b"no end").split()[1] == status


@pytest.mark.parametrize(
    "request_",
    [
        b"CONNECT /a HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://x/b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /a\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nX-Large: %s\r\n\r\n" % (b"a" * 100_000),
    ],
)
def test_never_forwarded(plain: int, stage: Scene, request_: bytes) -> None:
    server = stage.serve(SERVER, PLAIN)
    server.seen.clear()
    with dial(plain) as connection:
        connection.sendall(request_)
        status = read_until(connection, b"\r\n\r\n").split()[1]
    assert status[:1] == b"4", status
    assert server.seen == []
