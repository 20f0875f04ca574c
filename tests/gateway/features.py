"""``@shows("MeshConsumerRoute")``: a test says which of the Gateway API's features it shows (docs/GATEWAY-API.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Test = TypeVar("Test", bound=Callable[..., None])


def shows(*names: str) -> Callable[[Test], Test]:
    """Upstream's names of features (pkg/features) and of conformance tests; tools/gen_gateway_api.py knows them all."""

    def mark(test: Test) -> Test:
        return test

    assert names
    return mark
