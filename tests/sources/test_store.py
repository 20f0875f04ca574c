"""The store: Kubernetes' semantics of apply and delete, all or nothing, and what survives a reopening."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.sources.builders import NOW, open_store, pod, read, service
from weft.model.origin import ManifestError
from weft.sources.errors import Forbidden, NotFound
from weft.sources.objects import Action, Change, Key
from weft.sources.store import Store

WEB = Key("Pod", "default", "web")
NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"
POLICY = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: allow, namespace: shop}
spec:
  endpointSelector: {}
  ingress:
    - fromEndpoints: [{}]
"""


def actions(store: Store, text: str) -> list[str]:
    return [applied.action.value for applied in store.apply(read(text))]


def keys(store: Store) -> set[str]:
    return {str(stored.key) for stored in store.objects()} - {"Namespace/default", "Namespace/kube-system"}


def test_apply_says_what_it_did(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    text = pod("web") + "---" + service("web")
    assert actions(store, text) == ["created", "created"]
    assert actions(store, text) == ["unchanged", "unchanged"]
    assert actions(store, pod("web", labels="app: other") + "---" + service("web")) == ["configured", "unchanged"]
    stored = store.get(WEB)
    assert (stored.uid, stored.generation, stored.created) == ("uid-3", 2, NOW)
    assert stored.obj.metadata.labels == {"app": "other"}


def test_moved_lines_are_noted_without_a_new_generation(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.apply(read(NAMESPACE + "---" + POLICY))
    seen: list[Change] = []
    store.subscribe(seen.extend)
    assert actions(store, "# a line more\n" + POLICY) == ["unchanged"]
    allow = store.get(Key("CiliumNetworkPolicy", "shop", "allow"))
    assert allow.generation == 1
    assert allow.resource.origin.line(("spec", "ingress", 0)) == 9
    assert allow.resource.excerpt.text(9).strip() == "- fromEndpoints: [{}]"
    assert [change.action for change in seen] == [Action.UNCHANGED]


def test_apply_is_all_or_nothing_and_names_every_fault(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    seen: list[Change] = []
    store.subscribe(seen.extend)
    before = store.revision
    with pytest.raises(ManifestError) as refused:
        store.apply(
            read(pod("ok") + "---" + pod("a", namespace="nowhere") + "---" + service("b", "clusterIP: 9.9.9.9"))
        )
    assert 'namespaces "nowhere" not found' in str(refused.value)
    assert "9.9.9.9 is not a usable address" in str(refused.value)
    assert (keys(store), seen, store.revision) == (set(), [], before)


def test_guard_sees_what_changes_and_can_refuse_it(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.apply(read(pod("same")))

    def refuse(changes: Sequence[Change]) -> None:
        assert [str(change.key) for change in changes] == ["Pod/default/web"]
        raise RuntimeError("the kernel's maps would overflow")

    with pytest.raises(RuntimeError):
        store.apply(read(pod("same") + "---" + pod("web")), guard=refuse)
    assert keys(store) == {"Pod/default/same"}


def test_dry_run_changes_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    applied = store.apply(read(NAMESPACE + "---" + pod("web", namespace="shop")), dry_run=True)
    assert [one.action for one in applied] == [Action.CREATED, Action.CREATED]
    assert keys(store) == set()


def test_namespace_may_come_after_what_is_in_it(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    text = pod("web", namespace="shop") + "---\n" + NAMESPACE
    assert [str(applied.stored.key) for applied in store.apply(read(text))] == ["Pod/shop/web", "Namespace/shop"]


def test_everything_survives_a_reopening(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.apply(read(NAMESPACE + "---" + POLICY + "---" + pod("web") + "---" + service("web")))
    store.set_status({WEB: {"phase": "Running"}})
    store.delete([WEB])
    objects, revision = store.objects(), store.revision
    store.close()
    again = open_store(tmp_path)
    assert again.objects() == objects
    assert again.revision == revision
    assert again.get(WEB).deleting == NOW
    assert (tmp_path / "store.db").stat().st_mode & 0o777 == 0o600


def test_status_is_beside_the_object(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.apply(read(pod("web")))
    seen: list[Change] = []
    stop = store.subscribe(seen.extend)
    store.set_status({WEB: {"phase": "Running"}, Key("Pod", "default", "gone"): {"phase": "Running"}})
    assert (store.get(WEB).status, store.get(WEB).generation) == ({"phase": "Running"}, 1)
    assert actions(store, pod("web")) == ["unchanged"]
    store.set_status({WEB: {"phase": "Running"}})
    assert len(seen) == 1
    stop()
    store.set_status({WEB: {"phase": "Failed"}})
    assert len(seen) == 1


def test_a_subscriber_may_change_the_store_and_all_hear_it_in_order(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    heard: list[object] = []

    def answer(changes: Sequence[Change]) -> None:
        if changes[0].old is None:
            store.set_status({WEB: {"phase": "Running"}})

    store.subscribe(answer)
    store.subscribe(lambda changes: heard.extend(change.new and change.new.status for change in changes))
    store.apply(read(pod("web")))
    assert heard == [{}, {"phase": "Running"}]


def test_what_may_not_change(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    deployment = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec: {selector: {matchLabels: {app: A}}, template: {metadata: {labels: {app: A}}, spec: {containers: [C]}}}
""".replace("C", "{name: main, command: [sleep], image: one}")
    store.apply(
        read(pod("web") + "---" + deployment.replace("A", "api") + "---" + service("web", "clusterIP: 10.96.0.9"))
    )
    for text, problem in (
        (pod("web").replace("infinity", "1h"), "test.yaml:5: spec: the spec of a pod may not change; delete it first"),
        (deployment.replace("A", "api2"), "spec.selector: may not change; delete it first"),
        (service("web", "clusterIP: 10.96.0.10"), "spec.clusterIP: may not change once set (it is 10.96.0.9)"),
        (service("web", "clusterIP: None"), "may not change once set"),
    ):
        with pytest.raises(ManifestError) as refused:
            store.apply(read(text))
        assert problem in str(refused.value)
    assert actions(store, deployment.replace("A", "api").replace("one", "two")) == ["configured"]


def test_a_pod_goes_when_it_has_stopped(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.apply(read(pod("web")))
    changes = store.delete([WEB])
    assert [(change.new is not None and change.new.deleting) for change in changes] == [NOW]
    assert store.delete([WEB]) == []
    with pytest.raises(ManifestError, match="is being deleted"):
        store.apply(read(pod("web")))
    store.remove(WEB)
    assert keys(store) == set()
    with pytest.raises(NotFound, match='pods "web" not found'):
        store.delete([WEB])
    assert actions(store, pod("web")) == ["created"]
    assert store.get(WEB).uid == "uid-4"


def test_a_namespace_with_pods_keeps_its_policies_until_the_last_has_stopped(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    pods = "---".join(pod(name, namespace="shop") for name in ("a", "b"))
    store.apply(read(NAMESPACE + "---" + POLICY + "---" + pods + "---" + service("web", namespace="shop")))
    store.delete([Key("Namespace", "", "shop")])
    with pytest.raises(ManifestError, match='namespace "shop" is being deleted'):
        store.apply(read(service("new", namespace="shop")))
    store.remove(Key("Pod", "shop", "a"))
    assert keys(store) == {
        "Namespace/shop",
        "CiliumNetworkPolicy/shop/allow",
        "Pod/shop/b",
        "Service/shop/web",
    }
    store.remove(Key("Pod", "shop", "b"))
    assert keys(store) == set()


def test_a_namespace_without_pods_goes_at_once(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.apply(read(NAMESPACE + "---" + POLICY))
    assert len(store.delete([Key("Namespace", "", "shop")])) == 2
    assert keys(store) == set()
    with pytest.raises(Forbidden, match='namespaces "default" may not be deleted'):
        store.delete([Key("Namespace", "", "default")])


def test_cluster_ips(tmp_path: Path) -> None:
    store = open_store(tmp_path)

    def ips(text: str) -> list[str]:
        return list(store.apply(read(text))[0].stored.obj.spec.cluster_ips)

    first = ips(service("web"))
    assert len(first) == 1
    assert first[0].startswith("10.96.0.")
    assert ips(service("web", "ipFamilyPolicy: PreferDualStack"))[0] == first[0]
    both = ips(service("web"))
    assert len(both) == 2
    assert ips(service("web", "ipFamilyPolicy: SingleStack")) == first
    assert ips(service("six", "ipFamilies: [IPv6]"))[0].startswith("fd00:96::")
    assert ips(service("asked", 'clusterIPs: ["FD00:96:0::7", 10.96.0.7], ipFamilyPolicy: RequireDualStack')) == [
        "fd00:96::7",
        "10.96.0.7",
    ]
    assert ips(service("head", "clusterIP: None")) == ["None"]
    for text, problem in (
        (service("late", "clusterIP: 10.96.0.7"), "10.96.0.7 belongs to Service/default/asked"),
        (service("late", "clusterIP: 10.96.0.255"), "not a usable address"),
        (service("late", "clusterIPs: [10.96.0.8, 'fd00:96::8']"), "is SingleStack; expected PreferDualStack or"),
        (service("late", "ipFamilies: [IPv6, IPv4]"), "is SingleStack"),
    ):
        with pytest.raises(ManifestError) as refused:
            ips(text)
        assert problem in str(refused.value)
    store.delete([Key("Service", "default", "asked")])
    assert ips(service("late", "clusterIP: 10.96.0.7")) == ["10.96.0.7"]


def test_cluster_ips_run_out_but_none_is_given_twice(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    applied = store.apply(read("---".join(service(f"s{number}") for number in range(254))))
    taken = [one.stored.obj.spec.cluster_ip for one in applied]
    assert len(set(taken)) == 254
    with pytest.raises(ManifestError, match=r"no free address in the service CIDR 10\.96\.0\.0/24"):
        store.apply(read(service("more")))


def test_the_same_manifests_get_the_same_addresses(tmp_path: Path) -> None:
    text = "---".join(service(f"s{number}") for number in range(20))
    given = []
    for name in ("a", "b"):
        store = open_store(tmp_path / name)
        given.append([one.stored.obj.spec.cluster_ip for one in store.apply(read(text))])
    assert given[0] == given[1]
