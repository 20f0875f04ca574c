from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cni.scene import Runtime, clear, runtime
from tests.datapath.conftest import Node, enforcing, node_paths
from weft.datapath import netns


@pytest.fixture(scope="session")
def cni_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, int]]:
    """One node for all tests of this folder, and its namespace: loading the programs is what takes the time."""
    with node_paths(tmp_path_factory.mktemp("cni")) as (paths, home):
        with netns.entered(home):
            context = enforcing(paths)
            node = context.__enter__()
        try:
            yield node, home
        finally:
            with netns.entered(home):
                context.__exit__(None, None, None)


@pytest.fixture
def containers(cni_node: tuple[Node, int], tmp_path: Path) -> Iterator[Runtime]:
    """A container runtime on a node that enforces, in whose namespace the test's thread is; no agent answers yet."""
    node, home = cni_node
    with netns.entered(home), runtime(node, tmp_path) as made:
        try:
            yield made
        finally:
            clear(node)
