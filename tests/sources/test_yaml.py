"""YAML text → plain data with lines: kubectl's meaning of scalars, exact lines, and bounds against hostile text."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import yaml as reference
from hypothesis import given
from hypothesis import strategies as st

from tests.sources.builders import STEADY
from weft.model.origin import FieldPath, ManifestError
from weft.sources.yaml import MAX_BYTES, MAX_DEPTH, parse


def value(text: str) -> Any:
    return parse(f"v: {text}\n", "f")[0].data["v"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((word, True) for word in ("y", "Y", "yes", "YES", "on", "On", "true", "TRUE")),
        *((word, False) for word in ("n", "N", "no", "No", "off", "OFF", "false")),
        *((word, None) for word in ("", "~", "null", "NULL")),
        ("yEs", "yEs"),
        ("'yes'", "yes"),
        ('"1"', "1"),
        ("!!str 1", "1"),
        ("!!int '7'", 7),
        ("12", 12),
        ("-12", -12),
        ("1_000", 1000),
        ("0777", 511),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b101", 5),
        ("08", 8),
        ("1.5", 1.5),
        ("1.0", 1),
        ("1e3", 1000),
        (".5", 0.5),
        ("22:22", "22:22"),
        ("1.2.3", "1.2.3"),
        ("10.0.0.1", "10.0.0.1"),
        ("2001-01-01", "2001-01-01"),
        ("fd00::1", "fd00::1"),
        ("0x", "0x"),
        ("_1", "_1"),
        ("|\n  a\n  b", "a\nb\n"),
    ],
)
def test_scalar_means_what_kubectl_makes_of_it(text: str, expected: object) -> None:
    assert value(text) == expected
    assert type(value(text)) is type(expected)


def test_keys_become_strings_as_in_json() -> None:
    assert parse("{1: a, on: b, 'x': c}", "f")[0].data == {"1": "a", "true": "b", "x": "c"}


KEYS = st.integers(0, 10**6).map(lambda number: f"key{number}")
SCALARS = (
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text("abc: #'\"\\{}[],&*!|>%@`\n é", max_size=12)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=25,
)
OBJECTS = st.dictionaries(KEYS, VALUES, min_size=1, max_size=5)


def paths(data: Any, at: FieldPath = ()) -> dict[FieldPath, Any]:
    found = {at: data}
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, item in items:
        found |= paths(item, (*at, key))
    return found


@STEADY
@given(st.lists(OBJECTS, min_size=1, max_size=3), st.integers(0, 3))
def test_every_field_has_its_line(objects: list[dict[str, Any]], blank: int) -> None:
    text = ("\n" * blank + "# comment\n---\n").join(
        ["", *(reference.safe_dump(one, default_flow_style=False, allow_unicode=True) for one in objects)]
    )
    documents = parse(text, "f")
    assert [document.data for document in documents] == objects
    lines = text.split("\n")
    for document in documents:
        assert set(document.origin.lines) == set(paths(document.data))
        for path in document.origin.lines:
            if path and isinstance(path[-1], str):
                assert path[-1] + ":" in lines[document.origin.line(path) - 1]
            elif path:
                assert lines[document.origin.line(path) - 1].lstrip(" -") != lines[document.origin.line(path) - 1]
        excerpt = document.excerpt
        assert excerpt.lines == tuple(lines[excerpt.first_line - 1 : excerpt.first_line - 1 + len(excerpt.lines)])


@STEADY
@given(OBJECTS)
def test_json_is_yaml(data: dict[str, Any]) -> None:
    for indent in (None, 2):
        document = parse(json.dumps(data, indent=indent, ensure_ascii=False), "f.json")[0]
        assert document.data == data
        if indent is None:
            assert set(document.origin.lines.values()) == {1}


@STEADY
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_survive(number: float) -> None:
    assert math.isclose(value(repr(number)), number)


@STEADY
@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_with_a_line(text: str) -> None:
    try:
        parse(text, "f")
    except ManifestError as error:
        assert str(error).startswith("f:")


def test_empty_documents_are_left_out() -> None:
    assert [document.data for document in parse("---\n# nothing\n---\n---\na: 1\n---\nnull\n", "f")] == [{"a": 1}]
    assert parse("", "f") == []
    assert parse("\ufeffa: 1", "f")[0].data == {"a": 1}


def test_aliases_and_merge_keys() -> None:
    text = "base: &base {a: 1, b: 2}\nmore: &more {b: 3, c: 4}\nall:\n  <<: [*base, *more]\n  a: 9\nsame: *base\n"
    document = parse(text, "f")[0]
    assert document.data["all"] == {"a": 9, "b": 2, "c": 4}
    assert document.data["same"] == {"a": 1, "b": 2}
    assert document.origin.line(("all", "a")) == 5
    assert document.origin.line(("all", "c")) == 2
    assert document.origin.line(("same",)) == 6


def test_list_is_its_items_with_their_own_lines() -> None:
    text = "apiVersion: v1\nkind: List\nitems:\n- a: 1\n- b:\n    c: 2\n"
    first, second = parse(text, "f")
    assert (first.data, second.data) == ({"a": 1}, {"b": {"c": 2}})
    assert second.origin.at(("b", "c")) == "f:6"
    assert second.excerpt.text(6).strip() == "c: 2"


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "given twice (first in line 1)"),
        ("a: {on: 1, 'true': 2}\n", 1, "given twice"),
        ("a: 1\nb: [1, 2\nc: 3\n", 3, "did not find expected ',' or ']'"),
        ("a:\n  - b\n c: 1\n", 3, "not valid YAML"),
        ("a: *nobody\n", 1, "undefined alias"),
        ("a: 1\nb: \x07\n", 2, "control characters"),
        ("a: \ud800\n", 1, "not Unicode"),
        ("a: !python/object:os.system x\n", 1, "unknown tag"),
        ("a: !!binary aGk=\n", 1, "not supported"),
        ("a: !!int x\n", 1, "not of tag !!int"),
        ("a: .inf\n", 1, "not a number that JSON can hold"),
        ("a: 1e999\n", 1, "too large"),
        ("? [a]\n: b\n", 1, "a key must be a string"),
        ("1.5: b\n", 1, "a key must be a string"),
        ("a: &a [*a]\n", 1, "levels deep"),
        ("a: &a {b: *a, c: *a}\n", 1, "levels deep"),
        ("a: &a 1\nb: {<<: *a}\n", 2, "<< expects an object"),
        (LAUGHS, 4, "aliases that unfold"),
        ("- " * (MAX_DEPTH + 2) + "a\n", 1, "levels deep"),
        ("- " * 1_000_000 + "a\n", 1, "levels deep"),
        ("[" * 1_000_000 + "]" * 1_000_000, 1, "levels deep"),
        ("{" + "a: {" * 1_000_000, 1, "levels deep"),
        ("? " * 100_000, 1, "levels deep"),
        ("text\n", 1, "expected an object"),
        ("x" * (MAX_BYTES + 1), 1, "larger than"),
        ("kind: List\nitems: {}\n", 2, "expected a list of objects"),
        ("kind: List\nitems: [1]\n", 2, "expected an object, got the number 1"),
        ("kind: List\nitems: []\nspec: {}\n", 3, "unknown field of a List"),
        ("kind: List\nitems:\n- {kind: List, items: []}\n", 3, "a List inside a List"),
    ],
    ids=range(29),
)
def test_refused_with_the_line(text: str, line: int, problem: str) -> None:
    with pytest.raises(ManifestError) as refused:
        parse(text, "f")
    assert str(refused.value).startswith(f"f:{line}:")
    assert problem in str(refused.value)
