"""What an http rule means, field by field; and what the position in a broken expression is."""

from __future__ import annotations

import pytest

from tests.policy.shop import read
from weft.agent.explaining import request_of
from weft.api.server import Refusal
from weft.model.http import HeaderMatch, HttpMatch, HttpPermission, Mismatch
from weft.model.net import RuleId
from weft.model.origin import ManifestError, Origin
from weft.model.policy import PortMatch
from weft.policy.digests import rule_digest
from weft.policy.http import Request, judge, mismatches
from weft.policy.regex import check
from weft.policy.spot import Spot

POLICY = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: p, namespace: shop}
spec:
  endpointSelector: {}
  ingress:
  - toPorts:
    - ports: [{port: "80", protocol: TCP}]
      rules: {http: RULES}
"""


def http(rules: str) -> tuple[HttpMatch, ...] | None:
    ((port,),) = (rule.ports for spec in read(POLICY.replace("RULES", rules)) for rule in spec.rules)
    assert isinstance(port, PortMatch)
    return port.http


def test_what_is_written_is_what_is_meant() -> None:
    assert http("[]") is None
    assert http("[{}]") == (HttpMatch(),)
    assert http("[{method: GET, path: /a, host: b}, {method: GET, path: /a, host: b}]") == (
        HttpMatch("GET", "/a", "b"),
    )
    headers = "[{headers: ['X-Any', 'X-Colon: a b', 'X-None c'], headerMatches: [{name: X-Log, mismatch: LOG}]}]"
    assert http(headers) == (
        HttpMatch(
            headers=(
                HeaderMatch("x-any", None),
                HeaderMatch("x-colon", "a b"),
                HeaderMatch("x-none", "c"),
                HeaderMatch("x-log", None, Mismatch.LOG),
            )
        ),
    )


def test_other_http_is_another_rule() -> None:
    rules = ("[]", "[{}]", "[{path: /a}]", "[{host: /a}]", "[{headers: [a]}]", "[{headers: [a b]}]")
    rules += ("[{headerMatches: [{name: a, mismatch: LOG}]}]", "[{path: /a}, {}]", "[{}, {path: /a}]")
    found = [rule_digest(rule) for text in rules for spec in read(POLICY.replace("RULES", text)) for rule in spec.rules]
    assert len(set(found)) == len(rules)


@pytest.mark.parametrize(
    ("match", "request_", "passes"),
    [
        (HttpMatch(), Request("BREW", "/"), True),
        (HttpMatch(method="GET|HEAD"), Request("HEAD", "/"), True),
        (HttpMatch(method="GET"), Request("GETS", "/"), False),
        (HttpMatch(path="/a"), Request("GET", "/a"), True),
        (HttpMatch(path="/a"), Request("GET", "/a/b"), False),
        (HttpMatch(path="/a"), Request("GET", "/a?b"), False),
        (HttpMatch(path="/a/.*"), Request("GET", "/a/../b"), False),
        (HttpMatch(path="/b"), Request("GET", "/a/..//b"), True),
        (HttpMatch(path="/a/.*"), Request("GET", "/a/%2fb"), False),
        (HttpMatch(host="h(:80)?"), Request("GET", "/", "h:80"), True),
        (HttpMatch(host="h"), Request("GET", "/", "h:80"), False),
        (HttpMatch(headers=(HeaderMatch("a", None),)), Request("GET", "/", "", {"a": ""}), True),
        (HttpMatch(headers=(HeaderMatch("a", "b"),)), Request("GET", "/", "", {"a": "b,b"}), False),
        (
            HttpMatch(headers=(HeaderMatch("a", "b"), HeaderMatch("c", None))),
            Request("GET", "/", "", {"a": "b"}),
            False,
        ),
        (HttpMatch(headers=(HeaderMatch("a", "b", Mismatch.REPLACE),)), Request("GET", "/"), True),
    ],
)
def test_requests(match: HttpMatch, request_: Request, passes: bool) -> None:
    assert (judge([HttpPermission(RuleId(1), match)], request_) is not None) == passes


def test_the_first_that_fits_is_credited_and_its_headers_are_seen_to() -> None:
    wanted = (HeaderMatch("a", "b", Mismatch.ADD), HeaderMatch("c", None, Mismatch.LOG))
    permissions = [
        HttpPermission(RuleId(n), HttpMatch(path=path, headers=wanted)) for n, path in enumerate(("/x", "/.*"))
    ]
    found = judge(permissions, Request("GET", "/x"))
    assert found is not None and found.rule == 0
    assert mismatches(found.match, Request("GET", "/x", "", {"a": "b"})) == wanted[1:]


@pytest.mark.parametrize(
    ("expression", "place"),
    [("(a)(b", 3), ("a)b", 1), ("(a(b)", 0), (r"a\(b(", 4), ("a**", 1), (r"\(\1", 2), ("(a|b)(?<=c)", 5), ("[b-a]", 1)],
)
def test_errors_name_the_place(expression: str, place: int) -> None:
    with pytest.raises(ManifestError, match=f"at character {place + 1}: "):
        check(expression, Spot(Origin("p.yaml", {})))


def test_a_request_is_written_as_clients_write_it() -> None:
    written = {"method": "GET", "path": "/", "headers": ["X-A: b", "x-a:c", "Via:"]}
    assert request_of(written, "web:80") == Request("GET", "/", "web", {"x-a": "b,c", "via": ""})
    assert request_of(written, "web:8080/TCP").host == "web:8080"
    assert request_of({**written, "headers": ["Host: shop.example"]}, "web:80").host == "shop.example"
    with pytest.raises(Refusal, match='"X-A" is not a header; expected "name: value"'):
        request_of({**written, "headers": ["X-A"]}, "web:80")


@pytest.mark.parametrize("path", ["/a/%2e%2e;/b", "/a/%2e;x/b"])
def test_dots_with_parameters_pass_no_rule(path: str) -> None:
    assert judge([HttpPermission(RuleId(1), HttpMatch())], Request("GET", path)) is None
