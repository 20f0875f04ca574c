"""Truth tables: who is meant by the peers of a rule, as upstream's documents say."""

from __future__ import annotations

import pytest

from tests.policy.shop import (
    ALWAYS,
    API,
    CLUSTERWIDE,
    OUTSIDE,
    PODS,
    allowed_destinations,
    allowed_sources,
    ask,
    egress,
    ingress,
    network_policy,
)
from weft.model.labels import LabelSet
from weft.model.policy import LabelSelector
from weft.policy.select import matches


@pytest.mark.parametrize(
    ("peers", "expected"),
    [
        ("fromEndpoints: [{}]", {"shop/frontend", "shop/db"}),
        ("fromEndpoints: []", set()),
        ("fromEndpoints: [{matchLabels: {app: frontend}}]", {"shop/frontend"}),
        ("fromEndpoints: [{matchLabels: {'any:app': frontend}}]", {"shop/frontend"}),
        ("fromEndpoints: [{matchLabels: {'k8s:app': frontend}}]", {"shop/frontend"}),
        (
            "fromEndpoints: [{matchLabels: {'k8s:io.kubernetes.pod.namespace': other, app: frontend}}]",
            {"other/frontend"},
        ),
        ("fromEndpoints: [{matchLabels: {io.kubernetes.pod.namespace: other}}]", {"other/frontend", "other/intruder"}),
        (
            "fromEndpoints: [{matchExpressions: [{key: io.kubernetes.pod.namespace, operator: Exists}]}]",
            PODS,
        ),
        (
            "fromEndpoints: [{matchExpressions: [{key: io.kubernetes.pod.namespace, operator: DoesNotExist}]}]",
            set(),
        ),
        (
            "fromEndpoints: [{matchLabels: {'k8s:io.cilium.k8s.namespace.labels.team': other}}]",
            {"other/frontend", "other/intruder"},
        ),
        ("fromEndpoints: [{matchLabels: {'k8s:io.cilium.k8s.policy.serviceaccount': web}}]", {"shop/frontend"}),
        (
            "fromEndpoints: [{matchExpressions: [{key: app, operator: NotIn, values: [frontend]}]}]",
            {"shop/db"},
        ),
        ("fromEndpoints: [{matchExpressions: [{key: tier, operator: Exists}]}]", {"shop/frontend"}),
        ("fromEndpoints: [{matchExpressions: [{key: tier, operator: DoesNotExist}]}]", {"shop/db"}),
        ("fromEndpoints: [{matchLabels: {app: frontend, tier: api}}]", set()),
        ("fromEndpoints: [{matchLabels: {pod-template-hash: 5d4}}]", set()),
        ("fromEndpoints: [{matchLabels: {'reserved:world': ''}}]", OUTSIDE),
        ("fromEndpoints: [{matchLabels: {'reserved:host': ''}}]", set()),
        ("fromEntities: [all]", {*PODS, *OUTSIDE}),
        ("fromEntities: [none]", set()),
        ("fromEntities: []", set()),
        ("fromEntities: [world]", OUTSIDE),
        ("fromEntities: [world-ipv4]", {"world", "legacy"}),
        ("fromEntities: [world-ipv6]", {"world6"}),
        ("fromEntities: [cluster]", PODS),
        ("fromEntities: [remote-node, kube-apiserver, init, health, unmanaged, ingress]", set()),
        ("fromCIDR: [0.0.0.0/0]", {"world", "legacy"}),
        ("fromCIDR: ['::/0']", {"world6"}),
        ("fromCIDR: [10.42.0.0/16, 203.0.113.9]", {"world"}),
        ("fromCIDR: []", set()),
        ("fromCIDRSet: [{cidr: 0.0.0.0/0, except: [203.0.113.0/24]}]", {"legacy"}),
        ("fromCIDRSet: [{cidr: 203.0.113.0/24, except: [203.0.113.0/24]}]", set()),
        ("toPorts: [{ports: [{port: '80'}]}]", {*PODS, *OUTSIDE}),
    ],
)
def test_peers_of_a_cilium_rule(peers: str, expected: set[str]) -> None:
    assert allowed_sources(ingress(peers)) == expected | ALWAYS


