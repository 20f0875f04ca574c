"""The session's Kubernetes: two nodes without weft, brought up once for all tests that ask for it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import Cluster
from cluster.layout import STATE


def own_name(letter: str) -> str:
    """A name for a cluster of this process; ``letter`` tells those of one process apart."""
    return f"{letter}{os.getpid():x}"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Two nodes with no CNI and no kube-proxy: they are NotReady, and hostNetwork pods run on them."""
    remove_orphans()
    with Cluster(own_name("t"), nodes=2) as up:
        yield up


def remove_orphans() -> None:
    """Take down the clusters of test runs that were killed: their names hold the ids of processes that are no more."""
    for name in (path.name for path in STATE.glob("*")):
        owner = re.fullmatch(r"[a-z]([0-9a-f]+)", name)
        if owner and name[0] in "mtu" and not Path(f"/proc/{int(owner.group(1), 16)}").exists():
            Cluster(name).down()
