"""explain: every way to name an end, hints for wrong ones, and the loaded program beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product

import pytest

from tests.cli.shop import EDGES, POLICY, SERVICE
from tests.lab import Lab
from weft.api.client import AgentError

OUTSIDE = ("world:443", "world:80", "203.0.113.70:443", "198.51.100.2:22", "host:22", "world-ipv6:443")
NOBODY = ("10.244.0.250:1", "10.96.200.200:1", "[fd00:96::77]:80", "224.0.0.1:5353/UDP", "[ff02::1]:5/UDP",
    "255.255.255.255:67/UDP", "127.0.0.1:80", "[::1]:80", "0.0.0.0:1")  # fmt: skip
PODS = (
    "server:8080",
    "server:http",
    "server:8081",
    "server:8080/UDP",
    "server:8/ICMP",
    "evil:8080",
    "friend:1/SCTP",
    "api:8080",
    "api:8081",
)
SOURCES = ("server", "friend", "stranger", "evil", "host", "world", "world-ipv6", "10.244.0.250", "203.0.113.70")


API = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: api}
spec:
  endpointSelector: {matchLabels: {app: api}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: friend}}]
    toPorts: [{ports: [{port: http, protocol: TCP}], rules: {http: [{method: GET, path: /public}]}}]
  - fromEndpoints: [{matchLabels: {app: friend}}, {matchLabels: {app: evil}}]
    toPorts: [{ports: [{port: "8080", protocol: TCP}], rules: {http: [{path: /other}]}}]
  - fromEndpoints: [{matchLabels: {app: server}}]
    toPorts: [{ports: [{port: "8080", protocol: TCP}]}]
"""


@pytest.fixture(scope="module")
def shop(session_lab: Lab) -> Iterator[Lab]:
    """The shop; its tests only ask."""
    session_lab.apply(POLICY, "shop.yaml")
    session_lab.apply(SERVICE + "---\n" + EDGES + "---" + API, "edges.yaml")
    for name in ("server", "friend", "stranger", "evil", "api"):
        session_lab.run(name, labels={"app": name}, ports=[("http", 8080, "TCP")])
    yield session_lab
    session_lab.empty()


def test_the_kernel_agrees_everywhere(shop: Lab) -> None:
    for source, destination in product(SOURCES, (*PODS, *OUTSIDE, *NOBODY, "web:80")):
        try:
            answer = shop.explain(source, destination, kernel=True)
        except AgentError as error:
            assert "no packet goes from" in str(error), (source, destination, str(error))
            continue
        answers = answer["json"] if isinstance(answer["json"], list) else [answer["json"]]
        assert all("DISAGREES" not in one["kernel"]["text"] for one in answers), answer["text"]
        assert not answer["disagrees"]
    assert "at Envoy's listener" in shop.explain("friend", "api:8080", kernel=True)["text"]


@pytest.mark.parametrize(
    ("source", "destination", "said"),
    [
        ("friend", "server:8080", "FORWARDED"),
        (
            "default/friend",
            "default/server:http",
            "ingress of default/server: allowed by CiliumNetworkPolicy/default/server",
        ),
        ("app=friend", "app=server:8080", "FORWARDED"),
        ("app=unheard-of", "server:8080", "expected app=friend, found app=unheard-of"),
        ("stranger", "server:8080", "shop.yaml:7: spec.ingress[0].fromEndpoints[0].matchLabels.app"),
        ("friend", "server:8081", "expected 8080, found 8081"),
        ("stranger", "server:8/ICMP", "FORWARDED"),
        ("friend", "web:80", "service default/web:80 -> default/server:8080"),
        ("friend", "web:8080", "service default/web:80 -> default/server:8080"),
        ("friend", "evil:8080", "egress of default/friend: denied by CiliumNetworkPolicy/default/friend egressDeny[0]"),
        ("host", "server:1", "the node may always reach its own pods"),
        ("world", "evil:1", "ingress of default/evil: denied by"),
        ("world-ipv6", "server:8080", "fd00:244::"),
        ("friend", "world:443", "edges.yaml:"),
        ("friend", "[2001:db8:51::2]:22", "FORWARDED"),
        ("server", "server:1", "a pod may always speak to itself"),
        ("friend", "10.244.0.250:1", "no pod has it"),
        ("friend", "10.96.200.200:1", "DROPPED  Packet to a ClusterIP"),
        ("friend", "kube-system/kube-dns:53/UDP", "ingress of kube-system/kube-dns: allowed, no policy isolates it"),
    ],
)
def test_ends_have_many_names(shop: Lab, source: str, destination: str, said: str) -> None:
    assert said in shop.explain(source, destination)["text"]


def test_the_deciding_rule_is_quoted(shop: Lab) -> None:
    """As compilers do: the lines of the manifest as they stood in the file, four at most, with their numbers."""
    said = shop.explain("friend", "server:8080")["text"]
    by_server = """\
    shop.yaml:7
        7 | - fromEndpoints: [{matchLabels: {app: friend}}]
        8 |   toPorts: [{ports: [{port: "8080", protocol: TCP}]}]"""
    assert by_server in said
    rule = shop.explain("friend", "evil:8080")["json"]["sides"][0]["rule"]
    assert rule["lines"] == [{"line": 20, "text": "- toEndpoints: [{matchLabels: {app: evil}}]"}] and rule["line"] == 20


def test_near_misses_are_quoted(shop: Lab) -> None:
    said = shop.explain("stranger", "server:8080")["text"]
    assert "        7 | - fromEndpoints: [{matchLabels: {app: friend}}]\n         expected app=friend" in said


@pytest.mark.parametrize(
    ("source", "destination", "said"),
    [
        ("frend", "server:80", "did you mean friend?"),
        ("friend", "sever:80", "did you mean server?"),
        ("friend", "server", "expected TO:PORT"),
        ("friend", "server:https", "the name of a port of the pod"),
        ("friend", "server:70000", "expected a port"),
        ("friend", "server:300/ICMP", "an ICMP type (0..255)"),
        ("friend", "server:80/FOO", "unknown protocol; known: TCP"),
        ("friend", "web:81", "has no port 81; its ports: 80 (http)"),
        ("10.1.2.3", "[fd00::1]:80", "no packet goes from"),
    ],
)
def test_a_wrong_end_is_answered_with_a_hint(shop: Lab, source: str, destination: str, said: str) -> None:
    with pytest.raises(AgentError) as refused:
        shop.explain(source, destination)
    assert said in str(refused.value)


def test_as_json_and_of_a_flow(shop: Lab) -> None:
    stranger, server = shop.pods["default", "stranger"], shop.pods["default", "server"]
    answer = json.loads(shop.weft("explain", "stranger", "server:8080", "-o", "json", "--kernel"))
    assert answer["kernel"]["agrees"] is True
    assert stranger.probe("tcp", server.v4, 8080).outcome == "timeout"
    line = shop.weft("observe", "--verdict", "DROPPED", "--pod", "stranger", "--last", "1", "-o", "json")
    uuid = json.loads(line)["flow"]["uuid"]
    for flow, stdin in ((uuid, None), (line.strip(), None), ("-", line)):
        said = shop.weft("explain", "--flow", flow, "--kernel", stdin=stdin)
        assert said.startswith("recorded: DROPPED Policy denied; no ingress rule") and "agrees" in said
    assert "give the whole flow as JSON" in shop.weft("explain", "--flow", "no-such-uuid", ok=False)
    assert "expected a line of `weft observe -o json`" in shop.weft("explain", "--flow", '{"a": 1}', ok=False)
