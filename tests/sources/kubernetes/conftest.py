"""A real API server with etcd and a controller manager, without nodes: objects are written, nothing runs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from cluster import Cluster
from tests.sources.kubernetes import crds
from tests.sources.kubernetes.following import Following
from tests.sources.kubernetes.rest import Rest
from tests.sources.kubernetes.wire import Wire

NODE = "node-1"


@pytest.fixture(scope="package")
def control_plane() -> Iterator[Cluster]:
    with Cluster(f"s{os.getpid()}", nodes=0) as cluster:
        rest = Rest(cluster.kubeconfig)
        for one in crds.ALL:
            rest.install(one)
        yield cluster


@pytest.fixture(scope="package")
def rest(control_plane: Cluster) -> Rest:
    return Rest(control_plane.kubeconfig)


@pytest.fixture
def namespace(rest: Rest) -> Iterator[str]:
    """A new one; a policy or pod in it is nobody else's."""
    name = rest.namespace()
    yield name
    rest.delete("Namespace", "", name)


@pytest.fixture
def following(control_plane: Cluster) -> Iterator[Following]:
    with Following(control_plane.kubeconfig, NODE) as source:
        yield source


def api_port(cluster: Cluster) -> int:
    server = json.loads(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    port = urlsplit(server).port
    assert port
    return port


@pytest.fixture
def wire(control_plane: Cluster) -> Iterator[Wire]:
    with Wire(api_port(control_plane)) as found:
        yield found
