"""One scene for each module of tests: Envoy starts in a tenth of a second, but it need not."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.proxy.scene import Scene, scene


@pytest.fixture(scope="module")
def stage() -> Iterator[Scene]:
    with scene(f"proxy-{os.getpid()}") as made:
        yield made
