"""The arms of layer 7 without weft: no mesh, one Envoy on the node, two sidecars."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench import l7_envoy
from bench.arms import PORT, Arm, Plain
from bench.tools import ROOT, cpus, tool
from tests.lab.netns import inside, ip
from tests.lab.waiting import until
from weft.proxy.spawn import binary

H2_PORT = 8081
ROUTER = "10.88.1.1"
"""The node, as the client sees it (bench/arms.py)."""
SIDECAR_USER = 1337
"""istio-proxy's."""


def h2_server() -> tuple[str, ...]:
    """nghttpd at H2_PORT with a page of 100 bytes, as bench/c/serve.c's."""
    folder = ROOT / "build" / "bench" / "page"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.html").write_text("x" * 100)
    return "nghttpd", "--no-tls", "-d", str(folder), str(H2_PORT)


class PlainHttp(Plain):
    """Plain, with an HTTP/2 server beside the other."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.folder = Path(tempfile.mkdtemp(prefix="bench-l7-"))
        self.folder.chmod(0o755)
        self._envoys: list[subprocess.Popen[str]] = []
        try:
            self._background(self._in_pod("server", self._server, h2_server()), self._processes)
            self.prepare()
            until(self._serves, f"{name}: both servers answer, and Envoy refuses what it should")
        except BaseException:
            self.close()
            raise

    def prepare(self) -> None:
        """What lies between client and server."""

    def pin_servers(self, pinned: bool) -> None:
        super().pin_servers(pinned)
        pin_threads((process.pid for process in self._envoys), pinned)

    def end_envoys(self) -> None:
        for process in self._envoys:
            process.kill()
            process.wait()

    def close(self) -> None:
        self.end_envoys()
        super().close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def envoy(self, name: str, config: dict[str, Any], enter: list[str]) -> None:
        """An Envoy with as many threads as weft's, started with ``enter`` before its command line."""
        file = self.folder / f"{name}.json"
        file.write_text(json.dumps(config))
        words = ["--config-path", str(file), "--disable-hot-restart", "--log-level", "error"]
        words += ["--concurrency", str(min(len(os.sched_getaffinity(0)), 8))]
        self._background([*enter, str(binary()), *words], self._envoys)

    def _background(self, argv: list[str], processes: list[subprocess.Popen[str]]) -> None:
        quiet = subprocess.DEVNULL
        processes.append(subprocess.Popen(argv, stdin=quiet, stdout=quiet, start_new_session=True, text=True))

    def _serves(self) -> bool:
        ended = [process for process in (*self._processes, *self._envoys) if process.poll() is not None]
        if ended:
            raise RuntimeError(f"{ended[0].args!r} ended with {ended[0].returncode}")
        return http_answers(self) and judges(self) == bool(self._envoys)


class BareEnvoy(PlainHttp):
    """client ── Envoy in the node ── server: weft's listener for an http rule, dialled directly, and no weft."""

    def prepare(self) -> None:
        server, self.address = self.address, ROUTER
        self.start_envoy(l7_envoy.dialled(self.folder, self.address, server, (PORT, H2_PORT)))

    def start_envoy(self, config: dict[str, Any]) -> None:
        log = inside(self.node, tool("sink"), str(self.folder / "agent.sock"))
        self._background(log, self._processes)
        # A session and a cgroup of its own, like weft's.
        (self._pods / "envoy").mkdir()
        self.envoy("node", config, self._in_pod("envoy", self.node, ()))

    def close(self) -> None:
        self.end_envoys()
        if (self._pods / "envoy").exists():
            (self._pods / "envoy").rmdir()
        super().close()


class TproxyEnvoy(BareEnvoy):
    """client ── Envoy in the node ── server: the same, transparent; the client dials the server, nftables redirects."""

    def prepare(self) -> None:
        ruleset = l7_envoy.tproxy("pod1", (PORT, H2_PORT))
        subprocess.run(inside(self.node, "nft", "-f", "-"), input=ruleset, text=True, check=True)
        ip("-n", self.node, "rule", "add", "fwmark", str(l7_envoy.MARK), "lookup", "200")
        ip("-n", self.node, "route", "add", "local", "default", "dev", "lo", "table", "200")
        self.start_envoy(l7_envoy.transparent(self.folder))


class Sidecars(PlainHttp):
    """client ── its Envoy ── node ── the server's Envoy ── server, redirected by nftables in the two pods."""

    def prepare(self) -> None:
        for pod, namespace in (("client", self._client), ("server", self._server)):
            folder = self.folder / pod
            folder.mkdir()
            os.chown(folder, SIDECAR_USER, SIDECAR_USER)
            ruleset = l7_envoy.redirect(SIDECAR_USER)
            subprocess.run(inside(namespace, "nft", "-f", "-"), input=ruleset, text=True, check=True)
            user = ("setpriv", f"--reuid={SIDECAR_USER}", f"--regid={SIDECAR_USER}", "--clear-groups", "--")
            config = l7_envoy.sidecar(folder, inbound=pod == "server")
            self.envoy(pod, config, self._in_pod(pod, namespace, user))


def http_answers(arm: Arm) -> bool:
    """Whether both servers answer the client."""
    return answers(arm.client(tool("ask"), arm.address, str(PORT), "1", "1000", "20")) and answers(
        arm.client("h2load", "-n1", f"http://{arm.address}:{H2_PORT}/")
    )


def refused(argv: Sequence[str]) -> bool:
    """Whether a request (bench/c/ask.c) is answered with 403."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.returncode == 1 and "HTTP/1.1 403 " in done.stderr


def judges(arm: Arm) -> bool:
    """Whether somebody refuses what ``l7_envoy.RULES`` do not allow."""
    return refused(arm.client(tool("ask"), arm.address, str(PORT), "1", "1000", "20", "keep", "/other"))


def answers(argv: list[str]) -> bool:
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def pin_threads(pids: Iterable[int], pinned: bool) -> None:
    """All threads of these processes: on one core, or anywhere."""
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(task.name), cpus(pinned))
