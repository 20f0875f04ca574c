"""Whatever is written and however often the connection goes, the world ends as a fresh list has it."""

from __future__ import annotations

import contextlib
import ipaddress
import random
from collections.abc import Callable
from typing import Any

import pytest

from cluster import Cluster
from cluster.processes import until
from tests.sources.kubernetes.conftest import NODE
from tests.sources.kubernetes.following import Following
from tests.sources.kubernetes.rest import Rest, pod_spec, pod_status
from tests.sources.kubernetes.test_faults import expire
from tests.sources.kubernetes.wire import Wire
from weft.model.net import EndpointId
from weft.model.objects import LocalEndpoint, LocalPod, NamespacedName
from weft.model.world import World

FIELDS = ("nodes", "namespaces", "workloads", "services", "slices", "policies", "routes", "grants")
STEPS = 150
Json = dict[str, Any]


class Chaos:
    """One random step after the other, by seed."""

    def __init__(self, rest: Rest, wire: Wire, source: Following, namespace: str, seed: int) -> None:
        self.rest, self.wire, self.source, self.namespace = rest, wire, source, namespace
        self.dice = random.Random(seed)
        self.steps: list[Callable[[], object]] = [
            *[self.pod] * 8,
            *[self.service] * 3,
            *[self.policy] * 3,
            *[self.route] * 2,
            self.labels,
            *[self.connect] * 3,
            self.cut,
            self.wire.heal,
            self.wire.heal,
            lambda: expire(self.source),
        ]

    def step(self) -> None:
        with contextlib.suppress(RuntimeError):  # there already, or not there
            self.dice.choice(self.steps)()

    def cut(self) -> None:
        """Seldom for long."""
        self.wire.cut()
        if self.dice.random() < 0.7:
            self.wire.heal()

    def name(self) -> str:
        return f"o{self.dice.randrange(8)}"

    def pod(self) -> None:
        name = self.name()
        match self.dice.randrange(5):
            case 0:
                self.rest.delete("Pod", self.namespace, name)
            case 1:
                labels = {"app": self.dice.choice(["web", "db"]), "tier": self.dice.choice(["a", None])}
                self.rest.patch("Pod", self.namespace, name, metadata={"labels": labels})
            case 2:
                address, phase = f"10.9.2.{self.dice.randrange(9)}", self.dice.choice(["Running", "Failed"])
                self.rest.patch("Pod", self.namespace, name, "status", status=pod_status(address, phase=phase))
            case _:
                self.rest.create("Pod", self.namespace, name, spec=pod_spec(self.dice.choice([NODE, "node-2"])))

    def service(self) -> None:
        name = self.name()
        match self.dice.randrange(3):
            case 0:
                self.rest.delete("Service", self.namespace, name)
            case 1:
                self.rest.patch("Service", self.namespace, name, metadata={"labels": {"v": str(self.dice.random())}})
            case _:
                ports = [{"port": self.dice.randrange(1, 999)}]
                self.rest.create("Service", self.namespace, name, spec={"selector": {"app": "web"}, "ports": ports})

    def policy(self) -> None:
        kind, name = self.dice.choice(["NetworkPolicy", "CiliumNetworkPolicy"]), self.name()
        field = "podSelector" if kind == "NetworkPolicy" else "endpointSelector"
        spec = {field: {"matchLabels": {"app": self.dice.choice(["web", "db"])}}, "ingress": [{}]}
        match self.dice.randrange(3):
            case 0:
                self.rest.delete(kind, self.namespace, name)
            case 1:
                self.rest.patch(kind, self.namespace, name, spec=spec)
            case _:
                self.rest.create(kind, self.namespace, name, spec=spec)

    def route(self) -> None:
        name = self.name()
        spec = {
            "parentRefs": [{"group": "", "kind": "Service", "name": "o1"}],
            "rules": [{"backendRefs": [{"name": "o2", "port": self.dice.randrange(1, 99)}]}],
        }
        match self.dice.randrange(3):
            case 0:
                self.rest.delete("HTTPRoute", self.namespace, name)
            case 1:
                self.rest.patch("HTTPRoute", self.namespace, name, spec=spec)
            case _:
                self.rest.create("HTTPRoute", self.namespace, name, spec=spec)

    def labels(self) -> None:
        self.rest.patch("Namespace", "", self.namespace, metadata={"labels": {"v": str(self.dice.randrange(9))}})

    def connect(self) -> None:
        """A pod of this node gets what makes it reachable, or loses it."""
        key = NamespacedName(self.namespace, self.name())
        number = self.dice.randrange(1, 99)
        local = None
        if self.dice.random() < 0.7 and (seen := self.source.run(lambda: self.source.source.pod(key))):
            endpoint = LocalEndpoint(EndpointId(number), number, bytes(6))
            local = LocalPod(seen.uid, (ipaddress.ip_address(f"10.9.1.{number}"),), endpoint)

        def now() -> None:
            self.source.local.pop(key, None)
            if local:
                self.source.local[key] = local
            self.source.source.touch(key)

        self.source.run(now)


def differences(one: World, other: World) -> list[str]:
    found = []
    for field in FIELDS:
        mine, theirs = getattr(one, field), getattr(other, field)
        keys = mine.keys() | theirs.keys()
        found += [
            f"{field} {key}: {mine.get(key)} / {theirs.get(key)}" for key in keys if mine.get(key) != theirs.get(key)
        ]
    return found


@pytest.mark.parametrize("seed", range(3))
def test_the_end_is_what_a_fresh_list_says(
    control_plane: Cluster, rest: Rest, namespace: str, wire: Wire, seed: int
) -> None:
    with Following(control_plane.kubeconfig, NODE, wire.port) as source:
        chaos = Chaos(rest, wire, source, namespace, seed)
        for _ in range(STEPS):
            chaos.step()
        wire.heal()

        def fresh() -> World:
            with Following(control_plane.kubeconfig, NODE) as other:
                other.local.update(source.local)

                def connect() -> None:
                    for key in other.local:
                        other.source.touch(key)

                other.run(connect)
                return other.world

        until(lambda: not differences(source.world, fresh()), f"the same as a fresh list, seed {seed}", 60, 0.5)
        assert len(source.world.workloads) + len(source.world.policies) > 0
