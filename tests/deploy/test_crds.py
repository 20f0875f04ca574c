"""The CRDs: as they would be generated, and such that nothing that was written is lost on the way to the agent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tools.gen_crds import FOLDER, KEPT, KINDS, definition, main


def schemas(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from schemas(inner, f"{path}.{name}")
    if "items" in schema:
        yield from schemas(schema["items"], f"{path}[]")


@pytest.fixture(params=KINDS, ids=lambda kind: kind[1])
def schema(request: pytest.FixtureRequest) -> dict[str, Any]:
    (version,) = definition(*request.param)["spec"]["versions"]
    found: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return found


def test_the_files_are_what_the_shapes_say() -> None:
    assert main(["--check"]) == 0


def test_what_is_misspelt_is_kept(schema: dict[str, Any]) -> None:
    """Dropped, a misspelt matchLabels would leave a selector of everything."""
    objects = {path: one for path, one in schemas(schema) if "properties" in one and ".status" not in path}
    assert ".spec.ingress[].fromEndpoints[]" in objects and ".specs[].egress[].toPorts[].rules.http[]" in objects
    assert [path for path, one in objects.items() if not KEPT.items() <= one.items()] == []


def test_what_is_not_enforced_comes_through(schema: dict[str, Any]) -> None:
    found = dict(schemas(schema))
    assert found[".spec.egress[].toFQDNs"] == KEPT  # the agent refuses it, and says so
    assert found[".spec.endpointSelector.matchLabels"]["additionalProperties"] == {"type": "string"}
    assert found[".spec.ingress[].icmps[].fields[].type"] == {"x-kubernetes-int-or-string": True}
    assert found[".spec.ingress[].toPorts[].ports[]"]["required"] == ["port"]


def test_names_and_columns() -> None:
    for _, plural, short, scope in KINDS:
        crd = yaml.safe_load((FOLDER / f"{plural}.yaml").read_text())
        assert crd["metadata"]["name"] == f"{plural}.cilium.io" and crd["spec"]["scope"] == scope
        assert short[0] in crd["spec"]["names"]["shortNames"]
        (version,) = crd["spec"]["versions"]
        assert version["name"] == "v2" and version["subresources"] == {"status": {}}
        columns = {column["name"]: column["jsonPath"] for column in version["additionalPrinterColumns"]}
        assert columns["Valid"] == ".status.conditions[?(@.type=='Valid')].status"
