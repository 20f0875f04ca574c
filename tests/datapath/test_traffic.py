"""Packets between real namespaces, through the loaded programs."""

from __future__ import annotations

import pytest

from tests.datapath.conftest import Node


@pytest.mark.parametrize("version", [4, 6])
def test_pods_reach_each_other_and_the_node_reaches_them(running: Node, version: int) -> None:
    running.pod(11)
    running.pod(12)
    with running.listen(12, version) as server, running.connect(11, 12, version) as client:
        with server.accept()[0] as accepted:
            client.sendall(b"hello")
            assert accepted.recv(5) == b"hello"
        with running.connect(None, 12, version) as from_node:
            from_node.sendall(b"node")
            with server.accept()[0] as accepted:
                assert accepted.recv(4) == b"node"