def test_an_empty_cilium_rule_allows_nothing() -> None:
    """Cilium, "Ingress/Egress Default Deny"."""
    assert allowed_sources(ingress("{}")) == ALWAYS
    assert allowed_destinations(egress("{}")) == {"shop/api"}


def test_a_clusterwide_rule_for_every_endpoint_never_means_the_world() -> None:
    text = CLUSTERWIDE + "spec:\n" + API + "  ingress:\n  - fromEndpoints: [{}]"
    assert allowed_sources(text) == PODS | ALWAYS


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("from: []", {*PODS, *OUTSIDE}),
        ("{}", {*PODS, *OUTSIDE}),
        ("from: [{podSelector: {}}]", {"shop/frontend", "shop/db"}),
        ("from: [{namespaceSelector: {}}]", PODS),
        ("from: [{namespaceSelector: {matchLabels: {team: other}}}]", {"other/frontend", "other/intruder"}),
        (
            "from: [{namespaceSelector: {matchExpressions: [{key: team, operator: NotIn, values: [other]}]}}]",
            {"shop/frontend", "shop/db", "kube-system/dns"},
        ),
        (
            "from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}}]",
            {"kube-system/dns"},
        ),
        (
            "from: [{namespaceSelector: {matchLabels: {env: prod}}, podSelector: {matchLabels: {app: frontend}}}]",
            {"shop/frontend", "other/frontend"},
        ),
        ("from: [{ipBlock: {cidr: 10.42.0.0/28}}]", {"shop/frontend", "shop/db"}),
        ("from: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.42.0.0/24]}}]", {"world", "legacy"}),
        ("from: [{ipBlock: {cidr: '::/0'}}]", {"world6"}),
    ],
)
def test_peers_of_a_network_policy(rule: str, expected: set[str]) -> None:
    """Kubernetes API reference, NetworkPolicyPeer; ``from: []`` "matches all sources"."""
    assert allowed_sources(network_policy("  ingress:\n  - " + rule)) == expected | ALWAYS


@pytest.mark.parametrize(
    ("services", "expected"),
    [
        ("{k8sService: {serviceName: legacy, namespace: shop}}", {"legacy"}),
        ("{k8sService: {serviceName: legacy}}", {"legacy"}),
        ("{k8sService: {serviceName: legacy, namespace: other}}", set()),
        ("{k8sService: {serviceName: product-api}}", set()),
        ("{k8sServiceSelector: {selector: {}, namespace: shop}}", {"legacy"}),
        ("{k8sServiceSelector: {selector: {matchLabels: {exposed: 'no'}}}}", {"legacy"}),
        ("", set()),
    ],
)
def test_services_are_what_answers_for_them_and_never_everybody(services: str, expected: set[str]) -> None:
    """A reference that finds nothing allows nothing (CVE-2025-64715). shop/api itself is the backend of product-api."""
    assert allowed_destinations(egress(f"toServices: [{services}]")) == expected | {"shop/api"}


def test_a_service_with_a_selector_is_its_pods() -> None:
    text = egress(
        "toServices: [{k8sService: {serviceName: product-api, namespace: shop}}]",
        "  endpointSelector: {matchLabels: {app: frontend}}\n",
    )
    assert ask(text, "shop/frontend", "shop/api").forwarded
    assert not ask(text, "shop/frontend", "shop/db").forwarded


def test_nobody_is_found_by_any_label_selector_if_nobody_knows_who_it_is() -> None:
    assert not matches(LabelSelector(), LabelSet(), bytes(16))
    text = ingress("fromEntities: [cluster, world]")
    assert not ask(text, "10.42.0.99", "shop/api").forwarded
