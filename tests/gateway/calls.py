"""Runs inside a pod: a gRPC server and client whose messages are bare bytes.

``calls.py serve NAME PORT`` answers every call of ``shop.Orders/Get``, ``/Put`` and ``shop.Stock/Get`` with what it
got. ``calls.py call ADDRESS PORT METHOD TIMES HEADERS`` prints one line of JSON for each call.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.const import Cardinality, Handler
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError
from grpclib.server import Server, Stream

METHODS = ("/shop.Orders/Get", "/shop.Orders/Put", "/shop.Stock/Get")


class Bytes(CodecBase):
    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> Any:
        return data


class Service:
    def __init__(self, name: str) -> None:
        self._name = name
        self._calls = 0

    def __mapping__(self) -> dict[str, Handler]:
        return {path: Handler(self._answer(path), Cardinality.UNARY_UNARY, bytes, bytes) for path in METHODS}

    def _answer(self, path: str) -> Any:
        async def answer(stream: Stream[bytes, bytes]) -> None:
            await stream.recv_message()
            self._calls += 1
            headers = {str(name): str(value) for name, value in (stream.metadata or {}).items()}
            said = {"server": self._name, "path": path, "headers": headers, "calls": self._calls}
            await stream.send_message(json.dumps(said).encode())

        return answer


async def serve(name: str, port: int) -> None:
    server = Server([Service(name)], codec=Bytes())
    await server.start(None, port)
    await server.wait_closed()


async def call(address: str, port: int, path: str, times: int, headers: dict[str, str]) -> None:
    for _ in range(times):
        channel = Channel(address, port, codec=Bytes())
        method: UnaryUnaryMethod[bytes, bytes] = UnaryUnaryMethod(channel, path, bytes, bytes)
        try:
            async with method.open(timeout=10, metadata=headers) as stream:
                await stream.send_message(b"x", end=True)
                answer = await stream.recv_message()
                await stream.recv_trailing_metadata()
                found = {str(k): str(v) for k, v in (stream.initial_metadata or {}).items()}
                print(json.dumps({"status": "OK", "got": found, **json.loads(answer or b"{}")}))
        except GRPCError as error:
            print(json.dumps({"status": error.status.name, "server": ""}))
        channel.close()


if sys.argv[1] == "serve":
    asyncio.run(serve(sys.argv[2], int(sys.argv[3])))
else:
    asyncio.run(call(sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5]), json.loads(sys.argv[6])))
