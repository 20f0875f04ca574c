"""A change of policy cuts connections that are open, busy or idle, at both ends."""

from __future__ import annotations

import pytest

from tests.datapath.conftest import PATIENCE, Node, table
from weft.datapath.errors import DatapathError
from weft.datapath.layouts import FLOW_KEY_SIZE, REVIEW_NEEDLESS
from weft.datapath.query import review
from weft.datapath.sweep import sweep
from weft.model.desired import BumpRevision, Write
from weft.model.net import TableId


def refuse_11(node: Node) -> None:
    """Pod 13 moves to a table that only allows pod 12."""
    moved = {
        address: entry._replace(ingress_table=TableId(6))
        for address, entry in node.kernel.endpoints.items()
        if entry.id == 13
    }
    node.apply(Write("policy", table(6, allowed=12)), Write("endpoints", moved), BumpRevision("test"))


@pytest.fixture
def three(running: Node) -> Node:
    running.apply(Write("policy", table(5, allowed=11)))
    running.pod(11)
    running.pod(12)
    running.pod(13, ingress=5)
    return running


@pytest.mark.parametrize("version", [4, 6])
def test_an_idle_connection_is_reset_at_both_ends(three: Node, version: int) -> None:
    with three.listen(13, version) as server, three.connect(11, 13, version) as client, server.accept()[0] as accepted:
        accepted.settimeout(PATIENCE)
        client.settimeout(PATIENCE)
        three.connect(None, 13, version).close()  # the node's own: stays allowed
        refuse_11(three)
        swept = sweep(three.datapath)
        assert (swept.refused, swept.told) == (1, 2)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        with pytest.raises(ConnectionResetError):
            accepted.recv(1)


def test_what_is_still_allowed_is_left_alone(three: Node) -> None:
    with three.listen(13) as server, three.connect(11, 13) as client, server.accept()[0] as accepted:
        three.apply(BumpRevision("nothing changed"))
        assert sweep(three.datapath).refused == 0
        client.sendall(b"still here")
        accepted.settimeout(PATIENCE)
        assert accepted.recv(10) == b"still here"
        assert sweep(three.datapath).flows == 0  # decided again by its own packet


def test_flows_that_nobody_judged_are_an_error(running: Node) -> None:
    """More keys than one run takes are all judged; half a key never is, and is not taken for "allowed"."""
    keys = bytes(200 * FLOW_KEY_SIZE)
    said = review(running.datapath, keys)
    assert said == keys and REVIEW_NEEDLESS == 0
    with pytest.raises(DatapathError, match="review open flows"):
        review(running.datapath, keys[:-1])
