"""One shop for all tests of this folder; each test's routes and grants go with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gateway.scene import Shop, open_shop
from tests.lab import Lab
from tests.lab.lab import ROUTE_KINDS


@pytest.fixture(scope="session")
def whole_shop() -> Iterator[Shop]:
    with Lab() as lab:
        yield open_shop(lab)


@pytest.fixture
def shop(whole_shop: Shop) -> Iterator[Shop]:
    yield whole_shop
    for kind in ROUTE_KINDS:
        for item in whole_shop.lab.get(kind)["items"]:
            meta = item["metadata"]
            whole_shop.lab.delete(kind, meta["name"], namespace=meta["namespace"])
