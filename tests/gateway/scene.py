"""Clients in two namespaces, an API in two versions, and routes between them: real pods, kernel and Envoy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab import Lab
from tests.lab.inside import python
from tests.lab.pods import Pod
from tests.lab.waiting import SLOWNESS

ECHO = str(Path(__file__).parent / "echo.py")
IN_A_ROW = 20
"""So many right answers in a row are asked for: three come by luck."""

_ASK = """
import http.client
def ask(host, port, method, path, headers):
    connection = http.client.HTTPConnection(host, port)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    text = answer.read().decode(errors="replace")
    connection.close()
    return {"status": answer.status, "headers": [[n.lower(), v] for n, v in answer.getheaders()], "text": text}
*request, times = arguments
say([ask(*request) for _ in range(times)])
"""


ASK_ON = """
import http.client
host, seconds = arguments
end = time.monotonic() + seconds
while time.monotonic() < end:
    connection = http.client.HTTPConnection(host, 80)
    connection.request("GET", "/")
    answer = connection.getresponse()
    answer.read()
    say([time.time(), answer.status, answer.getheader("x-server", "")])
    connection.close()
    time.sleep(0.01)
say("ended")
"""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def echo(self) -> dict[str, Any]:
        return dict(json.loads(self.text))

    @property
    def server(self) -> str:
        """Who answered; empty if it was Envoy."""
        return str(self.headers.get("x-server", ""))


@dataclass
class Shop:
    """Namespaces shop (api, v1, v2 and a client) and web (a client)."""

    lab: Lab
    client: Pod
    consumer: Pod

    def ask(
        self,
        path: str = "/",
        host: str = "api.shop",
        times: int = IN_A_ROW,
        port: int = 80,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        client: Pod | None = None,
    ) -> list[Answer]:
        said = python(client or self.client, _ASK, host, port, method, path, headers or {}, times, seconds=60)
        return [Answer(one["status"], dict(one["headers"]), one["text"]) for one in said]

    def all_by(self, server: str, *args: Any, **words: Any) -> list[Answer]:
        """Every answer is from this server."""
        answers = self.ask(*args, **words)
        assert {(one.status, one.server) for one in answers} == {(200, server)}, answers[0]
        return answers

    def all_get(self, status: int, *args: Any, **words: Any) -> list[Answer]:
        """Every answer is Envoy's, with this status."""
        answers = self.ask(*args, **words)
        assert {(one.status, one.server) for one in answers} == {(status, "")}, answers[0]
        return answers


PORTS = "ports: [{name: http, port: 80, targetPort: 8080}, {name: alt, port: 81, targetPort: 8081}]"


def service(name: str, namespace: str, app: str, more: str = "") -> str:
    return f"""
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  ipFamilyPolicy: RequireDualStack
  selector: {{app: {app}}}
  {PORTS}
  {more}
"""


NAMESPACES = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Namespace
metadata: {name: web}
"""


def start(lab: Lab, name: str, namespace: str, labels: dict[str, str]) -> None:
    """An echo server as a pod; it may not be ready yet."""
    command = ["python3", "-I", "-S", ECHO, name, str(min(2 * SLOWNESS, 20)), "8080", "8081"]
    ready = {"tcpSocket": {"port": 8081}, "periodSeconds": 1}
    lab.run(name, command, namespace=namespace, labels=labels, readiness=ready)


def open_shop(lab: Lab) -> Shop:
    text = "".join(service(name, "shop", name) for name in ("api", "v1", "v2")) + service("far", "web", "far")
    text += service("pair", "shop", "pair").replace("{app: pair}", "{pair: both}")
    lab.apply(NAMESPACES + text)
    homes = {"api": "shop", "v1": "shop", "v2": "shop", "far": "web"}
    for name, namespace in homes.items():
        start(lab, name, namespace, {"app": name, "pair": "both" if name in ("v1", "v2") else "no"})
    client = lab.run("client", namespace="shop", labels={"app": "client"})
    consumer = lab.run("client", namespace="web", labels={"app": "client"})
    for name, namespace in {**homes, "kube-dns": "kube-system"}.items():
        lab.pod(name, namespace, "Ready")
    return Shop(lab, client, consumer)
