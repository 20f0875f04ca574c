"""A Deployment's pods: created, scaled, replaced step by step, and never too few ready ones on the way."""

from __future__ import annotations

from ipaddress import ip_address
from itertools import count
from pathlib import Path

import pytest

from tests.sources.builders import NOW, open_store, pod, read
from weft.sources.objects import Key, Stored
from weft.sources.replicas import HASH_LABEL, owned, template_hash, wanted
from weft.sources.status import ContainerStatus, deployment_status, pod_status
from weft.sources.store import Store

KEY = Key("Deployment", "default", "api")


def deployment(replicas: int, command: str = "one", more: str = "") -> str:
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: api}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: api}}}}
{more}
  template:
    metadata: {{labels: {{app: api}}, annotations: {{a: b}}}}
    spec:
      containers:
        - name: main
          command: [{command}]
"""


class Cluster:
    """A store with a controller and a kubelet of a few lines each."""

    def __init__(self, folder: Path) -> None:
        self.store: Store = open_store(folder)
        self.numbers = count()

    def pods(self) -> list[Stored]:
        return owned(self.store.get(KEY), self.store.objects("Pod", "default"))

    def control(self) -> tuple[int, int]:
        """One step of the controller: how many pods were made and how many are to go."""
        create, delete = wanted(
            self.store.get(KEY), self.store.objects("Pod", "default"), lambda: f"{next(self.numbers):05}"
        )
        self.store.apply(create)
        self.store.delete(delete)
        return len(create), len(delete)

    def start(self) -> None:
        """All pods become ready, and those that are to go have gone."""
        for stored in self.store.objects("Pod", "default"):
            if stored.deleting:
                self.store.remove(stored.key)
            else:
                status = pod_status("Running", [ip_address("10.0.0.1")], [ContainerStatus("main", True, 0, NOW)])
                self.store.set_status({stored.key: status})

    def ready(self) -> int:
        status = deployment_status(self.store.get(KEY), self.pods(), frozenset())
        return int(status["readyReplicas"])


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def test_pods_are_made_of_the_template(cluster: Cluster) -> None:
    cluster.store.apply(read(deployment(2) + "---" + pod("other", labels="app: api")))
    assert cluster.control() == (2, 0)
    assert cluster.control() == (0, 0)
    first = cluster.pods()[0]
    hash_ = template_hash(cluster.store.get(KEY))
    assert first.key.name == f"api-{hash_}-00000"
    assert first.resource.labels == {"app": "api", HASH_LABEL: hash_}
    assert first.resource.raw["metadata"]["annotations"] == {"a": "b"}
    assert first.resource.origin.at(("spec", "containers", 0, "command")) == "test.yaml:14"


def test_scaling_down_takes_those_that_are_not_ready_first(cluster: Cluster) -> None:
    cluster.store.apply(read(deployment(2)))
    cluster.control()
    cluster.start()
    cluster.store.apply(read(deployment(3)))
    assert cluster.control() == (1, 0)
    cluster.store.apply(read(deployment(2)))
    assert cluster.control() == (0, 1)
    assert cluster.ready() == 2
    cluster.store.apply(read(deployment(0)))
    assert cluster.control() == (0, 2)


def test_rolling_update_keeps_enough_pods_ready(cluster: Cluster) -> None:
    cluster.store.apply(read(deployment(4)))
    cluster.control()
    cluster.start()
    cluster.store.apply(read(deployment(4, "two")))
    hash_ = template_hash(cluster.store.get(KEY))
    for _ in range(20):
        done = cluster.control() == (0, 0)
        assert cluster.ready() >= 3
        assert len(cluster.pods()) <= 5
        if done:
            break
        cluster.start()
    assert done
    assert [one.resource.labels[HASH_LABEL] for one in cluster.pods()] == [hash_] * 4


def test_a_rollout_that_never_gets_ready_stops(cluster: Cluster) -> None:
    cluster.store.apply(read(deployment(4)))
    cluster.control()
    cluster.start()
    cluster.store.apply(read(deployment(4, "broken")))
    for _ in range(5):
        cluster.control()
    assert cluster.ready() == 3
    assert len(cluster.pods()) == 5


def test_recreate_stops_the_old_before_it_starts_the_new(cluster: Cluster) -> None:
    recreate = "  strategy: {type: Recreate}"
    cluster.store.apply(read(deployment(2, more=recreate)))
    cluster.control()
    cluster.start()
    cluster.store.apply(read(deployment(2, "two", more=recreate)))
    assert cluster.control() == (0, 2)
    cluster.start()
    assert cluster.control() == (2, 0)


@pytest.mark.parametrize("old", ["maxSurge: 0, maxUnavailable: 1", "maxSurge: 1, maxUnavailable: 0"])
def test_bounds_as_numbers(cluster: Cluster, old: str) -> None:
    more = f"  strategy: {{rollingUpdate: {{{old}}}}}"
    cluster.store.apply(read(deployment(2, more=more)))
    cluster.control()
    cluster.start()
    cluster.store.apply(read(deployment(2, "two", more=more)))
    assert cluster.control() == ((0, 1) if "maxSurge: 0" in old else (1, 0))


def test_the_pods_go_with_the_deployment(cluster: Cluster) -> None:
    cluster.store.apply(read(deployment(2)))
    cluster.control()
    cluster.store.delete([KEY])
    assert all(stored.deleting for stored in cluster.store.objects("Pod"))
    assert not cluster.store.objects("Deployment")
