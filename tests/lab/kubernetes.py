"""The session's Kubernetes: two nodes without weft, brought up once for all tests that ask for it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from cluster import Cluster
from cluster.cluster import remove_orphans

__all__ = ["cluster", "own_name", "remove_orphans"]


def own_name(letter: str) -> str:
    """A name for a cluster of this process; ``letter`` tells those of one process apart."""
    return f"{letter}{os.getpid():x}"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Two nodes with no CNI and no kube-proxy: they are NotReady, and hostNetwork pods run on them."""
    with Cluster(own_name("t"), nodes=2) as up:
        yield up
