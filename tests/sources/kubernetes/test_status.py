"""What came of objects, written back: conditions, parents of routes, Events; by one agent of several."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cluster import Cluster, cgroups
from cluster.processes import until
from tests.sources.kubernetes.following import Following
from tests.sources.kubernetes.rest import Rest
from weft.model.objects import NamespacedName
from weft.model.policy import PolicyRef
from weft.model.route import RouteRef
from weft.sources.kubernetes import flaws
from weft.sources.objects import Key
from weft.sources.routestatus import CONTROLLER

Json = dict[str, Any]
GOOD = {"endpointSelector": {"matchLabels": {"app": "web"}}, "ingress": [{}]}
BAD = {"endpointSelector": {"matchLabels": {"app": "web"}}, "ingres": [{}]}


def condition(rest: Rest, kind: str, namespace: str, name: str) -> Json:
    """Its condition Valid."""
    found = rest.get(kind, namespace, name).get("status", {}).get("conditions", ())
    return next((one for one in found if one["type"] == "Valid"), {})


def events(rest: Rest, namespace: str, name: str) -> list[Json]:
    return [one for one in rest.list("Event", namespace) if one["involvedObject"]["name"] == name]


def says(rest: Rest, kind: str, namespace: str, name: str, status: str) -> Json:
    """The condition Valid as soon as it has this status."""

    def found() -> Json:
        one = condition(rest, kind, namespace, name)
        return one if one.get("status") == status else {}

    return until(found, f"{kind} {name} is Valid: {status}")


def test_a_policy_is_said_to_be_valid(rest: Rest, namespace: str, following: Following) -> None:
    rest.create("CiliumNetworkPolicy", namespace, "web", spec=GOOD)
    valid = says(rest, "CiliumNetworkPolicy", namespace, "web", "True")
    assert valid["message"] == "Policy validation succeeded"
    before = rest.get("CiliumNetworkPolicy", namespace, "web")["metadata"]["resourceVersion"]
    key = Key("CiliumNetworkPolicy", namespace, "web")
    until(lambda: following.source.get(key).revision == int(before), "the status is seen")
    rest.create("CiliumNetworkPolicy", namespace, "later", spec=GOOD)
    says(rest, "CiliumNetworkPolicy", namespace, "later", "True")
    after = rest.get("CiliumNetworkPolicy", namespace, "web")["metadata"]["resourceVersion"]
    assert before == after, "what is right is not written again"


def test_a_policy_that_is_refused(rest: Rest, namespace: str, following: Following) -> None:
    ref = PolicyRef("CiliumNetworkPolicy", namespace, "web")
    rest.create("CiliumNetworkPolicy", namespace, "web", spec=GOOD)
    valid = following.until(lambda world: world.policies[ref], "the policy")
    first = says(rest, "CiliumNetworkPolicy", namespace, "web", "True")
    rest.patch("CiliumNetworkPolicy", namespace, "web", spec={"ingres": [{}]})
    refused = says(rest, "CiliumNetworkPolicy", namespace, "web", "False")
    assert "spec.ingres: unknown field" in refused["message"]
    assert "last valid version stays in force" in refused["message"]
    assert refused["lastTransitionTime"] >= first["lastTransitionTime"]
    assert following.world.policies[ref] == valid
    (event,) = until(lambda: events(rest, namespace, "web"), "an event")
    assert "spec.ingres" in event["message"] and event["type"] == "Warning"
    assert event["involvedObject"]["uid"] == rest.get("CiliumNetworkPolicy", namespace, "web")["metadata"]["uid"]
    rest.patch("CiliumNetworkPolicy", namespace, "web", spec={"ingres": None})
    says(rest, "CiliumNetworkPolicy", namespace, "web", "True")
    rest.patch("CiliumNetworkPolicy", namespace, "web", spec={"ingres": [{}]})
    until(lambda: [one["count"] for one in events(rest, namespace, "web")] == [2], "the same event is counted")


BAD_OBJECTS: list[tuple[str, Json, str]] = [
    ("CiliumNetworkPolicy", {"spec": BAD}, "spec.ingres"),
    ("CiliumNetworkPolicy", {"spec": {"ingress": [{}]}}, "spec: endpointSelector is missing"),
    (
        "CiliumNetworkPolicy",
        {"spec": {**GOOD, "ingress": [{"toPorts": [{"ports": [{"port": "80", "protocol": "TCCP"}]}]}]}},
        "spec.ingress[0].toPorts[0].ports[0].protocol",
    ),
    ("CiliumNetworkPolicy", {"spec": {**GOOD, "ingress": None}}, "spec"),
    ("CiliumNetworkPolicy", {"spec": "text"}, "spec"),
    ("CiliumNetworkPolicy", {}, "spec"),
    (
        "CiliumNetworkPolicy",
        {"spec": {**GOOD, "endpointSelector": {"matchExpressions": [{"key": "app", "operator": "Inn"}]}}},
        "spec.endpointSelector.matchExpressions[0].operator",
    ),
    ("HTTPRoute", {"spec": {"rules": [{"matches": [{"path": {"type": "Prefix"}}]}]}}, "spec.rules[0].matches[0].path"),
    ("GRPCRoute", {"spec": {"rules": 7}}, "spec.rules"),
    ("ReferenceGrant", {"spec": {"from": []}}, "spec"),
    ("Service", {"spec": {"clusterIP": "None", "selector": {"app": "web"}}}, "spec.ports"),
    (
        "EndpointSlice",
        {
            "addressType": "FQDN",
            "endpoints": [{"addresses": ["example.org"]}],
            "metadata": {"labels": {"kubernetes.io/service-name": "bad"}},
        },
        "addressType",
    ),
]


@pytest.mark.parametrize(("kind", "body", "field"), BAD_OBJECTS)
def test_a_bad_object_gets_an_event_that_names_the_field(
    rest: Rest, namespace: str, following: Following, kind: str, body: Json, field: str
) -> None:
    rest.create(kind, namespace, "bad", **body)
    rest.create("NetworkPolicy", namespace, "good", spec={"podSelector": {}})
    (event,) = until(lambda: events(rest, namespace, "bad"), "an event")
    assert field in event["message"]
    following.until(lambda world: world.policies[PolicyRef("NetworkPolicy", namespace, "good")], "the others go on")
    if kind == "CiliumNetworkPolicy":
        assert field in says(rest, kind, namespace, "bad", "False")["message"]


@pytest.fixture
def nobody_allocates(control_plane: Cluster) -> Iterator[None]:
    """The controller manager stands still."""
    frozen = cgroups.unified(control_plane.control_plane.name, "kube-controller-manager") / "cgroup.freeze"
    frozen.write_text("1")
    until(lambda: "frozen 1" in frozen.with_name("cgroup.events").read_text(), "it stands still")
    yield
    frozen.write_text("0")


@pytest.mark.usefixtures("nobody_allocates")
def test_a_node_without_pod_cidrs(rest: Rest, following: Following, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flaws, "NODE_DELAY", 0.5)
    rest.create("Node", "", "bare", status={"addresses": [{"type": "InternalIP", "address": "192.0.2.77"}]})
    try:
        assert following.until(lambda world: world.nodes["bare"], "the node").pod_cidrs == ()
        found = until(lambda: events(rest, "default", "bare"), "an event")
        assert any("spec.podCIDRs" in one["message"] for one in found)
    finally:
        rest.delete("Node", "", "bare")


ROUTE = {
    "parentRefs": [{"group": "", "kind": "Service", "name": "web"}, {"name": "gateway"}],
    "rules": [{"backendRefs": [{"name": "web", "port": 80}]}],
}


def parent(reference: Json, controller: str, status: str, generation: int = 1) -> Json:
    said = {"type": "Accepted", "status": status, "reason": "Accepted", "message": "", "observedGeneration": generation}
    return {
        "parentRef": reference,
        "controllerName": controller,
        "conditions": [{**said, "lastTransitionTime": "2020-01-01T00:00:00Z"}],
    }


def test_other_controllers_parents_are_theirs(rest: Rest, namespace: str, following: Following) -> None:
    rest.create("HTTPRoute", namespace, "web", spec=ROUTE)
    following.until(lambda world: world.routes[RouteRef("HTTPRoute", namespace, "web")], "the route")
    theirs = parent({"name": "gateway"}, "example.org/gateways", "True")
    rest.patch("HTTPRoute", namespace, "web", "status", status={"parents": [theirs]})
    ours = parent({"group": "", "kind": "Service", "name": "web"}, CONTROLLER, "True")
    key = Key("HTTPRoute", namespace, "web")
    following.run(lambda: following.source.set_status({key: {"parents": [ours]}}))

    def parents() -> list[Json]:
        found: list[Json] = rest.get("HTTPRoute", namespace, "web").get("status", {}).get("parents", [])
        return found

    until(lambda: len(parents()) == 2, "ours beside theirs")
    assert parents()[0] == theirs
    assert parents()[1]["controllerName"] == CONTROLLER
    rest.patch("HTTPRoute", namespace, "web", "status", status={"parents": [theirs]})
    until(lambda: len(parents()) == 2, "somebody took ours away; it is back")
    following.run(lambda: following.source.set_status({key: {"parents": []}}))
    until(lambda: parents() == [theirs], "ours is gone, theirs stays")


def test_a_route_that_is_refused_says_so_in_its_parents(rest: Rest, namespace: str, following: Following) -> None:
    rest.create("HTTPRoute", namespace, "web", spec={**ROUTE, "rulez": []})

    def ours() -> list[Json]:
        found = rest.get("HTTPRoute", namespace, "web").get("status", {}).get("parents", ())
        return [one for one in found if one["controllerName"] == CONTROLLER]

    (entry,) = until(ours, "our entry")
    assert entry["parentRef"]["kind"] == "Service"
    (said,) = entry["conditions"]
    assert (said["type"], said["status"], said["reason"]) == ("Accepted", "False", "UnsupportedValue")
    assert "spec.rulez: unknown field" in said["message"]


@pytest.fixture
def second(control_plane: Cluster) -> Iterator[Following]:
    with Following(control_plane.kubeconfig, "node-2") as source:
        yield source


def lease(rest: Rest) -> Json:
    spec: Json = rest.get("Lease", "kube-system", "weft-status")["spec"]
    return spec


def holder(rest: Rest) -> str:
    return str(lease(rest).get("holderIdentity", ""))


@pytest.mark.parametrize("release", [True, False])
def test_one_writes_and_another_takes_over(
    rest: Rest, namespace: str, following: Following, second: Following, release: bool
) -> None:
    def leads(one: Following) -> bool:
        return one.source._leadership.is_held.is_set()

    until(lambda: leads(following) or leads(second), "one of them leads")
    assert not (leads(following) and leads(second))
    leader, other = (following, second) if leads(following) else (second, following)
    assert holder(rest) == leader._node
    transitions = lease(rest)["leaseTransitions"]
    times: set[str] = set()
    until(lambda: times.add(lease(rest)["renewTime"]) or len(times) == 5, "it is renewed")  # type: ignore[func-returns-value]
    assert lease(rest)["leaseTransitions"] == transitions, "nobody takes it from the one that has it"
    leader.stop(release)
    rest.create("CiliumNetworkPolicy", namespace, "web", spec=GOOD)
    rest.create("CiliumNetworkPolicy", namespace, "bad", spec=BAD)
    says(rest, "CiliumNetworkPolicy", namespace, "web", "True")
    says(rest, "CiliumNetworkPolicy", namespace, "bad", "False")
    until(lambda: events(rest, namespace, "bad"), "an event")
    assert holder(rest) == other._node


def test_two_leave_one_event_and_one_status(
    rest: Rest, namespace: str, following: Following, second: Following
) -> None:
    rest.create("CiliumNetworkPolicy", namespace, "bad", spec=BAD)
    says(rest, "CiliumNetworkPolicy", namespace, "bad", "False")
    (event,) = until(lambda: events(rest, namespace, "bad"), "an event")
    assert event["count"] == 1
    assert second.until(lambda world: world.namespaces[namespace], "the second sees it all")
    assert NamespacedName(namespace, "bad") not in following.world.services
