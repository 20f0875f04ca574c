"""One cluster of two nodes for all tests in this folder; each test leaves it as it found it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster import Cluster
from tests.kubernetes.mesh import Mesh
from tests.kubernetes.pods import lab_image
from tests.lab.kubernetes import own_name, remove_orphans


@pytest.fixture(scope="session")
def mesh() -> Iterator[Mesh]:
    remove_orphans()
    with Cluster(own_name("m"), nodes=2) as cluster:
        cluster.load_image(lab_image())
        mesh = Mesh(cluster)
        try:
            mesh.start()
            yield mesh
        except BaseException:
            cluster.print_logs()
            raise
