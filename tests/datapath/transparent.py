"""A small transparent proxy that keeps to weft's marks and addresses as Envoy does: for tests of the datapath only.

    python -m tests.datapath.transparent CGROUP PORT,PHASE[,ADDRESS,PORT] ...

Joins the cgroup, listens on both listener addresses, prints a line when it is ready. Whatever it passes on towards the
server is preceded by ``<PORT>``, so that the server sees which listeners a connection has been through, in order from
the last one to the first.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from pathlib import Path

from weft.datapath import layouts

_SO_MARK, _IP_TRANSPARENT, _IPV6_TRANSPARENT, _IP_BIND_NO_PORT = 36, 19, 75, 24
ADDRESSES = {socket.AF_INET: "127.119.101.102", socket.AF_INET6: "100::7765:6674"}
PHASES = {"route": layouts.PHASE_ROUTE, "egress": layouts.PHASE_EGRESS, "ingress": layouts.PHASE_INGRESS}


def _transparent(family: int, mark: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, _SO_MARK, mark)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET:
        made.setsockopt(socket.SOL_IP, _IP_TRANSPARENT, 1)
    else:
        made.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
    return made


def _listen(family: int, port: int) -> socket.socket:
    listener = _transparent(family, layouts.MARK_PROXY_ANSWER)
    listener.bind((ADDRESSES[socket.AddressFamily(family)], port))
    listener.listen()
    return listener


async def _upstream(family: int, client: str, server: tuple[str, int], phase: int) -> socket.socket:
    made = _transparent(family, layouts.MARK_PROXY_ANSWER + (phase << 8))
    made.setsockopt(socket.SOL_IP, _IP_BIND_NO_PORT, 1)
    made.bind((client, 0))
    await asyncio.get_running_loop().sock_connect(made, server)
    return made


async def _copy(source: socket.socket, target: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(source, 65536):
        await loop.sock_sendall(target, data)
    target.shutdown(socket.SHUT_WR)


async def _exchange(one: socket.socket, other: socket.socket) -> None:
    both = [asyncio.create_task(_copy(one, other)), asyncio.create_task(_copy(other, one))]
    try:
        await asyncio.gather(*both)
    finally:  # before the sockets are closed, and their descriptors another connection's
        for task in both:
            task.cancel()
        await asyncio.gather(*both, return_exceptions=True)


async def _serve(accepted: socket.socket, port: int, phase: int, server: tuple[str, int] | None) -> None:
    client, dialled = accepted.getpeername()[0], accepted.getsockname()[:2]
    loop = asyncio.get_running_loop()
    with accepted:
        try:
            with await _upstream(accepted.family, client, server or dialled, phase) as up:
                await loop.sock_sendall(up, f"<{port}>".encode())
                await _exchange(accepted, up)
        except OSError as error:
            with contextlib.suppress(OSError):
                await loop.sock_sendall(accepted, f"503 {error.errno}".encode())


async def _accept(listener: socket.socket, port: int, phase: int, server: tuple[str, int] | None) -> None:
    running = set()
    while True:
        accepted, _ = await asyncio.get_running_loop().sock_accept(listener)
        task = asyncio.create_task(_serve(accepted, port, phase, server))
        running.add(task)
        task.add_done_callback(running.discard)


async def _main(wanted: list[str]) -> None:
    tasks = []
    for each in wanted:
        port, phase, *server = each.split(",")
        target = (server[0], int(server[1])) if server else None
        for family in ADDRESSES:
            if target is None or (":" in target[0]) == (family == socket.AF_INET6):
                tasks += [_accept(_listen(family, int(port)), int(port), PHASES[phase], target)]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.gather(*tasks)


if __name__ == "__main__":
    Path(sys.argv[1], "cgroup.procs").write_text(str(os.getpid()))
    asyncio.run(_main(sys.argv[2:]))
