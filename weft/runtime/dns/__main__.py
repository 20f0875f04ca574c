"""``python -m weft.runtime.dns --zone FILE --listen ADDRESS...``: the process in the DNS pod."""

from __future__ import annotations

import argparse
import asyncio
import logging
from pathlib import Path

from weft.runtime.dns.forward import Upstream
from weft.runtime.dns.server import Server

DNS_PORT = 53


def main() -> None:
    parser = argparse.ArgumentParser(prog="weft-dns", description="DNS of the cluster")
    parser.add_argument("--zone", type=Path, required=True, help="zone file; read again when it is replaced")
    parser.add_argument("--listen", nargs="+", required=True, metavar="ADDRESS")
    parser.add_argument("--port", type=int, default=DNS_PORT, help="0 = any; it is printed")
    parser.add_argument("--upstream", nargs="*", default=[], metavar="ADDRESS[@PORT]", help="for all other names")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    asyncio.run(_serve(options.zone, options.listen, options.port, [_server(text) for text in options.upstream]))


def _server(text: str) -> tuple[str, int]:
    address, _, port = text.partition("@")
    return address, int(port or DNS_PORT)


async def _serve(zone: Path, addresses: list[str], port: int, upstream: list[tuple[str, int]]) -> None:
    server = Server(zone, Upstream(upstream))
    server.watch_zone()
    for address, chosen in zip(addresses, await server.listen(addresses, port), strict=True):
        print(f"listening on {address} port {chosen}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    main()
