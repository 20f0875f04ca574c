"""Envoy's admin interface, over its unix socket."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("envoy", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(admin: Path, path: str, method: str = "GET", timeout: float = 2.0) -> str:
    """What Envoy answers. Errors: OSError if it does not answer."""
    connection = _Connection(admin, timeout)
    try:
        connection.request(method, path)
        return connection.getresponse().read().decode()
    except http.client.HTTPException as error:
        raise OSError(f"{admin}: {error!r}") from error
    finally:
        connection.close()


def stats(admin: Path) -> dict[str, int]:
    """Counters and gauges by name. Errors: as ``ask``."""
    answer: dict[str, list[dict[str, Any]]] = json.loads(ask(admin, "/stats?format=json"))
    return {stat["name"]: stat["value"] for stat in answer["stats"] if isinstance(stat.get("value"), int)}
