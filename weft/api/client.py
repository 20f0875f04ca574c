"""The agent's API from the other end: HTTP over its unix socket, standard library only (the CLI must start quickly)."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from weft.api.errors import AgentError

__all__ = ["AgentError", "Client", "find_socket"]

RUN_ROOT = Path(os.environ.get("WEFT_RUN_ROOT", "/run/weft"))


def find_socket(node: str | None) -> Path:
    """The socket of ``node``; without a name, of the only node that runs here.

    Errors: AgentError when there is none, or several and no name to choose by.
    """
    if node:
        return RUN_ROOT / node / "agent.sock"
    found = sorted(RUN_ROOT.glob("*/agent.sock"))
    if len(found) == 1:
        return found[0]
    if not found:
        raise AgentError([f"no agent runs on this machine (looked for {RUN_ROOT}/*/agent.sock); start one: weft agent"])
    names = ", ".join(path.parent.name for path in found)
    raise AgentError([f"several nodes run on this machine ({names}); choose one with --node-name or WEFT_NODE"])


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("weft", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Client:
    """One agent. Every call opens its own connection; answers are decoded JSON."""

    def __init__(self, node: str | None = None, timeout: float = 60) -> None:
        self.path = find_socket(node)
        self.timeout = timeout

    def _open(self, method: str, path: str, body: Any, timeout: float | None) -> http.client.HTTPResponse:
        connection = _UnixConnection(self.path, timeout)
        data = None if body is None else json.dumps(body).encode()
        try:
            connection.request(method, path, data, {"content-type": "application/json"} if data else {})
            response = connection.getresponse()
        except (ConnectionRefusedError, FileNotFoundError) as error:
            raise AgentError([f"the agent does not answer on {self.path} ({error.strerror}); is it running?"]) from None
        except PermissionError:
            raise AgentError([f"no permission for {self.path}; run as root"]) from None
        except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
            raise AgentError([f"the agent on {self.path} broke off: {error or type(error).__name__}"]) from None
        if response.status >= 400:
            text = response.read().decode(errors="replace")
            try:
                lines = [str(line) for line in json.loads(text)["errors"]]
            except (ValueError, KeyError, TypeError):
                lines = [f"agent: HTTP {response.status}: {text[:500]}"]
            raise AgentError(lines, response.status)
        return response

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """One request, one JSON answer. Errors: AgentError with the agent's own lines."""
        query = {key: value for key, value in query.items() if value is not None}
        target = quote(path) + ("?" + urlencode(query) if query else "")
        with self._open(method, target, body, self.timeout) as response:
            return json.loads(response.read() or b"null")

    def get(self, path: str, **query: Any) -> Any:
        return self.call("GET", path, **query)

    def post(self, path: str, body: Any, **query: Any) -> Any:
        return self.call("POST", path, body, **query)

    def stream(self, method: str, path: str, body: Any = None, **query: Any) -> Iterator[bytes]:
        """Lines of an answer that may never end; each without its newline."""
        query = {key: value for key, value in query.items() if value is not None}
        target = quote(path) + ("?" + urlencode(query) if query else "")
        with self._open(method, target, body, None) as response:
            for line in response:
                yield line.rstrip(b"\n")
