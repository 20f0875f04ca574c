"""Connections from their first packet to their last: half closed, many, long, idle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from ipaddress import ip_address

import pytest

from tests.lab import Lab, Pod, Question, until
from tests.lab.inside import Process, python
from tests.lab.traces import pinned_map
from tests.lab.turns import add_flow
from tests.services.manifests import WEB, apply, cluster_ips, service
from weft.datapath import layouts
from weft.datapath.layouts import Flow, FlowKey
from weft.datapath.maps import Map
from weft.model.net import TCP, UDP, to_wide

POLICY = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: NAME}
spec:
  endpointSelector: {matchLabels: {app: NAME}}
  ingress: [{fromEndpoints: [{matchLabels: {app: PEER}}]}]
"""


def policy(name: str, peer: str) -> str:
    return POLICY.replace("NAME", name).replace("PEER", peer)


@pytest.fixture
def server(lab: Lab) -> Pod:
    lab.apply(policy("server", "client"))
    return lab.serve("server", "tcp:8080", "udp:8080", labels={"app": "server"})


@pytest.fixture
def client(lab: Lab) -> Pod:
    return lab.run("client", labels={"app": "client"})


HALF_SERVER = """
with socket.create_server(('::', 9000), family=socket.AF_INET6, dualstack_ipv6=True) as s:
    say('ready')
    while True:
        connection, _ = s.accept()
        with connection:
            got = bytearray()
            while data := connection.recv(1 << 16): got += data
            connection.sendall(bytes(reversed(got)) * 10)  # long after the client's FIN
"""
HALF_CLIENT = """
def half(address):
    with socket.create_connection((address, 9000)) as s:
        data = os.urandom(300000)
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        if address == arguments[0]:
            say('closed my half'); sys.stdin.readline()
        got = bytearray()
        while piece := s.recv(1 << 16): got += piece
        return bytes(got) == bytes(reversed(data)) * 10
say([half(address) for address in arguments])
"""


def test_half_closed_connections_still_carry_data(lab: Lab, server: Pod, client: Pod) -> None:
    """Also when policy's revision changes in between."""
    with Process(server, HALF_SERVER) as serving:
        assert serving.heard() == "ready"
        with Process(client, HALF_CLIENT, server.v4, server.v6) as calling:
            assert calling.heard() == "closed my half"
            new_revision(lab)
            calling.tell()
            assert calling.heard() == [True, True]


def test_two_hundred_connections_at_once(lab: Lab, server: Pod, client: Pod) -> None:
    apply(lab, service("web", WEB))
    code = """
held = [socket.create_connection(tuple(arguments[n % len(arguments)])) for n in range(200)]
for n, s in enumerate(held): s.sendall(b'%d!' % n)
say([s.recv(100) == b'%d!' % n for n, s in enumerate(held)].count(True))
"""
    ways = [[server.v4, 8080], [server.v6, 8080], *([address, 80] for address in cluster_ips(lab, "web"))]
    assert python(client, code, *ways) == 200


def test_a_connection_for_each_of_thousands_of_requests(lab: Lab, server: Pod, client: Pod) -> None:
    apply(lab, service("web", WEB))
    ways = [Question("tcp", server.v4, 8080), Question("tcp", server.v6, 8080)]
    ways += [Question("tcp", address, 80) for address in cluster_ips(lab, "web")]
    for _ in range(25):
        answers = client.prober().ask(ways * 50, 5000)
        assert {answer.server for answer in answers} == {"server"}


def test_long_connections_outlive_the_agent_and_others_policies(lab: Lab, server: Pod, client: Pod) -> None:
    apply(lab, service("web", WEB))
    held = [client.hold(server.v4, 8080, 5), client.hold(server.v6, 8080, 5), client.hold(server.v4, 8080)]
    held.append(client.hold(cluster_ips(lab, "web")[0], 80, 5))
    for number in range(5):
        lab.apply(policy(f"other{number}", "somebody"))
        new_revision(lab)
    lab.delete("cnp", "more", *(f"other{number}" for number in range(5)))
    lab.kill_agent()
    lab.start_agent()
    lab.run("somebody", labels={"app": "somebody"})
    lab.delete("pods", "somebody")
    for number, one in enumerate(held):
        ending = one.stop()
        assert ending.outcome == "held" and (number == 2 or ending.rounds > 20), (number, ending)
        assert ending.longest_ms < 2000, ending


