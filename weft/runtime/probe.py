"""One readiness probe, once: tcpSocket, httpGet or exec (core/v1 Probe), from the node's network namespace."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from weft.model.kinds.core import Container, HTTPGetAction, Probe
from weft.model.net import IPAddress

_USER_AGENT = "kube-probe/1.0 (weft)"


async def probe_once(probe: Probe, container: Container, address: IPAddress, exec_argv: Sequence[str]) -> str:
    """Empty: it succeeded; else why not. ``exec_argv``: what a command in the container begins with."""
    try:
        async with asyncio.timeout(probe.timeout_seconds):
            if probe.tcp_socket is not None:
                action = probe.tcp_socket
                return await _tcp(action.host or str(address), port_number(action.port, container))
            if probe.http_get is not None:
                return await _http(probe.http_get, str(address), container)
            if probe.exec is not None:
                return await _exec([*exec_argv, "--", *probe.exec.command])
            return "the probe says nothing to do"
    except TimeoutError:
        return f"no answer within {probe.timeout_seconds} s"
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
        return str(error) or type(error).__name__


def port_number(port: int | str, container: Container) -> int:
    """A named port is one of the container's own. Errors: ValueError."""
    if isinstance(port, int):
        return port
    for named in container.ports:
        if named.name == port:
            return named.container_port
    raise ValueError(f"container {container.name} has no port {port}")


async def _tcp(host: str, port: int) -> str:
    _, writer = await asyncio.open_connection(host, port)
    writer.close()
    return ""


async def _http(action: HTTPGetAction, address: str, container: Container) -> str:
    """200 to 399 is a success; certificates are not checked (kubelet, pkg/probe/http)."""
    host, port = action.host or address, port_number(action.port, container)
    secure = None
    if action.scheme == "HTTPS":
        import ssl  # 3 MB, for this alone

        secure = ssl._create_unverified_context()
    headers = {
        "Host": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        "User-Agent": _USER_AGENT,
        "Accept": "*/*",
    }
    headers |= {header.name: header.value for header in action.http_headers}
    path = action.path if action.path.startswith("/") else f"/{action.path}"
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "Connection: close"]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("path or headers hold a line break")
    reader, writer = await asyncio.open_connection(host, port, ssl=secure)
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode())
        answer = (await reader.readuntil(b"\n")).decode("latin-1").split()
    finally:
        writer.close()
    if len(answer) < 2 or not answer[0].startswith("HTTP/") or not answer[1].isdigit():
        return "the answer is not HTTP"
    return "" if 200 <= int(answer[1]) < 400 else f"HTTP status {answer[1]}"


async def _exec(argv: list[str]) -> str:
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        code = await process.wait()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return "" if code == 0 else f"exit code {code}"
