"""Golden cases: tests/golden/policy/<case>/input.yaml → what the policies mean, and who may reach whom under them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.policy.shop import ADDRESSES, ECHO, ICMP, TCP, UDP, party, read, with_policies, world_with
from weft.model.net import PROTOCOL_NUMBERS
from weft.model.policy import Direction, PolicySpec, Rule
from weft.model.verdicts import Verdict
from weft.policy.decide import Decision, decide
from weft.policy.explain import explain
from weft.policy.http import Request
from weft.policy.http import spell_match as spell_http
from weft.policy.lint import lint, lint_document
from weft.policy.parties import Parties
from weft.policy.render import render
from weft.policy.spelling import spell_match, spell_port, spell_rule, spell_selector
from weft.sources.decode import decode
from weft.sources.yaml import parse

CASES = sorted((Path(__file__).parent.parent / "golden/policy").iterdir())
ASKED = [case for case in CASES if (case / "questions.txt").exists()]
PROBES = ((TCP, 80), (TCP, 8080), (TCP, 5432), (UDP, 53), (ICMP, ECHO))
LEGEND = """
verdicts: . forwarded; e, i no rule of the sender's egress, the receiver's ingress allows it; E, I a deny rule
refuses it. Rows send, columns receive; rows that may reach everybody are left out
"""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_policies_mean_what_was_written_down(case: Path, golden: Callable[[Path, str], None]) -> None:
    specs = read((case / "input.yaml").read_text(), "input.yaml")
    lines = [line for spec in specs for line in describe(spec)]
    lines += LEGEND.splitlines()
    lines += matrices(with_policies(specs))
    golden(case / "expected.txt", "\n".join(lines))


@pytest.mark.parametrize("case", ASKED, ids=lambda case: case.name)
def test_explanations(case: Path, golden: Callable[[Path, str], None]) -> None:
    """questions.txt: a line ``source destination port protocol [method path [name: value]]`` each."""
    parties = with_policies(read((case / "input.yaml").read_text(), "input.yaml"))
    texts = []
    for line in (case / "questions.txt").read_text().splitlines():
        source, destination, port, protocol, *asked = line.split(" ", 6)
        found = explain(
            parties.specs,
            party(parties, source),
            party(parties, destination),
            PROTOCOL_NUMBERS[protocol],
            int(port),
            request_of(asked, f"api:{port}"),
        )
        texts += [f"$ {line}", render(found), ""]
    golden(case / "explained.txt", "\n".join(texts))


def request_of(asked: list[str], host: str) -> Request | None:
    if not asked:
        return None
    name, _, value = (asked[2] if len(asked) > 2 else "").partition(": ")
    return Request(asked[0], asked[1], host, {name: value} if name else {})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_warnings(case: Path, golden: Callable[[Path, str], None]) -> None:
    text = (case / "input.yaml").read_text()
    world = world_with(read(text, "input.yaml"))
    specs = [spec for policy in world.policies.values() for spec in policy]
    found = lint(specs, world)
    for document in parse(text, "input.yaml"):
        found += lint_document(decode(document)[0].obj, document.origin)
    golden(case / "lint.txt", "\n".join(map(str, found)))


def describe(spec: PolicySpec) -> Iterator[str]:
    yield f"{spec.policy}  {spec.origin.at(spec.path)}"
    yield f"  selects {spell_selector(spec.subject)}"
    yield f"  default-deny {', '.join(sorted(one.name.lower() for one in spec.default_deny)) or 'nowhere'}"
    for rule in spec.rules:
        yield from describe_rule(rule)


def describe_rule(rule: Rule) -> Iterator[str]:
    field = spell_rule(rule).partition(" ")[2]
    yield f"  {rule.action.value} {field} (index {rule.index})  {rule.origin.at(rule.path)}"
    word = "from" if rule.direction is Direction.INGRESS else "to"
    if not rule.peers:
        yield f"    {word} {'everybody' if rule.peers is None else 'nobody'}"
    for peer, path in zip(rule.peers or (), rule.peer_paths, strict=True):
        yield f"    {word} {spell_selector(peer)}  {rule.origin.at(path)}"
    if rule.ports is None:
        yield "    any protocol and port"
    for match, path in zip(rule.ports or (), rule.port_paths, strict=True):
        yield f"    {spell_match(match)}  {rule.origin.at(path)}"
        for one in match.http or ():
            yield f"      {spell_http(one)}  {rule.origin.at(one.field_path)}"


def matrices(parties: Parties) -> Iterator[str]:
    """One for all probes that come out alike."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for protocol, port in PROBES:
        alike.setdefault(tuple(matrix(parties, protocol, port)), []).append(spell_port(protocol, port))
    for rows, probes in alike.items():
        yield ""
        yield from (", ".join(probes), *rows)


def matrix(parties: Parties, protocol: int, port: int) -> Iterator[str]:
    ends = {name: parties.at(address) for name, address in ADDRESSES.items()}
    width = max(map(len, ends))
    yield " " * (width + 2) + " ".join(ends)
    for row, source in ends.items():
        symbols = [symbol(decide(parties.specs, source, end, protocol, port)) for end in ends.values()]
        if set(symbols) != {"."}:
            cells = (f"{one:{len(column)}}" for one, column in zip(symbols, ends, strict=True))
            yield f"{row:{width}}  {' '.join(cells)}".rstrip()


def symbol(decision: Decision) -> str:
    if decision.refused_by is None:
        return "."
    letter = decision.refused_by.name[0].lower()
    return letter.upper() if decision.reason is Verdict.POLICY_DENY else letter
