"""``python relay.py FD ADDRESS PORT``: hands connections of the listening socket FD on to ADDRESS:PORT.

A socket stays in the network namespace that it was made in: FD comes from the host, the relay runs in the control
plane's namespace, and so the API server is reached at 127.0.0.1 of the host without a device or route there.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys

CHUNK = 1 << 16


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(CHUNK):
            sink.write(data)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()
    except OSError:
        sink.transport.abort()


async def serve(listener: socket.socket, address: str, port: int) -> None:
    """For ever. A client whose upstream is away sees its connection closed."""

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            try:
                upstream_reader, upstream = await asyncio.open_connection(address, port)
            except OSError:
                return
            with contextlib.closing(upstream):
                await asyncio.gather(_copy(reader, upstream), _copy(upstream_reader, writer))

    server = await asyncio.start_server(relay, sock=listener)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2], int(sys.argv[3])))
