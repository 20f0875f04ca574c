"""Whatever a manifest holds is accepted, or refused by ManifestError; and ``check`` judges exactly as msgspec does."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sources.builders import STEADY, pod, service
from weft.model.origin import ManifestError, Origin
from weft.sources import world
from weft.sources.check import Check, nearest
from weft.sources.decode import decode
from weft.sources.objects import Document
from weft.sources.registry import KINDS, POLICIES
from weft.sources.yaml import parse

GOLDEN = Path(__file__).parent.parent / "golden"
MANIFESTS = [
    document.data
    for file in [*sorted(GOLDEN.glob("manifests/*-accepted/input.yaml")), *sorted(GOLDEN.glob("policy/*/input.yaml"))]
    for document in parse(file.read_text(), str(file))
]
WORDS = st.sampled_from(["", "None", "TCP", "http", "a.b", "10.0.0.1", "fd00::1/64", "Always", "x" * 300, "\0", "é\n"])
JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 70000) | st.just(2**70) | st.just(1.5) | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)


def places(data: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in plain data."""
    items = list(data.items()) if isinstance(data, dict) else list(enumerate(data)) if isinstance(data, list) else []
    return [place for key, item in items for place in ((data, key), *places(item))]


@st.composite
def spoilt(draw: st.DrawFn) -> dict[str, Any]:
    """A good manifest with a few values replaced, removed, or put where they do not belong."""
    data: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(MANIFESTS)))
    for _ in range(draw(st.integers(1, 3))):
        container, key = draw(st.sampled_from(places(data)))
        match draw(st.sampled_from(["replace", "remove", "add"])):
            case "replace":
                container[key] = draw(JUNK)
            case "remove" if not isinstance(container, list) or key < len(container):
                del container[key]
            case _ if isinstance(container, dict):
                container[draw(st.sampled_from(["name", "ports", "labels", "from", "spec"]) | WORDS)] = draw(JUNK)
        if not places(data):
            break
    return data


@STEADY
@given(spoilt())
def test_any_manifest_is_accepted_or_refused(data: dict[str, Any]) -> None:
    before = copy.deepcopy(data)
    try:
        resource, _ = decode(Document(Origin("f"), data))
        if resource.kind in POLICIES:
            world.policy(resource)
    except ManifestError as error:
        assert str(error).startswith("f:1: ")
    assert data == before, "the document was edited"


@STEADY
@given(spoilt())
def test_check_finds_an_error_where_msgspec_does(data: dict[str, Any]) -> None:
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        return
    shape = KINDS[kind].shape
    found = Check(Origin("f"))
    found.visit(msgspec.inspect.type_info(shape), data, ())
    errors = [error for error in found.errors if error.problem != "not supported"]
    try:
        msgspec.convert(data, shape)
    except msgspec.ValidationError as error:
        assert errors, error
    else:
        assert not errors, errors


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("ingres", ["ingress", "egress"], 'did you mean "ingress"?'),
        ("fromendpoints", ["fromEndpoints", "toPorts"], 'did you mean "fromEndpoints"?'),
        ("zzz", ["a", "b"], "expected one of: a, b"),
        ("zzz", [f"name{number}" for number in range(40)], ""),
    ],
)
def test_nearest_name(name: str, known: list[str], hint: str) -> None:
    assert nearest(name, known) == hint


def test_namespace_of_the_command() -> None:
    document = parse(service("web").replace("namespace: default", ""), "f")[0]
    assert decode(document)[0].namespace == "default"
    assert decode(document, "shop")[0].namespace == "shop"
    with pytest.raises(ManifestError, match="'default' is not the namespace 'shop' of the command"):
        decode(parse(pod("web"), "f")[0], "shop")
