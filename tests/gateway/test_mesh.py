"""The Gateway API's features for meshes, each with real pods and Envoy; docs/GATEWAY-API.md names the test of each."""

from __future__ import annotations

from tests.gateway.scene import Shop
from tests.routes.scene import route


def test_canary_by_header_and_weights(shop: Shop) -> None:
    shop.lab.apply(
        route(
            "canary",
            '- matches: [{headers: [{name: X-Canary-User, value: "true"}]}]\n'
            "  backendRefs: [{name: v2, port: 80}]\n"
            "- backendRefs: [{name: v1, port: 80}]",
        )
    )
    shop.all_by("v2", headers={"X-Canary-User": "true"})
    shop.all_by("v1")