class TestFlowTable:
    """What the flow table makes of a connection: how long it keeps it."""

    def test_the_end_is_noticed_also_right_after_a_change_of_policy(self, lab: Lab, server: Pod, client: Pod) -> None:
        """Else a closed connection would stay in the table, and in the pod's share of it, for hours."""
        held = client.hold(server.v4, 8080)
        new_revision(lab)
        assert held.stop().outcome == "held"  # both ends' FINs are their first packets under the new revision
        until(lambda: state(lab, client, server) == layouts.FLOW_CLOSING, "the flow is closing")

    def test_an_idle_connection_is_kept(self, lab: Lab, server: Pod, client: Pod) -> None:
        """For 8000 seconds; a change of policy does not end it."""
        held = client.hold(server.v4, 8080)
        age(lab, client, server, 7000)
        new_revision(lab)
        swept(lab)
        assert state(lab, client, server) == layouts.FLOW_OPEN
        assert held.stop().outcome == "held"

    def test_an_exchange_of_datagrams_is_kept_for_a_minute(self, lab: Lab, server: Pod, client: Pod) -> None:
        assert client.probe("udp", server.v4, 8080).outcome == "open"
        age(lab, client, server, 50, UDP)
        new_revision(lab)
        swept(lab)
        assert state(lab, client, server, UDP) == layouts.FLOW_OPEN
        age(lab, client, server, 11, UDP)
        until(lambda: state(lab, client, server, UDP) is None, "it expires")
        assert client.probe("udp", server.v4, 8080).outcome == "open"


def new_revision(lab: Lab) -> None:
    """One more peer for the server: its table is another, so every flow is decided again."""
    before = lab.status()["policy"]["revision"]
    lab.apply(policy("more", f"other{before}").replace("app: more", "app: server"))
    assert lab.status()["policy"]["revision"] > before


@contextmanager
def flow_table(lab: Lab) -> Iterator[Map]:
    table = Map.pinned(pinned_map(lab.name, "flows"))
    try:
        yield table
    finally:
        table.close()


def find(table: Map, client: Pod, server: Pod, protocol: int) -> tuple[bytes, Flow] | None:
    """The one flow between the two over IPv4."""
    ends = {to_wide(ip_address(pod.v4)) for pod in (client, server)}
    for raw, value in table.items():
        key = FlowKey.unpack(raw)
        if key.protocol == protocol and {key.address_0, key.address_1} == ends:
            return raw, Flow.unpack(value)
    return None


def state(lab: Lab, client: Pod, server: Pod, protocol: int = TCP) -> int | None:
    with flow_table(lab) as table:
        found = find(table, client, server, protocol)
        return found[1].state if found else None


def age(lab: Lab, client: Pod, server: Pod, seconds: int, protocol: int = TCP) -> None:
    """As if it had been idle for so long (at most for as long as the machine runs)."""
    with flow_table(lab) as table:
        found = find(table, client, server, protocol)
        assert found is not None
        raw, flow = found
        table.update(raw, flow._replace(last_seen_ns=max(1, flow.last_seen_ns - seconds * 10**9)).pack())


def swept(lab: Lab) -> None:
    """Wait until the expiry has been by: an entry of a flow that nobody has, long dead, is gone."""
    key = FlowKey(bytes(15) + b"\1", bytes(15) + b"\2", 0, 0, 17)
    with flow_table(lab) as table, closing(Map.pinned(pinned_map(lab.name, "flow_turns"))) as turns:
        add_flow(table, turns, key.pack(), bytes(layouts.FLOW_SIZE))
        until(lambda: table.lookup(key.pack()) is None, "the expiry has swept")
