"""``weft observe``'s flags against what Hubble's CLI makes of them (hubble/cmd/observe/flows_filter_test.go)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from weft.flows.filters import compile_request
from weft.flows.flags import FLAGS, FlagError, parse_observe
from weft.flows.hubble import NodeInfo
from weft.flows.query import FlowsRequest
from weft.flows.tracker import FilterBuilder

NOW = 1_700_000_000_000_000_000


def request(line: str) -> FlowsRequest:
    return parse_observe(line.split(), NOW).request


def filters(line: str) -> tuple[Any, Any]:
    """(whitelist, blacklist) as JSON without defaults."""
    made = request(line).to_json()
    return made.get("whitelist", []), made.get("blacklist", [])


@pytest.mark.parametrize(
    ("line", "allow", "deny"),
    [
        ("", [], []),
        ("--from-ip 1.2.3.4", [{"source_ip": ["1.2.3.4"]}], []),
        (
            "--from-ip 1.2.3.4 --from-ip 5.6.7.8 --not --to-ip 5.5.5.5 --verdict DROPPED -t l7",
            [{"source_ip": ["1.2.3.4", "5.6.7.8"], "verdict": ["DROPPED"], "event_type": [{"type": 129}]}],
            [{"destination_ip": ["5.5.5.5"]}],
        ),
        (
            "--ip 1.2.3.4 --ip 5.6.7.0/24 --verdict DROPPED --not --pod deathstar --not --protocol udp "
            "--node-name k8s*",
            [
                {"source_ip": ["1.2.3.4", "5.6.7.0/24"], "verdict": ["DROPPED"], "node_name": ["k8s*"]},
                {"destination_ip": ["1.2.3.4", "5.6.7.0/24"], "verdict": ["DROPPED"], "node_name": ["k8s*"]},
            ],
            [
                {"source_pod": ["deathstar"], "protocol": ["udp"]},
                {"destination_pod": ["deathstar"], "protocol": ["udp"]},
            ],
        ),
        (
            "-t 254 -t 255:127 -t trace:to-endpoint -t trace:from-endpoint -t 4:2 -t policy-verdict",
            [
                {
                    "event_type": [
                        {"type": 254},
                        {"type": 255, "match_sub_type": True, "sub_type": 127},
                        {"type": 4, "match_sub_type": True},
                        {"type": 4, "match_sub_type": True, "sub_type": 5},
                        {"type": 4, "match_sub_type": True, "sub_type": 2},
                        {"type": 5},
                    ]
                }
            ],
            [],
        ),
        (
            "-l k1=v1,k2=v2 --label k3",
            [{"source_label": ["k1=v1,k2=v2", "k3"]}, {"destination_label": ["k1=v1,k2=v2", "k3"]}],
            [],
        ),
        (
            "--from-pod cilium --to-workload app",
            [{"source_pod": ["cilium"], "destination_workload": [{"name": "app"}]}],
            [],
        ),
        (
            "--pod cilium --to-workload Deployment/app",
            [
                {"source_pod": ["cilium"], "destination_workload": [{"name": "app", "kind": "Deployment"}]},
                {"destination_pod": ["cilium"], "destination_workload": [{"name": "app", "kind": "Deployment"}]},
            ],
            [],
        ),
        ("--identity 1 --identity world", [{"source_identity": [1, 2]}, {"destination_identity": [1, 2]}], []),
        ("--to-identity 70000", [{"destination_identity": [70000]}], []),
        ("--port 80", [{"source_port": ["80"]}, {"destination_port": ["80"]}], []),
        ("-n shop", [{"source_pod": ["shop/"]}, {"destination_pod": ["shop/"]}], []),
        ("--from-namespace shop", [{"source_pod": ["shop/"]}], []),
        ("--to-namespace a --to-namespace b", [{"destination_pod": ["a/", "b/"]}], []),
        ("-n shop --pod web", [{"source_pod": ["shop/web"]}, {"destination_pod": ["shop/web"]}], []),
        ("--from-namespace a --from-pod x --from-pod a/y", [{"source_pod": ["a/x", "a/y"]}], []),
        ("--to-namespace a --to-service web", [{"destination_service": ["a/web"]}], []),
        ("-A", [{"source_pod": ["/"]}, {"destination_pod": ["/"]}], []),
        ("--to-all-namespaces --to-pod web", [{"destination_pod": ["/web"]}], []),
        ("--traffic-direction ingress", [{"traffic_direction": ["INGRESS"]}], []),
        ("--reply", [{"reply": [True]}], []),
        ("--not --reply", [], [{"reply": [True]}]),
        ("-4", [{"ip_version": ["IPv4"]}], []),
        ("--ipv6 --ip-version none", [{"ip_version": ["IPv6", "IP_NOT_USED"]}], []),
        ("--tcp-flags syn,ack --tcp-flags RST", [{"tcp_flags": [{"SYN": True, "ACK": True}, {"RST": True}]}], []),
        ("--drop-reason-desc POLICY_DENIED", [{"drop_reason_desc": ["POLICY_DENIED"]}], []),
        ("--verdict=DROPPED --protocol=TCP", [{"verdict": ["DROPPED"], "protocol": ["TCP"]}], []),
    ],
)
def test_filters(line: str, allow: list[Any], deny: list[Any]) -> None:
    assert json.loads(json.dumps(filters(line))) == [allow, deny]


CONFLICTS = [
    ("port", "to-port"),
    ("port", "from-port"),
    ("identity", "to-identity"),
    ("identity", "from-identity"),
    ("workload", "to-workload"),
    ("workload", "from-workload"),
    ("ip", "from-ip"),
    ("ip", "to-ip"),
    ("label", "from-label"),
    ("label", "to-label"),
    ("service", "from-service"),
    ("service", "to-service"),
    ("pod", "from-pod"),
    ("pod", "to-pod"),
    ("namespace", "from-namespace"),
    ("namespace", "to-namespace"),
    ("all-namespaces", "from-all-namespaces"),
    ("all-namespaces", "to-all-namespaces"),
    *(("ip", other) for other in ("pod", "from-pod", "to-pod", "namespace", "from-namespace", "to-namespace")),
    ("ip", "all-namespaces"),
    *(("from-ip", other) for other in ("from-pod", "pod", "from-namespace", "namespace", "all-namespaces")),
    *(("to-ip", other) for other in ("to-pod", "pod", "to-namespace", "namespace", "all-namespaces")),
    *(("namespace", other) for other in ("from-service", "to-service", "from-pod", "to-pod")),
]
SWITCHES = {flag.name for flag in FLAGS if not flag.value}
VALUES = {"ip": "1.1.1.1", "port": "80", "identity": "5"}


def use(name: str) -> list[str]:
    return [f"--{name}"] if name in SWITCHES else [f"--{name}", VALUES.get(name.rpartition("-")[2], "x")]


@pytest.mark.parametrize("pair", CONFLICTS)
def test_flags_that_cannot_be_combined(pair: tuple[str, str]) -> None:
    for one, other in (pair, pair[::-1]):
        with pytest.raises(FlagError, match=f"--{one} and --{other} cannot be combined"):
            parse_observe([*use(one), *use(other)], NOW)
        parse_observe([*use(one), "--not", *use(other)], NOW)  # one allows, the other denies: no conflict


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--from-ip 1.2.3.4 --not", "trailing --not"),
        ("--not --not --pod x", "consecutive --not"),
        ("--verdict MAYBE", "--verdict: 'MAYBE' is no verdict; expected one of FORWARDED, DROPPED"),
        ("--type nonsense", "'nonsense' is no event type"),
        ("--type trace:nonsense", "'nonsense' is no sub-type of trace"),
        ("--ip 1.2.3", "--ip: '1.2.3' is neither an IP address nor a CIDR"),
        ("--port http", "--port: 'http' is no port"),
        ("--to-port 65536", "'65536' is no port"),
        ("--protocol tpc", "unknown protocol 'tpc'"),
        ("--identity nobody", "'nobody' is no identity; expected a number or one of"),
        ("--label a=b=c", "label selector 'a=b=c'"),
        ("--drop-reason-desc NOPE", "'NOPE' is no drop reason"),
        ("--tcp-flags syn,xyz", "unknown TCP flag 'XYZ'"),
        ("--traffic-direction up", "'up' is no direction"),
        ("--ip-version 5", "'5' is no IP version"),
        ("-n a --pod b/c", "namespace conflict: 'b/c' is not in namespace a"),
        ("--last x", "--last x: expected a number"),
        ("--last", "--last needs a value"),
        ("--pods x", "unknown flag --pods; did you mean --pod?"),
        ("-z", "unknown flag -z"),
        ("x", "'x': observe takes flags only"),
        ("--last 3 --first 3", "cannot set both --first and --last"),
        ("--first 3 --all", "cannot set both --first and --all"),
        ("--first 3 -f", "cannot set both --first and --follow"),
        ("--last 3 --all", "cannot set both --last and --all"),
        ("--since yesterday", "--since: 'yesterday' is neither a duration"),
        ("-o yaml", "--output yaml: expected one of compact"),
        ("-f -o table", "table output is not possible with --follow"),
        ("--time-format 24h", "--time-format 24h: expected one of"),
        ("--color maybe", "--color maybe: expected one of"),
        ("--follow=perhaps", "--follow=perhaps: expected true or false"),
        ("--allowlist {", "invalid --allowlist"),
        ('--allowlist {"nodename":["x"]}', "invalid --allowlist: .*nodename"),
    ],
)
def test_clear_errors(line: str, message: str) -> None:
    with pytest.raises(FlagError, match=message):
        parse_observe(line.split(), NOW)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", {"number": 20}),
        ("--last 5", {"number": 5}),
        ("--first 5", {"number": 5, "first": True}),
        ("--all", {}),
        ("-f", {"follow": True}),
        ("-f --last 3", {"number": 3, "follow": True}),
        ("--since 90s", {"since": "2023-11-14T22:11:50Z"}),
        ("--since 2023-11-14 --until 1.5s", {"since": "2023-11-14T00:00:00Z", "until": "2023-11-14T22:13:18.500Z"}),
        ("-f --since 1h --until 1m", {"follow": True, "since": "2023-11-14T21:13:20Z"}),
        ('--allowlist {"verdict":["DROPPED"]}', {"number": 20, "whitelist": [{"verdict": ["DROPPED"]}]}),
        ('--denylist {"source_port":["53"]}', {"number": 20, "blacklist": [{"source_port": ["53"]}]}),
    ],
)
def test_how_many(line: str, expected: dict[str, Any]) -> None:
    assert json.loads(json.dumps(request(line).to_json())) == expected


def test_style() -> None:
    made = parse_observe(
        ["-fo", "json", "--numeric", "--print-node-name", "--time-format=rfc3339nano", "--color=never"], NOW
    )
    assert made.request.follow and made.color == "never"
    assert (made.style.output, made.style.ip_translation, made.style.node_name) == ("json", False, True)
    assert made.style.time_format == "RFC3339Nano"
    assert parse_observe(["-ojson"], NOW).style.output == "json"
    assert parse_observe(["-o=JSON"], NOW).style.output == "json"


def test_requests_travel_as_json() -> None:
    sent = request("-A --port 80 --not --label app!=x --since 5m --reply --tcp-flags syn --to-workload a/b")
    assert FlowsRequest.from_json(json.loads(json.dumps(sent.to_json()))) == sent
    for wrong, message in (
        ({"whitelist": [{"verdict": ["MAYBE"]}]}, r"verdict"),
        ({"whitelst": []}, "whitelst"),
        ({"number": "5"}, "number"),
        ([], "object"),
    ):
        with pytest.raises(ValueError, match=f"flow query: .*{message}"):
            FlowsRequest.from_json(wrong)


def test_every_filter_flag_reaches_a_filter() -> None:
    """No flag is parsed and then forgotten."""
    samples = {"verdict": "DROPPED", "type": "drop", "drop-reason-desc": "POLICY_DENY", "protocol": "tcp"}
    samples |= {"tcp-flags": "syn", "traffic-direction": "egress", "ip-version": "v4", "workload": "w"}
    samples |= {"http-status": "5+", "http-header": "x-a:b", "trace-id": "0af7651916cd43dd8448eb211c80319c"}
    for name in FilterBuilder.names - {"not"}:
        value = samples.get(name) or samples.get(name.rpartition("-")[2]) or VALUES.get(name.rpartition("-")[2], "x")
        made = parse_observe([f"--{name}", *([value] if name not in SWITCHES else [])], NOW).request
        assert made.whitelist and any(item.__struct_fields__ and made.to_json()["whitelist"] for item in made.whitelist)
        if name != "uuid":
            compile_request(made, NodeInfo("n"))
