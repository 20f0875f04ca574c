"""Identities are functions of labels that nobody can forge."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.identity import is_identity_relevant, labels_of, number, number_all, numbers, reserved_labels, spiffe_id
from weft.model.identity import FIRST_DYNAMIC, Reserved
from weft.model.labels import LabelSet
from weft.model.net import IdentityId
from weft.model.objects import Namespace, NamespacedName, Workload

SHOP = Namespace("shop", {"team": "a"})


def workload(labels: dict[str, str], account: str = "web") -> Workload:
    return Workload(NamespacedName("shop", "web-0"), labels, account, "node", (ip_address("10.0.0.1"),))


def test_a_pod_has_its_own_labels_and_those_of_its_namespace_account_and_cluster() -> None:
    assert labels_of(workload({"app": "web", "app.kubernetes.io/name": "web"}), SHOP, "home").spelled() == [
        "k8s:app=web",
        "k8s:app.kubernetes.io/name=web",
        "k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=shop",
        "k8s:io.cilium.k8s.namespace.labels.team=a",
        "k8s:io.cilium.k8s.policy.cluster=home",
        "k8s:io.cilium.k8s.policy.serviceaccount=web",
        "k8s:io.kubernetes.pod.namespace=shop",
    ]


@pytest.mark.parametrize(
    "key",
    [
        "pod-template-hash",
        "pod-template-generation",
        "controller-revision-hash",
        "controller-uid",
        "statefulset.kubernetes.io/pod-name",
        "apps.kubernetes.io/pod-index",
        "batch.kubernetes.io/job-completion-index",
        "batch.kubernetes.io/controller-uid",
        "io.kubernetes.anything",
        "kubernetes.io/hostname",
        "topology.beta.kubernetes.io/zone",
        "k8s.io/anything",
        "annotation.x",
        "etcd_node",
    ],
)
def test_labels_that_differ_between_replicas_or_mean_nothing_are_left_out(key: str) -> None:
    """Cilium's documentation, "Limiting Identity-Relevant Labels": the default list."""
    assert not is_identity_relevant(key)
    assert labels_of(workload({key: "x"}), SHOP, "c") == labels_of(workload({}), SHOP, "c")


@pytest.mark.parametrize(
    "key",
    [
        "io.kubernetes.pod.namespace",
        "io.cilium.k8s.policy.serviceaccount",
        "io.cilium.k8s.policy.cluster",
        "io.cilium.k8s.namespace.labels.team",
        "io.cilium.k8s.namespace.labels.env",
        "reserved:host",
        "k8s:io.kubernetes.pod.namespace",
    ],
)
def test_a_pods_own_labels_cannot_pass_for_another_namespace_account_or_entity(key: str) -> None:
    """GO-2023-2078."""
    assert labels_of(workload({key: "kube-system"}), SHOP, "c") == labels_of(workload({}), SHOP, "c")


def test_a_namespaces_own_labels_cannot_rename_it() -> None:
    forged = Namespace("shop", {"kubernetes.io/metadata.name": "kube-system"})
    labels = labels_of(workload({}), forged, "c")
    assert labels["k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name"] == "shop"


def test_labels_of_somebody_elses_namespace_are_refused() -> None:
    with pytest.raises(ValueError, match="shop/web-0 is not in namespace other"):
        labels_of(workload({}), Namespace("other"), "c")


def test_reserved_identities_have_ciliums_numbers() -> None:
    for identity in Reserved:
        if identity is not Reserved.UNKNOWN:
            assert number(reserved_labels(identity), {}) == identity
    assert number(LabelSet(), {}) == Reserved.UNKNOWN
    assert reserved_labels(Reserved.WORLD_IPV6).spelled() == ["reserved:world", "reserved:world-ipv6"]
    assert number(reserved_labels(Reserved.HOST, Reserved.KUBE_APISERVER), {}) == Reserved.HOST


SETS = st.lists(
    st.dictionaries(st.sampled_from("abcd").map("k8s:".__add__), st.sampled_from("xyz"), min_size=1).map(LabelSet),
    min_size=1,
    max_size=12,
)


@given(SETS)
@settings(derandomize=True, deadline=None)
def test_numbers_depend_on_the_labels_alone(sets: list[LabelSet]) -> None:
    together = number_all(sets, {})
    assert set(together.values()) == set(sets)
    assert min(together) >= FIRST_DYNAMIC
    assert max(together) < 1 << 32
    assert number_all(reversed(sets), {}) == together
    assert number_all(sets, together) == together


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Five numbers for everybody, so that collisions are the rule."""
    monkeypatch.setattr(numbers, "_RANGE", 5)
    yield


def test_collisions_are_resolved_alike_in_any_order(narrow: None) -> None:
    sets = [LabelSet({"k8s:app": name}) for name in "abcde"]
    results = [number_all(order, {}) for order in permutations(sets)]
    assert sorted(results[0]) == [FIRST_DYNAMIC + offset for offset in range(5)]
    assert all(result == results[0] for result in results)


def test_a_number_in_use_is_never_given_to_others(narrow: None) -> None:
    first, second = LabelSet({"k8s:app": "a"}), LabelSet({"k8s:app": "b"})
    taken = {IdentityId(FIRST_DYNAMIC + offset): first for offset in range(4)}
    assert number(second, taken) == FIRST_DYNAMIC + 4
    assert number(first, taken) in taken


def test_spiffe_id() -> None:
    assert spiffe_id(workload({}), "weft.local") == "spiffe://weft.local/ns/shop/sa/web"
    assert spiffe_id(workload({}, account=""), "weft.local") == "spiffe://weft.local/ns/shop/sa/default"


def test_a_label_set_is_a_mapping_whose_like_share_their_keys() -> None:
    one, other = LabelSet({"k8s:b": "2", "k8s:a": "1"}), LabelSet([("k8s:a", "1"), ("k8s:b", "3")])
    assert list(one) == ["k8s:a", "k8s:b"] and dict(one) == {"k8s:a": "1", "k8s:b": "2"} == dict(one.items())
    assert (one["k8s:b"], one.get("k8s:b"), one.get("k8s:c"), one.get("k8s:c", "-")) == ("2", "2", None, "-")
    assert "k8s:a" in one and "k8s:c" not in one and len(one) == 2
    with pytest.raises(KeyError, match="k8s:c"):
        one["k8s:c"]
    assert one == LabelSet(dict(one)) and hash(one) == hash(LabelSet(dict(one))) and one != other
    assert one._keys is other._keys
    assert not LabelSet() and LabelSet() == LabelSet([])
