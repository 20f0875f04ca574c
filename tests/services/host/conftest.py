"""A node whose own programs reach services, too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab import Lab, Pod
from tests.lab.traces import mount_points
from tests.lab.waiting import until

JOIN = 'echo 0 >"$0"/cgroup.procs; while [ "$1" != -- ]; do shift; done; exec nsenter --net="$NETNS" "$@"'


def program(lab: Lab, cgroup: Path) -> Pod:
    """A place for programs in the node's namespace, as if it were a pod."""
    cgroup.mkdir(parents=True, exist_ok=True)
    join = ["env", f"NETNS=/run/netns/{lab.namespaces.node}", "sh", "-c", JOIN, str(cgroup)]
    return Pod("", "host", "", "", join)


@contextmanager
def host_lab() -> Iterator[tuple[Lab, Pod]]:
    """A node whose programs reach services, and one of these."""
    lab = Lab()
    root = mount_points("cgroup2")[0] / "weft" / lab.name
    root.mkdir(parents=True)
    lab.agent_options = (*lab.agent_options, "--cgroup-root", str(root))
    host = program(lab, root / "programs")
    with lab:
        yield lab, host
        host.forget()
        until(lambda: not (root / "programs" / "cgroup.procs").read_text(), "the programs have ended")
        (root / "programs").rmdir()


@pytest.fixture(scope="module")
def scene() -> Iterator[tuple[Lab, Pod]]:
    with host_lab() as made:
        yield made


@pytest.fixture
def lab(scene: tuple[Lab, Pod]) -> Iterator[Lab]:
    yield scene[0]
    scene[0].empty()


@pytest.fixture
def host(scene: tuple[Lab, Pod]) -> Iterator[Pod]:
    yield scene[1]
    scene[1].forget()
