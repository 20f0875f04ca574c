"""The layer-7 tests' node: a server that logs what it served, a client that may ``GET /public``, and the outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.lab import Lab, Pod, until
from tests.lab.netns import inside
from tests.lab.waiting import SLOWNESS

HERE = Path(__file__).parent
PYTHON = "/usr/bin/python3"
PORT = 8080
PUBLIC, FORBIDDEN = "/public", "/private"
LISTENERS = ("127.119.101.102", "100::7765:6674")
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: server}
spec:
  selector: {app: server}
  ipFamilyPolicy: RequireDualStack
  ports: [{name: http, port: 80, targetPort: 8080}]
"""
POLICY = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: server}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: client}}]
    toPorts: [{ports: [{port: "8080", protocol: TCP}], rules: {http: [{method: GET, path: /public}]}}]
  - fromEntities: [world]
    toPorts: [{ports: [{port: "8080", protocol: TCP}], rules: {http: [{method: GET, path: /public}]}}]
"""
"""For the client and for the outside: two rules, a listener each."""
EDITS = (
    POLICY.replace("path: /public", 'path: "/(public|other)"'),
    POLICY.replace('"8080"', '"8000", endPort: 8090'),
    POLICY.replace("  - fromEntities: [world]\n", "  - fromCIDR: [198.51.100.1/32, \"2001:db8:51::1/128\"]\n"),
    POLICY.replace("{method: GET, path: /public}", "{method: GET, path: /public}, {method: POST}"),
    POLICY,
)  # fmt: skip
"""Of POLICY, none of which allows the forbidden path."""
THREADS = 2
"""Of a load."""
Question = tuple[Any, ...]
"""Address, port, path; seconds; {"mark", "source_port", "method", "headers", "content"}."""


class Place(NamedTuple):
    """Where clients run: a pod, the outside, or the node itself."""

    name: str
    prefix: tuple[str, ...]

    def start(self, what: str, given: Any) -> subprocess.Popen[str]:
        argv = [*self.prefix, PYTHON, "-I", "-S", str(HERE / "client.py"), what]
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdin is not None
        process.stdin.write(json.dumps(given) + "\n")
        process.stdin.flush()
        return process

    def ask(self, *questions: Question) -> list[str]:
        """Each on a connection of its own, all at once: statuses, or ``refused reset closed timeout``."""
        said, _ = self.start("ask", questions).communicate(timeout=30 * SLOWNESS)
        return list(json.loads(said))


class Client:
    """A process that goes on. ``with`` ends it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def tell(self, line: str = "") -> Any:
        """What it says to this line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.heard()

    def heard(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())


class Load(Client):
    """Requests in a loop: to each target in turn, the paths in turn."""

    def __init__(
        self,
        place: Place,
        targets: Sequence[tuple[str, int]],
        paths: Sequence[str] = (PUBLIC, FORBIDDEN),
        *,
        keep: bool = False,
        threads: int = THREADS,
        timeout: float = 10.0,
    ) -> None:
        options = {"targets": targets, "paths": paths, "keep": keep, "threads": threads, "timeout": timeout}
        super().__init__(place.start("load", options | {"pause": 0.002}))

    def counts(self) -> dict[str, dict[str, int]]:
        """Outcomes so far, by path."""
        return dict(self.tell()["counts"])

    def served(self, more: int = 20, path: str = PUBLIC, status: str = "200", seconds: float = 10) -> None:
        """Waits until this many further requests for ``path`` had this status."""
        before = self.counts()[path].get(status, 0)
        until(lambda: self.counts()[path].get(status, 0) >= before + more, f"{path} is answered {status}", seconds)

    def end(self) -> tuple[dict[str, dict[str, int]], float]:
        """Outcomes by path, and the longest request since the last ``counts``."""
        said, _ = self.process.communicate(timeout=30 * SLOWNESS)
        last = json.loads(said.splitlines()[-1])
        return last["counts"], last["longest"]


class Held(Client):
    """A connection to each target, with one request for /public done; ``first``: the outcomes."""

    def __init__(self, place: Place, targets: Sequence[tuple[str, int]]) -> None:
        super().__init__(place.start("hold", targets))
        self.first: list[str] = self.heard()


class Scene:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.log = lab.folder / "served"
        self.log.touch()
        self.log.chmod(0o666)
        command = (PYTHON, "-I", str(HERE / "server.py"), str(PORT), str(self.log))
        probe = {"tcpSocket": {"port": PORT}, "periodSeconds": 1}
        self.server = lab.run("server", command, labels={"app": "server"}, readiness=probe, wait="Ready")
        self.pod = lab.run("client", labels={"app": "client"}, capabilities=["NET_ADMIN", "NET_RAW"])
        lab.apply(SERVICE)
        addresses = lab.get("services", "server", "default")["spec"]["clusterIPs"]
        self.by_address = [(self.server.v4, PORT), (self.server.v6, PORT)]
        self.by_service = [(address, 80) for address in addresses]
        self.client = of(self.pod)
        self.outside = Place("outside", tuple(inside(lab.namespaces.outside)))
        self.node = Place("node", tuple(inside(lab.namespaces.node)))

    def targets(self, place: Place) -> list[tuple[str, int]]:
        return [*self.by_address, *self.by_service] if place is self.client else self.by_address

    def verdicts(self, place: Place) -> set[tuple[str, str]]:
        """(path, outcome) of both paths at every address that this place can dial."""
        asked = [(*target, path) for target in self.targets(place) for path in (PUBLIC, FORBIDDEN)]
        return {(question[2], outcome) for question, outcome in zip(asked, place.ask(*asked), strict=True)}

    def served(self) -> set[str]:
        """Request lines that the server has answered."""
        return set(self.log.read_text("latin-1").splitlines())

    def unserved(self) -> bool:
        """Whether the server never saw the forbidden path."""
        return not any(FORBIDDEN in line for line in self.served())

    def forget(self) -> None:
        os.truncate(self.log, 0)

    @property
    def envoy(self) -> int:
        return int(self.lab.status()["envoy"]["pid"])

    def envoy_file(self) -> int:
        """Envoy's process number without the agent's help."""
        return int((Path("/run/weft") / self.lab.name / "envoy/pid").read_text())

    def kill_envoy(self) -> None:
        """SIGKILL, and wait until it is gone."""
        number = self.envoy_file()
        handle = os.pidfd_open(number)
        try:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            gone = Path(f"/proc/{number}/exe")
            until(lambda: not is_running(number) or not gone.exists(), "Envoy is dead")
        finally:
            os.close(handle)


def is_running(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def of(pod: Pod) -> Place:
    return Place(pod.name, tuple(pod.argv()))
