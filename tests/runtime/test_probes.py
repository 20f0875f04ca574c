"""Readiness: probes against real servers and real pods, thresholds as Kubernetes has them."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.runtime.node import Node, pod, until
from tests.runtime.test_pods import KEY, reaches
from weft.model.kinds.core import Container, Pod, Probe
from weft.runtime.pods import PodRuntime
from weft.runtime.probe import probe_once
from weft.runtime.probes import Readiness

LOOPBACK = {4: ipaddress.ip_address("127.0.0.1"), 6: ipaddress.ip_address("::1")}


def container(port: int) -> Container:
    return msgspec.convert({"name": "main", "ports": [{"containerPort": port, "name": "web"}]}, Container)


def probe(**fields: Any) -> Probe:
    return msgspec.convert(fields, Probe)


@asynccontextmanager
async def server(
    answer: bytes, family: int = 4, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[int, list[str]]]:
    """Port, and what it was asked."""
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if answer != b"silence":
            asked.append((await reader.readuntil(b"\r\n\r\n")).decode() if answer else "")
            writer.write(answer)
        else:
            await reader.read()
        writer.close()

    listening = await asyncio.start_server(serve, str(LOOPBACK[family]), 0, ssl=tls)
    async with listening:
        yield listening.sockets[0].getsockname()[1], asked


async def once(what: Probe, port: int, family: int = 4) -> str:
    return await probe_once(what, container(port), LOOPBACK[family], ["false"])


@pytest.mark.parametrize("family", [4, 6])
def test_tcp(family: int) -> None:
    async def scene() -> None:
        async with server(b"", family) as (port, _):
            assert await once(probe(tcpSocket={"port": port}), port, family) == ""
            assert await once(probe(tcpSocket={"port": "web"}), port, family) == ""
        assert "Connect call failed" in await once(probe(tcpSocket={"port": port}), port, family)

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", ""),
        (b"HTTP/1.0 399 Fine\r\n\r\n", ""),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", ""),
        (b"HTTP/1.1 400 Bad\r\n\r\n", "HTTP status 400"),
        (b"HTTP/1.1 503 Not yet\r\n\r\n", "HTTP status 503"),
        (b"SSH-2.0-x\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 200", "bytes read"),
        (b"silence", "no answer within 1 s"),
    ],
)
def test_http(answer: bytes, expected: str) -> None:
    async def scene() -> None:
        headers = [{"name": "X-Check", "value": "1"}, {"name": "Host", "value": "shop"}]
        async with server(answer) as (port, asked):
            failure = await once(probe(httpGet={"port": "web", "path": "/health?x=1", "httpHeaders": headers}), port)
            assert expected in failure and bool(expected) == bool(failure)
            if expected == "":
                head, *lines = asked[0].split("\r\n")
                assert head == "GET /health?x=1 HTTP/1.1"
                assert {"X-Check: 1", "Host: shop"} <= set(lines)

    asyncio.run(scene())


def test_https_needs_no_known_certificate(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-subj", "/CN=x", "-keyout", key, "-out", certificate], check=True, capture_output=True,
    )  # fmt: skip
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)

    async def scene() -> None:
        async with server(b"HTTP/1.1 200 OK\r\n\r\n", tls=tls) as (port, _):
            assert await once(probe(httpGet={"port": port, "scheme": "HTTPS"}), port) == ""

    asyncio.run(scene())


def test_exec_ends_with_its_timeout() -> None:
    async def scene() -> None:
        slow = probe(exec={"command": ["infinity"]})
        argv = ["sh", "-c", "exec sleep 9641"]
        assert await probe_once(slow, container(1), LOOPBACK[4], argv) == "no answer within 1 s"
        assert "9641" not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout

    asyncio.run(scene())


def probed(flag: Path, **fields: Any) -> Pod:
    """Ready while the file is there; looks every 20 ms (a manifest's smallest period is 1 s)."""
    what = pod(["sleep", "infinity"], container={"readinessProbe": {"exec": {"command": ["test", "-e", str(flag)]}}})
    (main,) = what.spec.containers
    assert main.readiness_probe is not None
    quick = msgspec.structs.replace(main.readiness_probe, **{"period_seconds": 0.02, **fields})
    containers = [msgspec.structs.replace(main, readiness_probe=quick)]
    return msgspec.structs.replace(what, spec=msgspec.structs.replace(what.spec, containers=containers))


def test_thresholds_and_restart(node: Node, tmp_path: Path) -> None:
    flag = tmp_path / "ready"
    what = probed(flag, success_threshold=4, failure_threshold=5)
    changes: list[bool] = []

    async def scene(runtime: PodRuntime) -> None:
        asked = 0

        def argv(key: Any, name: str) -> list[str]:
            nonlocal asked
            asked += 1
            return runtime.exec_argv(key, name)

        readiness = Readiness(runtime.status, argv, lambda key: changes.append(ready()))

        def ready() -> bool:
            return readiness.is_ready(KEY, "main", what)

        prepared = await runtime.prepare(KEY, what, "uid-1")
        await runtime.start(KEY)
        readiness.begin(KEY, what, prepared.addresses)
        await until(lambda: asked >= 6, "several probes")
        assert not ready() and not changes
        assert readiness.why(KEY, "main") == "exit code 1"
        flag.touch()
        before = asked
        await until(ready, "ready")
        assert asked - before >= 3
        flag.unlink()
        before = asked
        await until(lambda: not ready(), "not ready any more")
        assert asked - before >= 4
        flag.touch()
        await until(ready, "ready again")
        await runtime.restart(KEY, "main")
        await until(lambda: len(changes) >= 4, "a new process starts from nothing")
        assert changes[:4] == [True, False, True, False]
        await until(ready, "and becomes ready")
        await runtime.stop(KEY, grace=0)
        await until(lambda: not ready(), "what does not run is not ready")
        readiness.end(KEY)
        assert not ready()

    node.run(scene)


def test_next_agent_keeps_what_was_ready(node: Node, tmp_path: Path) -> None:
    what = probed(tmp_path / "never", failure_threshold=3)

    async def scene(runtime: PodRuntime) -> None:
        await runtime.prepare(KEY, what, "uid-1")
        await runtime.start(KEY)
        await reaches(runtime, "Running")
        changes: list[object] = []
        readiness = Readiness(runtime.status, runtime.exec_argv, changes.append)
        readiness.restore(KEY, ["main"])
        assert readiness.is_ready(KEY, "main", what)
        readiness.begin(KEY, what, runtime.status(KEY).addresses)
        assert readiness.is_ready(KEY, "main", what)
        await until(lambda: not readiness.is_ready(KEY, "main", what), "its probe fails three times")
        assert changes == [KEY]
        readiness.close()

    node.run(scene)


def test_without_a_probe_always_ready() -> None:
    readiness = Readiness(lambda key: pytest.fail("asked"), lambda key, name: [], lambda key: None)
    assert readiness.is_ready(KEY, "main", pod(["true"]))
