"""Which programs reach services: the folder that holds them all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from weft.datapath.cgroups import before_kubepods, chosen_root, kubernetes_root
from weft.datapath.errors import FeatureError
from weft.datapath.node import mounts


@pytest.mark.parametrize(
    ("path", "before"),
    [
        ("/kubepods/besteffort/pod1/c", ""),
        ("/n1/kubepods/burstable/pod1/c", "n1"),
        ("/kubepods.slice/kubepods-pod1.slice/cri-c.scope", ""),
        ("/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod1.slice/c", "kubelet.slice"),
        ("/", None),
        ("/system.slice/weft.service", None),
    ],
)
def test_what_stands_before_the_kubelets_folder(path: str, before: str | None) -> None:
    assert before_kubepods(path) == before


@pytest.fixture
def node() -> Iterator[Path]:
    """A kubelet's root that is not the machine's, and in it a container's cgroup."""
    top = mounts("cgroup2")[0] / f"wt-{uuid4().hex[:8]}"
    folders = [top, top / "kubepods", top / "kubepods" / "c"]
    for folder in folders:
        folder.mkdir()
    yield top
    for folder in reversed(folders):
        folder.rmdir()


def root_as_seen_in(cgroup: Path) -> str:
    """By a process there."""
    reader, writer = os.pipe()
    if not (pid := os.fork()):
        try:
            (cgroup / "cgroup.procs").write_text(str(os.getpid()))
            os.write(writer, str(kubernetes_root()).encode())
        except BaseException as error:
            os.write(writer, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        said = answer.read()
    os.waitpid(pid, 0)
    return said


def test_the_root_of_one_of_several_nodes_on_a_machine(node: Path) -> None:
    assert root_as_seen_in(node / "kubepods" / "c") == str(node)


def test_an_operators_choice_holds_the_pods(node: Path) -> None:
    assert chosen_root(node, node / "kubepods") == node
    assert chosen_root(node, None) == node
    with pytest.raises(FeatureError, match="pods would reach no service"):
        chosen_root(node / "kubepods", node / "weft")
    with pytest.raises(FeatureError, match="not a folder of a cgroup2 hierarchy"):
        chosen_root(Path("/tmp"), None)
