"""pytest fixtures of the lab (registered by tests/conftest.py)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.lab import Lab


@pytest.fixture(scope="session")
def session_lab() -> Iterator[Lab]:
    """One node for the whole session. Tests take ``lab``."""
    with Lab() as made:
        yield made


@pytest.fixture
def lab(session_lab: Lab) -> Iterator[Lab]:
    """The session's node, emptied after the test."""
    yield session_lab
    session_lab.empty()


@pytest.fixture
def own_lab() -> Iterator[Lab]:
    """A node of the test's own: for tests that kill, fill or break it."""
    with Lab() as made:
        yield made
