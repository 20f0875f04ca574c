"""What becomes of a request's path: cases by name, and random ones against the real Envoy."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lab.waiting import until
from weft.policy.httppath import Unacceptable, normalise
from weft.proxy.spawn import binary

CASES = {
    "/": "/",
    "/a?x=%2f//../b": "/a?x=%2f//../b",
    "/../a": "/a",
    "/a/./b/..": "/a/",
    "/a/%2e%2E/x": "/x",
    "//a///b//": "/a/b/",
    "///": "//",
    "/a//../b": "/a/b",
    "/a\\..\\b": "/b",
    "/%61dmin%2D": "/admin-",
    "/a%252f": "/a%252f",
    "/a%3fb%23": "/a%3fb%23",
    "/a%zz%": "/a%zz%",
    "/%2%61%%61b": "/%252a%25ab",
    '/"<>^`{|}': "/%22%3C%3E%5E%60%7B%7C%7D",
    "/a/..;x=y/b": "/b",
    "/a/.;/b": "/a/b",
    "/a/...;/b": "/a/...;/b",
    "/a/%2e%2e;/b": "/a/..;/b",
    "/a;x/b": "/a;x/b",
}
REFUSED = ("/a%2fb", "/a%2F..", "/a%5cb", "/a#b", "/a%00", "/a b", "/ä", "a", "*", "", "?x")


@pytest.mark.parametrize("path", CASES)
def test_paths(path: str) -> None:
    assert normalise(path) == CASES[path]


@pytest.mark.parametrize("path", REFUSED)
def test_refused(path: str) -> None:
    assert isinstance(normalise(path), Unacceptable)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str | None]]:
    """What a real Envoy, set up as weft sets it up, makes of a path; None: 400."""
    folder = tmp_path_factory.mktemp("envoy")
    listening = folder / "socket"
    (folder / "envoy.json").write_text(json.dumps(_config(listening)))
    with (folder / "log").open("wb") as log:
        command = [str(binary()), "-c", str(folder / "envoy.json"), "--concurrency", "1"]
        process = subprocess.Popen([*command, "--use-dynamic-base-id"], stderr=log)
    try:
        until(lambda: _listens(listening, process), "Envoy listens", 20)
        yield lambda path: _ask(listening, path)
    finally:
        process.terminate()
        process.wait()


def _config(listening: Path) -> dict[str, object]:
    types = "type.googleapis.com/envoy.extensions.filters."
    manager = {
        "@type": types + "network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "path",
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "response_headers_to_add": [{"header": {"key": "x-path", "value": "%REQ(:PATH)%"}}],
                    "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}],
                }
            ]
        },
        "http_filters": [{"name": "router", "typed_config": {"@type": types + "http.router.v3.Router"}}],
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    listener = {"name": "path", "address": {"pipe": {"path": str(listening)}}, "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener]}}


def _listens(listening: Path, process: subprocess.Popen[bytes]) -> bool:
    """Its file is there a moment earlier."""
    assert process.poll() is None, (listening.parent / "log").read_text()
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(str(listening)) == 0


def _ask(listening: Path, path: str) -> str | None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(listening))
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer:  # after the head of a refusal Envoy waits a second before it closes
            more = connection.recv(65536)
            assert more, (path, answer)
            answer += more
    status, *headers = answer.decode().partition("\r\n\r\n")[0].split("\r\n")
    if status.split()[1] == "400":
        return None
    assert status.split()[1] == "200", (path, answer)
    return next(one.partition(": ")[2] for one in headers if one.startswith("x-path: "))


PIECES = (
    "/",
    "/",
    ".",
    "..",
    "%2e",
    "%2E",
    "%2f",
    "%5C",
    "\\",
    ";",
    "?",
    "a",
    "B",
    "%61",
    "%7e",
    "%3f",
    "%",
    "%2",
    "%25",
)
PIECES += (
    "%C3%A4",
    "%00",
    "#",
    '"',
    "|",
    "^",
    "{",
    "[",
    "~",
    "=",
    "&",
    "*",
    "%3b",
    "%zz",
    "'",
    ":",
    "%0a",
    "%7F",
    "%80",
)


def test_the_real_envoy_does_the_same(real: Callable[[str], str | None]) -> None:
    for path in (*CASES, *(path for path in REFUSED if path not in ("*", ""))):
        assert real(path) == _of(normalise(path)), path

    @settings(max_examples=1500, deadline=None, derandomize=True)
    @given(st.lists(st.sampled_from(PIECES), max_size=12))
    def same(pieces: list[str]) -> None:
        path = "/" + "".join(pieces)
        assert real(path) == _of(normalise(path)), path

    same()


def _of(path: str | Unacceptable) -> str | None:
    return None if isinstance(path, Unacceptable) else path
