"""Requests made to be read in two ways, by Envoy and by the server: none has a server serve what the rule forbids, and
no other client's request is hurt."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.build import program
from tests.lab import Lab, Pod
from tests.lab.waiting import SLOWNESS
from tests.layer7.scene import HERE, PORT, PUBLIC, PYTHON, Load, of

H2_PORT = 8081
POLICY = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: servers}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: client}}]
    toPorts:
    - ports: [{port: "8080", endPort: 8081, protocol: TCP}]
      rules: {http: [{method: GET, path: "/public(/.*)?"}]}
"""
NGINX = """
daemon off; master_process off; pid %(folder)s/nginx.pid; error_log %(folder)s/nginx.err;
events {}
http {
  log_format served escape=json "$request_method '$uri'";
  access_log %(log)s served;
  client_body_temp_path %(folder)s/body; proxy_temp_path %(folder)s/proxy; fastcgi_temp_path %(folder)s/fastcgi;
  uwsgi_temp_path %(folder)s/uwsgi; scgi_temp_path %(folder)s/scgi;
  server { listen 8080; listen [::]:8080; location / { return 200; } }
  server { listen 8081 http2; listen [::]:8081 http2; location / { return 200; } }
}
"""
READY = {"tcpSocket": {"port": PORT}, "periodSeconds": 1}


class Scene:
    def __init__(self, lab: Lab) -> None:
        self.logs = {name: lab.folder / name for name in ("python", "nginx", "go")}
        for log in self.logs.values():
            log.touch()
            log.chmod(0o666)
        config = lab.folder / "nginx.conf"
        config.write_text(NGINX % {"folder": lab.folder, "log": self.logs["nginx"]})
        lab.apply(POLICY)
        commands = {
            "python": (PYTHON, "-I", str(HERE / "server.py"), str(PORT), str(self.logs["python"])),
            "nginx": ("/usr/sbin/nginx", "-c", str(config)),
            "go": (program("httpserver", "httpserver"), str(PORT), str(self.logs["go"])),
        }
        self.servers: dict[str, Pod] = {
            name: lab.run(name, command, labels={"app": "server"}, readiness=READY, wait="Ready")
            for name, command in commands.items()
        }
        self.attacker, self.other = (lab.run(name, labels={"app": "client"}) for name in ("attacker", "other"))


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab() as lab:
        yield Scene(lab)


def allowed(line: str) -> bool:
    method, _, path = line.partition(" ")
    path = path.strip("'\"")
    return method == "GET" and (path == PUBLIC or path.startswith(PUBLIC + "/"))


@pytest.mark.parametrize(
    ("server", "port", "version", "family"),
    [
        ("python", PORT, "h1", "v4"),
        ("nginx", PORT, "h1", "v6"),
        ("nginx", H2_PORT, "h2", "v4"),
        ("go", PORT, "h1", "v4"),
        ("go", PORT, "h2", "v6"),
    ],
)
def test_attacks(scene: Scene, server: str, port: int, version: str, family: str) -> None:
    target = getattr(scene.servers[server], family)
    argv = scene.attacker.argv(PYTHON, "-I", "-S", str(HERE / "attack.py"), target, str(port), version, stdin=False)
    with Load(of(scene.other), [(scene.servers[server].v4, PORT), (scene.servers[server].v6, PORT)], [PUBLIC]) as other:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30 * SLOWNESS, check=False)
        other.served()
        counts, longest = other.end()
    assert done.returncode == 0, done.stderr
    outcomes: dict[str, tuple[str, str]] = json.loads(done.stdout)
    served = set(served_by(scene.logs[server]))
    assert not {line for line in served if not allowed(line)}
    assert len(served) > 3
    assert {name: after for name, (_, after) in outcomes.items() if after != "200"} == {}
    assert counts[PUBLIC].keys() == {"200"} and longest < 3, (counts, longest)
    print(json.dumps({name: said for name, (said, _) in outcomes.items()}, indent=1))


def served_by(log: Path) -> list[str]:
    return log.read_text("latin-1").splitlines()
