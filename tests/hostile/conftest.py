"""One scene for all hostile tests of a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hostile.scene import Scene
from tests.lab import Lab


@pytest.fixture(scope="module")
def scene(session_lab: Lab) -> Iterator[Scene]:
    with Scene.made(session_lab) as made:
        yield made
