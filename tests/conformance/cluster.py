"""Nine pods in three namespaces, and everybody's questions to everybody: what a truth table is made of.

Pods a, b and c of namespaces x, y and z (labels ``pod`` and, on the namespace, ``ns``) serve TCP 80 and 81 and UDP 80
and 81; TCP 82 is closed. The named port ``web`` is TCP 80, on z/c it is 81. z/a runs as service account ``robot``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from tests.lab import Lab, Outcome, Pod, Prober, Question
from tests.lab.lab import POD_CIDRS, SERVICE_CIDRS
from tests.lab.netns import NODE_V4, NODE_V6, OUTSIDE_V4, OUTSIDE_V6, WORLD_V4, WORLD_V6
from tests.lab.tools import tool
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
ROUTER = {4: "10.244.0.1", 6: "fd00:244::1"}
OUTSIDE = {4: OUTSIDE_V4, 6: OUTSIDE_V6}
NODE = NodeConfig(
    "lab",
    pod_cidrs=tuple(map(ip_network, POD_CIDRS)),
    service_cidrs=tuple(map(ip_network, SERVICE_CIDRS)),
    router_addresses=tuple(map(ip_address, ROUTER.values())),
    host_addresses=(ip_address(NODE_V4), ip_address(NODE_V6)),
)
HOST, WORLD = "the node", "the outside"


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


class Cluster:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        manifest = 'apiVersion: v1\nkind: Namespace\nmetadata: {{name: "{0}", labels: {{ns: "{0}"}}}}\n'
        names = "---\n".join(map(manifest.format, NAMESPACES))
        lab.apply(names)
        self.pods: dict[str, Pod] = {f"{ns}/{name}": self._pod(ns, name) for ns in NAMESPACES for name in NAMES}
        self.names = {address: name for name, pod in self.pods.items() for address in (pod.v4, pod.v6)}
        self.probers: dict[str, Prober] = {name: pod.prober() for name, pod in self.pods.items()}
        self.probers[WORLD], self.probers[HOST] = lab.outside_prober(), lab.host_prober()
        self.questions = {asker: list(self._questions(asker)) for asker in self.probers}

    def _pod(self, namespace: str, name: str) -> Pod:
        protocols = {TCP: "TCP", UDP: "UDP"}
        return self.lab.run(
            name,
            [tool("server"), "-s", f"{namespace}/{name}", *SERVED],
            namespace=namespace,
            labels={"pod": name},
            service_account=self._account(namespace, name),
            ports=[(port.name, port.port, protocols[port.protocol]) for port in _ports(namespace, name)],
            readiness={"tcpSocket": {"port": 80}, "periodSeconds": 1},
            wait="Ready",
        )

    def _account(self, namespace: str, name: str) -> str:
        return "robot" if (namespace, name) == ("z", "a") else "default"

    def close(self) -> None:
        self.probers[HOST].close()

    def _questions(self, asker: str) -> Iterator[Question]:
        for pod in self.pods.values():
            for address in (pod.v4, pod.v6):
                yield from (Question(served[:3], address, int(served[4:])) for served in SERVED)
                yield Question("tcp", address, CLOSED)
                if asker in self.pods:
                    yield Question("icmp", address, 0)
        if asker in self.pods:
            for address in (*WORLD_V4, *WORLD_V6):
                yield Question("tcp", address, 80)
                yield Question("udp", address, 53)
            for address in (ROUTER[4], ROUTER[6], NODE_V4, NODE_V6):
                yield Question("tcp", address, CLOSED)

    def ask(self, questions: Mapping[str, Sequence[Question]], timeout_ms: int) -> dict[str, list[Outcome]]:
        """All askers at the same time."""
        for asker, asked in questions.items():
            self.probers[asker].begin(asked, timeout_ms)
        return {asker: self.probers[asker].finish() for asker in questions}

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
            key, account, ports = (
                NamespacedName(namespace, name),
                self._account(namespace, name),
                _ports(namespace, name),
            )
            workloads[key] = Workload(key, {"pod": name}, account, "lab", addresses, ports, ready=True)
        namespaces = {name: Namespace(name, {"ns": name}) for name in NAMESPACES}
        return World(NODE, namespaces, workloads, policies=specs)

    def expected(self, parties: Parties, asker: str, question: Question) -> str:
        """``open``, ``refused`` (allowed, but nobody listens) or ``timeout`` (dropped without a word)."""
        family = 6 if ":" in question.address else 4
        protocol = {"tcp": TCP, "udp": UDP, "icmp": ICMP if family == 4 else ICMPV6}[question.protocol]
        port = {ICMP: 8 << 8, ICMPV6: 128 << 8}.get(protocol, question.port)
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
        own = self.address(row.asker, 6 if ":" in row.question.address else 4)
        return row.got.server == answerer and row.got.seen_as == own

    def address(self, asker: str, family: int) -> str:
        if asker in self.pods:
            return self.pods[asker].v4 if family == 4 else self.pods[asker].v6
        return {HOST: ROUTER, WORLD: OUTSIDE}[asker][family]


def _ports(namespace: str, name: str) -> tuple[NamedPort, ...]:
    web = 81 if (namespace, name) == ("z", "c") else 80
    return NamedPort("web", web, TCP), NamedPort("tell", 80, UDP)
