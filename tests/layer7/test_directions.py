"""http rules on the client's side, on both sides, and about headers; what is no HTTP on such a port."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.lab import Lab, until
from tests.lab.netns import WORLD_V4, WORLD_V6
from tests.layer7.scene import FORBIDDEN, POLICY, PORT, PUBLIC, PYTHON, Scene

EGRESS = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: client}
spec:
  endpointSelector: {matchLabels: {app: client}}
  egress:
  - toEndpoints: [{matchLabels: {app: server}}]
    toPorts: [{ports: [{port: "8080", protocol: TCP}], rules: {http: [{method: GET, path: "/p.*"}]}}]
  - toCIDR: [203.0.113.1/32, "2001:db8:113::1/128"]
    toPorts: [{ports: [{port: "8080", protocol: TCP}], rules: {http: [{method: GET, path: /public}]}}]
"""
HEADERS = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: server}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: client}}]
    toPorts:
    - ports: [{port: "8080", protocol: TCP}]
      rules:
        http:
        - path: /soft
          headerMatches:
          - {name: x-log, value: good, mismatch: LOG}
          - {name: x-add, value: good, mismatch: ADD}
          - {name: x-delete, value: good, mismatch: DELETE}
          - {name: x-replace, value: good, mismatch: REPLACE}
        - {path: /hard, headerMatches: [{name: x-key, value: good}]}
        - {path: /there, headers: ["x-role: admin"]}
"""


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab() as lab:
        yield Scene(lab)


def paths(scene: Scene) -> dict[str, set[str]]:
    """What the client gets for three paths, by address and by Service, over both families."""
    asked = [(*target, path) for path in (PUBLIC, FORBIDDEN, "/other") for target in scene.targets(scene.client)]
    got: dict[str, set[str]] = {}
    for question, outcome in zip(asked, scene.client.ask(*asked), strict=True):
        got.setdefault(question[2], set()).add(outcome)
    return got


def sent(scene: Scene) -> dict[str, int]:
    return dict(scene.lab.status()["envoy"]["sent"])


def test_egress_ingress_and_both(scene: Scene) -> None:
    scene.lab.apply(EGRESS)
    assert paths(scene) == {PUBLIC: {"200"}, FORBIDDEN: {"200"}, "/other": {"403"}}
    only_egress = sent(scene)
    assert only_egress["egress"] == 12 and only_egress["ingress"] == 0
    scene.lab.apply(POLICY)
    scene.forget()
    assert paths(scene) == {PUBLIC: {"200"}, FORBIDDEN: {"403"}, "/other": {"403"}}
    assert scene.served() == {"GET '/public'"}
    both = sent(scene)
    assert both["egress"] == 24
    # What egress refuses does not come to ingress; what it allows may share Envoy's connections to the server.
    assert 1 <= both["ingress"] <= 8
    scene.lab.delete("cnp", "client")
    assert paths(scene) == {PUBLIC: {"200"}, FORBIDDEN: {"403"}, "/other": {"403"}}
    assert sent(scene)["egress"] == 24


def test_egress_to_the_outside(scene: Scene) -> None:
    scene.lab.apply(EGRESS)
    for allowed, other in (WORLD_V4, WORLD_V6):
        of_no_rule = [(other, PORT, PUBLIC, 0.4), (allowed, 80, PUBLIC, 0.4)]
        got = scene.client.ask((allowed, PORT, PUBLIC), (allowed, PORT, FORBIDDEN), *of_no_rule)
        assert got == ["200", "403", "timeout", "timeout"]
    scene.lab.delete("cnp", "client")


def test_header_rules(scene: Scene) -> None:
    scene.lab.apply(HEADERS)
    server = scene.by_address[0]
    names = ("x-log", "x-add", "x-delete", "x-replace")
    for value, expected in (
        ("good", ["good", "good", "good", "good"]),
        ("bad", ["bad", "bad,good", "", "good"]),
        ("bad good", ["bad,good", "bad,good,good", "", "good"]),
        ("", ["", "good", "", "good"]),
    ):
        headers = "".join(f"{name}: {one}\r\n" for name in names for one in value.split())
        (answer,) = scene.client.ask((*server, "/soft", 5, {"headers": headers, "content": True}))
        _, got = json.loads(answer)
        assert [",".join(text for name, text in got if name == wanted) for wanted in names] == expected, got
    questions = {
        ("/hard", "x-key: good\r\n"): "200",
        ("/hard", "x-key: bad\r\n"): "403",
        ("/hard", "x-key: bad\r\nx-key: good\r\n"): "403",
        ("/hard", "x-key: good\r\nx-key: bad\r\n"): "403",
        ("/hard", "x-key: good, bad\r\n"): "403",
        ("/hard", ""): "403",
        ("/there", "x-role: admin\r\n"): "200",
        ("/there", "X-Role: user\r\n"): "403",
        ("/there", "a: b\rx-role: admin\r\n"): "403",
    }
    asked = [(*server, path, 5, {"headers": headers}) for path, headers in questions]
    assert dict(zip(questions, scene.client.ask(*asked), strict=True)) == questions


TLS = """
import socket, ssl, sys
context = ssl._create_unverified_context()
for data in (b"", b"\\x00\\x01 no protocol at all\\r\\n\\r\\n"):
    connection = socket.create_connection((sys.argv[1], 8080), timeout=5)
    try:
        if data:
            connection.sendall(data)
            while connection.recv(999): pass
        else:
            context.wrap_socket(connection)
    except (ssl.SSLError, ConnectionError) as error:
        pass
    print("ended")
"""


def test_tls_and_rubbish_are_closed_and_told_apart(scene: Scene) -> None:
    scene.lab.apply(POLICY)
    done = scene.pod.exec(PYTHON, "-c", TLS, scene.server.v4)
    assert done.stdout == "ended\nended\n", done.stderr

    def told() -> bool:
        said = scene.lab.weft("observe", "--all", "--type", "l7", "--verdict", "DROPPED")
        return "TLS where HTTP is expected" in said and "not valid HTTP" in said

    until(told, "observe tells TLS from rubbish")
