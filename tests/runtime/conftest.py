"""Fixtures of the runtime's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.runtime.node import Node
from tests.runtime.node import node as make_node


@pytest.fixture
def node() -> Iterator[Node]:
    """A node of the test's own, gone afterwards with everything that ran on it."""
    with make_node() as made:
        yield made
