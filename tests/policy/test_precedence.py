"""Truth tables: what wins, who is isolated, and what policy is not asked about."""

from __future__ import annotations

import pytest

from tests.policy.shop import (
    ADDRESSES,
    ALWAYS,
    API,
    HEADER,
    OUTSIDE,
    allowed_destinations,
    allowed_sources,
    ask,
    egress,
    ingress,
    network_policy,
    party,
    read,
    with_policies,
)
from weft.model.policy import Direction
from weft.model.verdicts import Verdict
from weft.policy.decide import decide, rule_order
from weft.policy.parties import Place


def test_deny_wins_over_every_allow_of_every_kind() -> None:
    """Cilium, "Deny Policies": regardless of which kind of policy allows (GO-2024-3208)."""
    allow = network_policy("  ingress:\n  - {}")
    deny = HEADER.replace("name: p", "name: denial") + "spec:\n" + API + "  ingressDeny:\n  - fromEntities: [world]"
    assert ask(allow, "world", "shop/api").forwarded
    decision = ask(allow + "\n---\n" + deny, "world", "shop/api")
    assert decision.reason is Verdict.POLICY_DENY
    assert decision.refused_by is Direction.INGRESS
    assert ask(allow + "\n---\n" + deny, "shop/db", "shop/api").forwarded


def test_each_direction_is_isolated_on_its_own() -> None:
    """Kubernetes: "isolation for egress and for ingress are independent"."""
    text = ingress("{}")
    assert allowed_destinations(text) == set(ADDRESSES)
    assert allowed_sources(text) == ALWAYS


@pytest.mark.parametrize(
    ("spec", "ingress_closed", "egress_closed"),
    [
        ("  ingress: [{}]", True, False),
        ("  egress: [{}]", False, True),
        ("  ingressDeny: [{fromEntities: [host]}]", True, False),
        ("  egressDeny: [{toEntities: [host]}]", False, True),
        ("  ingress: [{}]\n  enableDefaultDeny: {ingress: false}", False, False),
        ("  ingress: [{}]\n  enableDefaultDeny: {egress: true}", True, True),
        ("  egress: [{}]\n  enableDefaultDeny: {ingress: false, egress: true}", False, True),
    ],
)
def test_default_deny_of_a_cilium_policy(spec: str, ingress_closed: bool, egress_closed: bool) -> None:
    """Cilium API, EnableDefaultDeny: true for each direction that has rules, unless said otherwise."""
    text = HEADER + "spec:\n" + API + spec
    assert ask(text, "shop/db", "shop/api").forwarded is not ingress_closed
    assert ask(text, "shop/api", "shop/db").forwarded is not egress_closed


def test_one_policy_that_isolates_is_enough() -> None:
    loose = HEADER + "spec:\n" + API + "  enableDefaultDeny: {ingress: false}\n  ingress: [{fromEntities: [world]}]"
    strict = network_policy("  policyTypes: [Ingress]")
    assert allowed_sources(loose) == set(ADDRESSES)
    assert allowed_sources(loose + "\n---\n" + strict) == OUTSIDE | ALWAYS


def test_both_ends_must_agree_and_the_senders_is_asked_first() -> None:
    both = egress("{}", "  endpointSelector: {}\n") + "\n  ingress: [{}]"
    decision = ask(both, "shop/db", "shop/api")
    assert (decision.reason, decision.refused_by) == (Verdict.POLICY_DENIED, Direction.EGRESS)
    assert decision.ingress is not None
    assert not decision.ingress.allowed


def test_the_node_reaches_its_pods_but_pods_need_leave_to_reach_the_node() -> None:
    """Kubernetes: traffic from a pod's own node is always allowed; Cilium: egress to the host entity is policy."""
    denied = HEADER + "spec:\n" + API + "  ingressDeny: [{fromEntities: [all]}]\n  egress: [{}]"
    assert ask(denied, "host", "shop/api").forwarded
    assert ask(denied, "198.51.100.7", "shop/api").forwarded
    assert not ask(denied, "shop/api", "host").forwarded
    assert ask(egress("toEntities: [host]"), "shop/api", "198.51.100.7").forwarded


def test_a_pod_cannot_be_cut_off_from_itself() -> None:
    """Kubernetes: "a Pod cannot block access to itself"; by either of its addresses."""
    assert ask(ingress("{}"), "shop/api", "fd42::b").forwarded


def test_what_policy_is_not_asked_about() -> None:
    assert ask("", "shop/api", "10.43.0.5").reason is Verdict.IS_A_CLUSTERIP
    assert ask("", "shop/api", "10.42.0.99").reason is Verdict.UNKNOWN_TARGET
    assert ask("", "world", "10.42.0.99").reason is Verdict.UNKNOWN_TARGET
    assert ask(ingress("{}"), "host", "world").forwarded
    assert ask("", "host", "10.43.0.5").reason is Verdict.IS_A_CLUSTERIP


def test_the_first_rule_in_order_is_credited() -> None:
    """Kind, namespace, name, index: the compiler credits the same."""
    texts = [
        HEADER.replace("name: p", f"name: {name}") + "spec:\n" + API + f"  ingress: [{rules}]"
        for name, rules in (("b", "{fromEntities: [all]}"), ("a", "{fromEntities: [none]}, {fromEntities: [world]}"))
    ] + [network_policy("  ingress:\n  - {}")]
    decision = ask("\n---\n".join(texts), "world", "shop/api")
    assert decision.ingress is not None
    assert decision.ingress.rule is not None
    assert rule_order(decision.ingress.rule) == ("CiliumNetworkPolicy", "shop", "a", 1)


def test_all_specs_of_a_policy_count_as_one_list() -> None:
    specs = read(
        HEADER
        + "specs: [{endpointSelector: {}, ingress: [{}, {}], egress: [{}]}, {endpointSelector: {}, ingress: [{}]}]"
    )
    rules = [(rule.direction.name, rule.index) for spec in specs for rule in spec.rules]
    assert rules == [("INGRESS", 0), ("INGRESS", 1), ("EGRESS", 0), ("INGRESS", 2)]
    assert len({(rule.direction, rule.action, rule.index) for spec in specs for rule in spec.rules}) == 4


def test_a_policy_speaks_for_its_own_namespace_only() -> None:
    """GO-2023-2080: the same labels elsewhere are somebody else's pod."""
    text = egress("{}", "  endpointSelector: {matchLabels: {app: frontend}}\n")
    assert not ask(text, "shop/frontend", "world").forwarded
    assert ask(text, "other/frontend", "world").forwarded


def test_both_families_of_a_pod_are_one_pod() -> None:
    text = ingress("fromEndpoints: [{matchLabels: {app: frontend}}]")
    assert ask(text, "fd42::a", "fd42::b").forwarded
    assert not ask(text, "fd42::c", "fd42::b").forwarded


def test_parties() -> None:
    parties = with_policies(())
    places = {name: party(parties, name).place for name in ("shop/api", "host", "world", "10.43.1.1", "fd42::99")}
    assert list(places.values()) == [Place.POD, Place.HOST, Place.WORLD, Place.SERVICE, Place.UNASSIGNED]
    assert decide((), party(parties, "world"), party(parties, "shop/api")).forwarded
    with pytest.raises(ValueError, match="nonsense"):
        parties.at("nonsense")
