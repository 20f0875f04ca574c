"""Golden cases: tests/golden/plan/<case>/input.yaml → the content of the maps, and the steps that lead there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.policy.shop import WORLD, read, world_with
from weft.model.desired import (
    ACTION_ALLOW,
    ACTION_NONE,
    FLAG_OTHER,
    BumpRevision,
    Desired,
    Listener,
    PolicyEntry,
    PolicyKey,
)
from weft.model.http import HttpRuleSet
from weft.model.net import PROTOCOL_NAMES, ClassId, EndpointId, Prefix, TableId, from_wide
from weft.model.objects import LocalEndpoint
from weft.model.policy import LabelSelector, PeerPortSelector
from weft.plan import Compiled, Compiler, transition
from weft.policy.http import spell_match
from weft.policy.spelling import spell_selector
from weft.policy.tables import CLASS_BITS, PROTOCOL_BITS, TABLE_BITS

CASES = sorted((Path(__file__).parent.parent / "golden/plan").iterdir())
LOCAL = {
    key: replace(pod, local=LocalEndpoint(EndpointId(number), number, bytes(6)))
    for number, (key, pod) in enumerate(WORLD.workloads.items(), 1)
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_maps(case: Path, golden: Callable[[Path, str], None]) -> None:
    before = replace(WORLD, workloads=LOCAL)
    after = world_with(read((case / "input.yaml").read_text(), "input.yaml"), before)
    compiler = Compiler()
    old, new = compiler.compile(before).desired, compiler.compile(after)
    names = Names(new)
    golden(case / "maps.txt", "\n".join(describe(new, names)))
    golden(case / "steps.txt", "\n".join(spell_steps(old, new.desired, names)))


class Names:
    """Numbers are hashes: short names by content, in an order that people can follow."""

    def __init__(self, compiled: Compiled) -> None:
        self.compiled = compiled
        meanings = {
            number: ", ".join(sorted(map(_spell_selector, content))) for number, content in compiled.classes.items()
        }
        self.meaning = dict(sorted(meanings.items(), key=lambda item: item[1]))
        self._classes = {number: f"class {place}" for place, number in enumerate(self.meaning)}
        tables: dict[TableId, str] = {TableId(0): "open"}
        for entry in sorted(compiled.desired.endpoints.values(), key=lambda entry: entry.id):
            for table in (entry.ingress_table, entry.egress_table):
                tables.setdefault(table, f"table {len(tables)}")
        self._tables = tables
        contents = {number: self.permissions(each) for number, each in compiled.desired.listeners.items()}
        ordered = sorted(contents, key=contents.__getitem__)
        self._listeners = {number: f"listener {place}" for place, number in enumerate(ordered)}

    def permissions(self, listener: Listener) -> list[str]:
        """A rule set as people read it."""
        assert isinstance(listener, HttpRuleSet)
        rules = self.compiled.rules
        wanted = [f"{spell_match(one)} ({rules[rule].origin.at(one.field_path)})" for rule, one in listener.permissions]
        return ["egress" if listener.egress else "ingress", *wanted]

    def class_(self, number: ClassId) -> str:
        return self._classes.get(number, "a class of before")

    def table(self, number: TableId) -> str:
        return self._tables.get(number, "a table of before")

    def verdict(self, entry: PolicyEntry) -> str:
        if entry.flags & FLAG_OTHER:
            return "as class 0"
        rule = self.compiled.rules.get(entry.rule)
        action = {ACTION_NONE: "none", ACTION_ALLOW: "allow"}.get(entry.action, "deny")
        listener = f", {self.listener(entry.l7)}" if entry.l7 else ""
        return f"{action} by {rule.origin.at(rule.path)}{listener}" if rule else action

    def listener(self, number: int) -> str:
        return self._listeners.get(number, "a listener of before")

    def key(self, key: PolicyKey) -> str:
        text = self.table(key.table)
        if key.bits > TABLE_BITS:
            text += f" {self.class_(key.class_)}"
        if key.bits > CLASS_BITS:
            text += f" {PROTOCOL_NAMES[key.protocol]}"
        if key.bits > PROTOCOL_BITS:
            text += f" {key.port}/{key.bits - PROTOCOL_BITS}"
        return text


def describe(compiled: Compiled, names: Names) -> Iterator[str]:
    desired = compiled.desired
    yield "classes"
    for number, meaning in names.meaning.items():
        yield f"  {names.class_(number)}: {meaning or 'no selector'}"
    yield "endpoints"
    for wide, entry in sorted(desired.endpoints.items(), key=lambda item: (item[1].id, item[0])):
        tables = f"ingress {names.table(entry.ingress_table)}, egress {names.table(entry.egress_table)}"
        yield f"  {from_wide(wide)}: {names.class_(entry.class_)}, {tables}"
    yield "ipcache"
    for prefix, cached in sorted(desired.ipcache.items()):
        who = compiled.identities[cached.identity].labels.spelled()
        yield f"  {prefix}: {' '.join(who) or 'unknown'}, {names.class_(cached.class_)}, flags {cached.flags}"
    yield "policy"
    rows = [(names.key(key), names.verdict(entry)) for table in desired.tables.values() for key, entry in table.items()]
    yield from (f"  {key}: {verdict}" for key, verdict in sorted(rows))
    if desired.listeners:
        yield "listeners"
    for name, each in sorted((names.listener(number), each) for number, each in desired.listeners.items()):
        way, *wanted = names.permissions(each)
        yield f"  {name}, {way}"
        yield from (f"    {one}" for one in wanted)


def spell_steps(old: Desired, new: Desired, names: Names) -> Iterator[str]:
    for step in transition(old, new):
        if isinstance(step, BumpRevision):
            yield f"bump the revision: {step.reason}"
            continue
        yield f"{step.map}"
        for key, value in sorted(step.puts.items()):
            yield f"  put {_spell_put(key, value, names)}"
        for key in sorted(step.deletes):
            yield f"  delete {_spell_key(key, names)}"


def _spell_key(key: PolicyKey | Prefix | bytes, names: Names) -> str:
    if isinstance(key, PolicyKey):
        return names.key(key)
    return str(key) if isinstance(key, Prefix) else str(from_wide(key))


def _spell_put(key: PolicyKey | Prefix | bytes, value: object, names: Names) -> str:
    if isinstance(value, PolicyEntry):
        return f"{_spell_key(key, names)}: {names.verdict(value)}"
    text = f"{_spell_key(key, names)}: {names.class_(value.class_)}"  # type: ignore[attr-defined]
    if not isinstance(key, Prefix):
        text += f", {names.table(value.ingress_table)}, {names.table(value.egress_table)}"  # type: ignore[attr-defined]
    return text


def _spell_selector(selector: object) -> str:
    if isinstance(selector, PeerPortSelector):
        return f"port {selector.name} is {selector.port}/{PROTOCOL_NAMES[selector.protocol]}"
    text = spell_selector(selector)  # type: ignore[arg-type]
    return f"({text})" if isinstance(selector, LabelSelector) else text
