from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.nodes.scene import Cluster


@pytest.fixture(scope="module", params=["direct", "vxlan"])
def standing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes with pods: client and stranger on n1, server and neighbour on n2."""
    with Cluster(tmp_path_factory.mktemp("nodes"), 2, "" if request.param == "direct" else request.param) as made:
        for name, where in (("client", "n1"), ("stranger", "n1"), ("server", "n2"), ("neighbour", "n2")):
            made.pod(f"default/{name}", where, {"app": name})
        yield made


@pytest.fixture
def cluster(standing: Cluster) -> Iterator[Cluster]:
    """The same, without policies and with the world that it was made with after each test."""
    world = standing.world
    yield standing
    standing.commit(world)
