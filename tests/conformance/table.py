"""Nine pods in three namespaces, and everybody's questions to everybody: what a truth table is made of.

Pods a, b and c of namespaces x, y and z (labels ``pod`` and, on the namespace, ``ns``) serve TCP 80 and 81 and UDP 80
and 81; TCP 82 is closed. The named port ``web`` is TCP 80, on z/c it is 81. z/a runs as service account ``robot``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import NamedTuple, Protocol

from tests.lab import Outcome, Prober, Question
from tests.lab.probes import TIMEOUT_MS
from weft.model.net import ICMP, ICMPV6, TCP, UDP
from weft.model.objects import NamedPort, Namespace, NamespacedName, NodeConfig, Workload
from weft.model.policy import PolicyRef, PolicySpec
from weft.model.world import World
from weft.policy.decide import decide
from weft.policy.parties import Parties
from weft.policy.translate import translate
from weft.sources.decode import decode
from weft.sources.yaml import parse

NAMESPACES, NAMES = ("x", "y", "z"), ("a", "b", "c")
SERVED = ("tcp:80", "tcp:81", "udp:80", "udp:81")
CLOSED = 82
PATIENCE_MS = 5 * TIMEOUT_MS
"""A probe that should have been answered is given so long before it counts as refused."""


class Addresses(Protocol):
    @property
    def v4(self) -> str: ...
    @property
    def v6(self) -> str: ...


class Row(NamedTuple):
    """One line of the truth table."""

    asker: str
    question: Question
    expected: str
    got: Outcome

    def __str__(self) -> str:
        q = self.question
        got = " ".join(self.got).strip()
        return f"{self.asker} → {q.address} {q.protocol}/{q.port}: expected {self.expected}, got {got}"


class Table:
    """``pods``: ``x/a`` and so on; ``others``: askers that are no pods, with their address of each family.

    ``home``: the node on which a pod runs; ``node``: the one whose view the model takes."""

    node: NodeConfig
    pods: Mapping[str, Addresses]
    probers: dict[str, Prober]
    questions: dict[str, list[Question]]
    others: Mapping[str, Mapping[int, str]]

    def home(self, pod: str) -> str:
        return self.node.name

    def ask(self, questions: Mapping[str, Sequence[Question]], timeout_ms: int) -> dict[str, list[Outcome]]:
        """All askers at the same time."""
        for asker, asked in questions.items():
            self.probers[asker].begin(asked, timeout_ms)
        return {asker: self.probers[asker].finish() for asker in questions}

    def differences(self, policies: str) -> list[Row]:
        """The rows in which reality and the model differ.

        What should have been answered but was not is asked again, patiently, because a busy machine may be slow. What
        should be refused and was answered even once is wrong.
        """
        views = self.views(policies)
        got = self.ask(self.questions, TIMEOUT_MS)
        rows = [
            Row(asker, question, self.expected(views, asker, question), outcome)
            for asker, questions in self.questions.items()
            for question, outcome in zip(questions, got[asker], strict=True)
        ]
        wrong = [row for row in rows if not self.fits(row)]
        slow = [row for row in wrong if row.expected != "timeout" and row.got.outcome == "timeout"]
        return [row for row in wrong if row not in slow] + [row for row in self._again(slow) if not self.fits(row)]

    def _again(self, slow: Sequence[Row]) -> list[Row]:
        by_asker: dict[str, list[Row]] = {}
        for row in slow:
            by_asker.setdefault(row.asker, []).append(row)
        got = self.ask({asker: [row.question for row in rows] for asker, rows in by_asker.items()}, PATIENCE_MS)
        return [
            row._replace(got=outcome)
            for asker, rows in by_asker.items()
            for row, outcome in zip(rows, got[asker], strict=True)
        ]

    # ---- what should come out -------------------------------------------------------------------------

    def world(self, policies: str) -> World:
        """The model's view of the same cluster under these manifests."""
        specs: dict[PolicyRef, tuple[PolicySpec, ...]] = {}
        for document in parse(policies, "case.yaml"):
            resource, _ = decode(document)
            for spec in translate(resource.obj, resource.origin, resource.namespace, "default"):
                specs[spec.policy] = (*specs.get(spec.policy, ()), spec)
        workloads = {}
        for full, pod in self.pods.items():
            namespace, name = full.split("/")
            addresses = (ip_address(pod.v4), ip_address(pod.v6))
            key, runs_as, ports = (
                NamespacedName(namespace, name),
                account(namespace, name),
                ports_of(namespace, name),
            )
            workloads[key] = Workload(key, {"pod": name}, runs_as, self.home(full), addresses, ports, ready=True)
        namespaces = {name: Namespace(name, {"ns": name}) for name in NAMESPACES}
        return World(self.node, namespaces, workloads, policies=specs)

    def views(self, policies: str) -> Mapping[str, Parties]:
        """The cluster under these manifests as each node sees it."""
        return {self.node.name: Parties(self.world(policies))}

    def judge(self, asker: str, question: Question) -> str:
        """The node that has the last word."""
        return self.node.name

    def expected(self, views: Mapping[str, Parties], asker: str, question: Question) -> str:
        """``open``, ``refused`` (allowed, but nobody listens) or ``timeout`` (dropped without a word)."""
        family = 6 if ":" in question.address else 4
        protocol = {"tcp": TCP, "udp": UDP, "icmp": ICMP if family == 4 else ICMPV6}[question.protocol]
        port = {ICMP: 8 << 8, ICMPV6: 128 << 8}.get(protocol, question.port)
        parties = views[self.judge(asker, question)]
        source, destination = parties.at(self.address(asker, family)), parties.at(question.address)
        if not decide(parties.specs, source, destination, protocol, port).forwarded:
            return "timeout"
        return "refused" if question.port == CLOSED else "open"

    def fits(self, row: Row) -> bool:
        """The outcome, and who answered whom: the pod that was asked; it saw the asker's own address."""
        if row.got.outcome != row.expected:
            return False
        answerer = self.names.get(row.question.address)
        if row.expected != "open" or row.question.protocol == "icmp" or answerer is None:
            return True
        return row.got.server == answerer and row.got.seen_as in self.own(row.asker, row.question)

    def own(self, asker: str, question: Question) -> Sequence[str]:
        """The addresses under which the asker may be seen."""
        return [self.address(asker, 6 if ":" in question.address else 4)]

    def address(self, asker: str, family: int) -> str:
        if asker in self.pods:
            return self.pods[asker].v4 if family == 4 else self.pods[asker].v6
        return self.others[asker][family]


def account(namespace: str, name: str) -> str:
    return "robot" if (namespace, name) == ("z", "a") else "default"


def ports_of(namespace: str, name: str) -> tuple[NamedPort, ...]:
    web = 81 if (namespace, name) == ("z", "c") else 80
    return NamedPort("web", web, TCP), NamedPort("tell", 80, UDP)
