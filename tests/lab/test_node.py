"""The whole node in a few strokes: policy, services, DNS and flows, by the real agent; also run in guest kernels."""

from __future__ import annotations

import pytest

from tests.lab import Lab, Outcome, until
from weft.api.client import AgentError

POLICY = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: server}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: friend}}]
    toPorts: [{ports: [{port: "8080", protocol: TCP}, {port: "8080", protocol: UDP}]}]
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: server}
  ipFamilyPolicy: PreferDualStack
  ports:
  - {name: tcp, port: 80, targetPort: 8080, protocol: TCP}
  - {name: udp, port: 53, targetPort: 8080, protocol: UDP}
"""


def test_policy_in_both_families_and_protocols(lab: Lab) -> None:
    server = lab.serve("server", "tcp:8080", "udp:8080", labels={"app": "server"})
    friend, stranger = lab.run("friend", labels={"app": "friend"}), lab.run("stranger", labels={"app": "stranger"})
    lab.apply(POLICY)
    for protocol in ("tcp", "udp"):
        for address, own in ((server.v4, friend.v4), (server.v6, friend.v6)):
            assert friend.probe(protocol, address, 8080) == Outcome("open", "server", own)
            assert stranger.probe(protocol, address, 8080).outcome == "timeout"


def test_services_by_address_and_name(lab: Lab) -> None:
    for name in ("one", "two"):
        lab.serve(name, "tcp:8080", "udp:8080", labels={"app": "server"})
    client = lab.run("client")
    lab.apply(SERVICE)
    addresses = lab.get("services", "web", "default")["spec"]["clusterIPs"]
    assert len(addresses) == 2
    for address in addresses:
        for protocol, port in (("tcp", 80), ("udp", 53)):
            answers = {client.probe(protocol, address, port).server for _ in range(20)}
            assert answers == {"one", "two"}, (address, protocol, answers)
    found = client.exec("curl", "-sS", "--max-time", "10", "http://web/")
    assert found.stdout.split()[0] in {"one", "two"}, found


def test_a_service_without_backends_refuses_at_once(lab: Lab) -> None:
    client = lab.run("client")
    lab.apply(SERVICE)
    address = lab.get("services", "web", "default")["spec"]["clusterIPs"][0]
    assert client.probe("tcp", address, 80).outcome in {"refused", "unreachable"}


def test_the_world_and_the_node(lab: Lab) -> None:
    client = lab.run("client")
    for address in ("203.0.113.1", "2001:db8:113::1"):
        answer = client.probe("tcp", address, 8080)
        assert (answer.outcome, answer.server) == ("open", "outside")
        assert answer.seen_as in {"198.51.100.2", "2001:db8:51::2"}


def test_flows_say_what_happened_and_why(lab: Lab) -> None:
    server = lab.serve("server", "tcp:8080", labels={"app": "server"})
    friend, stranger = lab.run("friend", labels={"app": "friend"}), lab.run("stranger", labels={"app": "stranger"})
    lab.apply(POLICY)
    assert friend.probe("tcp", server.v4, 8080).outcome == "open"
    assert stranger.probe("tcp", server.v4, 8080).outcome == "timeout"

    def verdicts() -> set[tuple[str, str]]:
        return {(flow.get("source", {}).get("pod_name", ""), flow["verdict"]) for flow in lab.observe()}

    wanted = {("friend", "FORWARDED"), ("stranger", "DROPPED")}
    until(lambda: wanted <= verdicts(), f"flows {wanted}")


def test_an_edit_is_in_force_when_apply_returns(lab: Lab) -> None:
    server = lab.serve("server", "tcp:8080", labels={"app": "server"})
    friend, stranger = lab.run("friend", labels={"app": "friend"}), lab.run("stranger", labels={"app": "stranger"})
    lab.apply(POLICY)
    assert stranger.probe("tcp", server.v4, 8080).outcome == "timeout"
    lab.apply(POLICY.replace("app: friend", "app: stranger"))
    assert stranger.probe("tcp", server.v4, 8080).outcome == "open"
    assert friend.probe("tcp", server.v4, 8080).outcome == "timeout"
    lab.delete("cnp", "server")
    assert friend.probe("tcp", server.v4, 8080).outcome == "open"


def test_a_malformed_policy_is_refused_and_the_old_one_stays(lab: Lab) -> None:
    server = lab.serve("server", "tcp:8080", labels={"app": "server"})
    stranger = lab.run("stranger", labels={"app": "stranger"})
    lab.apply(POLICY)
    with pytest.raises(AgentError) as refused:
        lab.apply(POLICY.replace('"8080", protocol: TCP', '"80_80", protocol: TCP'), "mine.yaml")
    assert "mine.yaml:9" in str(refused.value) and "port" in str(refused.value)
    assert stranger.probe("tcp", server.v4, 8080).outcome == "timeout"
