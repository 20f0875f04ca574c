"""Envoy cannot be used, or what it needs cannot be written: nothing is applied by half, and layer 4 goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import Lab, Pod
from weft.api.client import AgentError

HTTP = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: api}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress: [{toPorts: [{ports: [{port: "8080", protocol: TCP}], rules: {http: [{method: GET, path: /public}]}}]}]
"""
PLAIN = HTTP.replace(", rules: {http: [{method: GET, path: /public}]}", "").replace("8080", "9000")


def status(client: Pod, server: Pod, path: str) -> str:
    curl = ("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "10")
    return client.exec(*curl, f"http://{server.v4}:8080{path}").stdout


def test_what_needs_envoy_is_refused_and_the_rest_goes_on(own_lab: Lab) -> None:
    client, server = own_lab.run("client"), own_lab.serve("server", "tcp:8080", "tcp:9000", labels={"app": "server"})
    in_the_way = Path("/run/weft", own_lab.name, "envoy")
    in_the_way.write_text("")  # Envoy's folder cannot be made
    with pytest.raises(AgentError, match="nothing was applied: Envoy cannot be used"):
        own_lab.apply(HTTP)
    assert client.probe("tcp", server.v4, 8080).outcome == "open"
    own_lab.apply(PLAIN)
    assert client.probe("tcp", server.v4, 8080).outcome == "timeout"
    own_lab.kill_agent()
    own_lab.start_agent()
    assert client.probe("tcp", server.v4, 8080).outcome == "timeout"
    in_the_way.unlink()
    own_lab.apply(HTTP)
    assert own_lab.status()["envoy"]["listeners"] == 1 and not own_lab.status()["problems"]


def test_numbers_that_cannot_be_kept(own_lab: Lab) -> None:
    """An apply is refused; an agent that starts enforces what is stored nevertheless."""
    client, server = own_lab.run("client"), own_lab.serve("server", "tcp:8080", "tcp:9000", labels={"app": "server"})
    state = Path("/var/lib/weft", own_lab.name)
    in_the_way = state / "numbers.new"
    in_the_way.mkdir()
    with pytest.raises(AgentError, match=r"nothing was applied: .*numbers\.json"):
        own_lab.apply(HTTP)
    in_the_way.rmdir()
    own_lab.apply(HTTP)
    in_the_way.mkdir()
    own_lab.kill_agent()
    (state / "numbers.json").unlink()
    own_lab.start_agent()
    assert client.probe("tcp", server.v4, 9000).outcome == "timeout"
    assert [status(client, server, path) for path in ("/public", "/private")] == ["200", "403"]
    in_the_way.rmdir()
