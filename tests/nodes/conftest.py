from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.nodes.scene import Cluster


@pytest.fixture(scope="module", params=["direct", "vxlan"])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes with pods: client, stranger and near on n1, server on n2. Tests leave no policies behind."""
    with Cluster(tmp_path_factory.mktemp("nodes"), 2, "" if request.param == "direct" else request.param) as made:
        made.pod("default/client", "n1", {"app": "client"})
        made.pod("default/stranger", "n1", {"app": "stranger"})
        made.pod("default/server", "n2", {"app": "server"})
        yield made
