from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cni.scene import Runtime, runtime
from tests.datapath.conftest import Node, paths, running

__all__ = ["paths", "running"]


@pytest.fixture
def containers(running: Node, tmp_path: Path) -> Iterator[Runtime]:
    """A container runtime on a node that enforces; no agent answers yet."""
    with runtime(running, tmp_path) as made:
        yield made
