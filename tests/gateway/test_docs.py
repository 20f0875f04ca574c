"""docs/GATEWAY-API.md says what the tests show, and names nothing without a test that it does not call so."""

from __future__ import annotations

from tools import gen_gateway_api as generator


def test_the_table_is_up_to_date() -> None:
    assert generator.OUTPUT.read_text() == generator.text(), "run python tools/gen_gateway_api.py"


def test_every_feature_of_meshes_is_shown() -> None:
    tests = generator.shown()
    wanted = [name for names in generator.FEATURES.values() for name in names.split()]
    missing = {name for name in (*wanted, *generator.CONFORMANCE.split()) if name not in tests}
    assert missing == generator.WITHOUT.keys()
