"""What must hold for every policy: explanations agree with decisions, and nothing written down makes us stumble."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.policy.shop import read
from tests.property.worlds import PORTS, addresses, worlds
from weft.model.origin import ManifestError
from weft.model.policy import Action
from weft.policy.decide import decide, rule_matches
from weft.policy.explain import explain
from weft.policy.lint import lint
from weft.policy.parties import Parties
from weft.policy.render import render, to_json
from weft.policy.select import selects


@given(st.data(), worlds())
@settings(max_examples=300, deadline=None, derandomize=True)
def test_explanations_agree_with_decisions(data: st.DataObject, world: Any) -> None:
    parties = Parties(world)
    ends = st.sampled_from(addresses(world)).map(parties.at)
    source, destination = data.draw(ends), data.draw(ends)
    protocol, port = data.draw(st.sampled_from(PORTS))
    found = explain(parties.specs, source, destination, protocol, port)
    assert found.decision == decide(parties.specs, source, destination, protocol, port)
    assert render(found)
    assert json.dumps(to_json(found))
    for side in found.sides:
        counts = [len(miss.failures) for miss in side.near_misses]
        assert counts == sorted(counts)
        assert 0 not in counts
        ingress = side.direction.name == "INGRESS"
        for miss in side.near_misses:
            assert miss.rule.action is Action.ALLOW
            fits = rule_matches(miss.rule, side.peer, protocol, port, side.subject if ingress else side.peer)
            assert not (fits and miss.selects_subject)
        candidates = [
            rule
            for spec in parties.specs
            if selects(spec.subject, side.subject.labels)
            for rule in spec.rules
            if rule.direction is side.direction and rule.action is Action.ALLOW
        ]
        refused_by_default = not side.side.allowed and side.side.rule is None
        assert not candidates or not refused_by_default or side.near_misses


@given(worlds())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_lint_finds_words_for_every_policy(world: Any) -> None:
    specs = [spec for policy in world.policies.values() for spec in policy]
    assert all(str(warning) for warning in lint(specs, world))


WHOLE = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: p, namespace: shop, labels: {a: b}}
spec:
  description: all there is
  endpointSelector: {matchLabels: {app: a}, matchExpressions: [{key: b, operator: In, values: [c]}]}
  enableDefaultDeny: {ingress: true, egress: false}
  ingress:
  - fromEndpoints: [{matchLabels: {'k8s:app': a}}]
    toPorts: [{ports: [{port: '80', endPort: 90, protocol: TCP}, {port: http}]}]
  - fromCIDRSet: [{cidr: 10.0.0.0/8, except: [10.1.0.0/16]}]
  - fromEntities: [world]
    icmps: [{fields: [{type: 8, family: IPv4}]}]
  ingressDeny:
  - fromCIDR: [10.0.0.1]
  egress:
  - toServices: [{k8sService: {serviceName: a, namespace: b}}, {k8sServiceSelector: {selector: {}, namespace: c}}]
  egressDeny:
  - toEntities: [host]
"""
KUBERNETES = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p}
spec:
  podSelector: {matchLabels: {app: a}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{podSelector: {}, namespaceSelector: {}}, {ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]
    ports: [{port: 80, endPort: 90, protocol: UDP}, {port: http}]
  egress:
  - to: []
"""
DOCUMENTS = [yaml.safe_load(text) for text in (WHOLE, KUBERNETES)]
JUNK = st.sampled_from(
    [
        None,
        [],
        {},
        "",
        "x",
        "-",
        "10.0.0.0/8",
        "0",
        0,
        -1,
        1.5,
        True,
        [None],
        [[]],
        [{}],
        {"": None},
        {"a": "b"},
        "é" * 300,
    ]
)
Path = tuple[str | int, ...]


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from paths(item, (*path, key))


def put(document: Any, path: Path, junk: Any) -> Any:
    changed = copy.deepcopy(document)
    at = changed
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = junk
    return changed


@given(st.sampled_from(DOCUMENTS), st.data(), JUNK)
@settings(max_examples=600, deadline=None, derandomize=True)
def test_a_document_is_understood_or_refused_by_name(document: Any, data: st.DataObject, junk: Any) -> None:
    path = data.draw(st.sampled_from([path for path in paths(document) if path]))
    text = yaml.safe_dump(put(document, path, junk), allow_unicode=True)
    try:
        read(text)
    except ManifestError as refused:
        assert str(refused).startswith("p.yaml:")


@given(st.sampled_from(DOCUMENTS), st.data())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_null_in_a_policy_is_never_passed_over(document: Any, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from([path for path in paths(document) if path[:1] == ("spec",)]))
    try:
        read(yaml.safe_dump(put(document, path, None)))
    except ManifestError as refused:
        assert "null" in str(refused) or "enforce" in str(refused)
    else:
        raise AssertionError(f"null at {path} was accepted")
