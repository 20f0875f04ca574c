"""Numbers: the same for the same content, never two meanings at once, small to store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from weft.agent.numberfile import NumberFile
from weft.plan.numbering import FIRST, LAST, Numbering, NumberSpace, preferred

ONE, TWO, THREE = (bytes.fromhex("00aabbcc") + bytes([n]) * 12 for n in (1, 2, 3))


def test_a_number_is_the_contents_own_unless_somebody_has_it() -> None:
    space = NumberSpace({})
    assert space.assign(ONE) == preferred(ONE) == 0x00AABBCC
    assert space.assign(TWO) == preferred(ONE) + 1
    assert space.assign(ONE) == preferred(ONE)


def test_numbers_stay_clear_of_those_with_a_meaning_and_wrap_around() -> None:
    assert preferred(bytes(16)) == FIRST
    last = NumberSpace({})
    assert last.assign(b"\xff" * 16) == LAST
    assert last.assign(b"\xff" * 15 + b"\0") == FIRST


def test_a_number_that_is_let_go_is_free_only_after_that_compile() -> None:
    space = NumberSpace({})
    space.assign(ONE)
    space.settle()
    space.release(ONE)
    assert space.assign(TWO) == preferred(ONE) + 1
    space.settle()
    assert space.assign(THREE) == preferred(ONE)


def test_only_displaced_numbers_are_stored_and_a_restart_keeps_them() -> None:
    space = NumberSpace({})
    space.assign_all([ONE, TWO])
    stored = json.dumps(Numbering({"class": space.settle()}).to_json())
    assert json.loads(stored) == {"class": {TWO.hex(): preferred(ONE) + 1}}
    again = NumberSpace(Numbering.from_json(json.loads(stored)).spaces["class"])
    assert again.assign_all([TWO, ONE]) == {ONE: preferred(ONE), TWO: preferred(ONE) + 1}


@pytest.mark.parametrize(
    "stored",
    [
        {"colour": {}},
        {"class": {ONE.hex(): 5}},
        {"class": {ONE.hex(): FIRST, TWO.hex(): FIRST}},
        {"class": {"zz": FIRST}},
    ],
)
def test_what_nobody_wrote_is_refused(stored: dict) -> None:
    with pytest.raises(ValueError):
        Numbering.from_json(stored)


def test_the_file_holds_what_a_restart_could_not_compute(tmp_path: Path) -> None:
    path = tmp_path / "numbers.json"
    file, classes, identities = NumberFile(path), NumberSpace({}), NumberSpace({})

    def keep() -> dict[str, dict[str, int]]:
        file.keep(Numbering({"class": classes.settle(), "identity": identities.settle()}))
        return json.loads(path.read_text()) if path.exists() else {}

    classes.assign_all([ONE, TWO])
    identities.assign(ONE)
    assert keep() == keep() == {"class": {TWO.hex(): preferred(ONE) + 1}}
    identities.assign(THREE)
    assert keep() == {"class": {TWO.hex(): preferred(ONE) + 1}, "identity": {THREE.hex(): preferred(ONE) + 1}}
    classes.release(TWO)
    assert keep() == {"identity": {THREE.hex(): preferred(ONE) + 1}}
    assert NumberFile(path).read().spaces == {"identity": {THREE: preferred(ONE) + 1}}
