"""The truth table's pods on one node of the lab, asked by each other, the node and the outside."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network

from tests.conformance.table import CLOSED, NAMES, NAMESPACES, SERVED, Table, account, ports_of
from tests.lab import Lab, Pod, Prober, Question
from tests.lab.lab import POD_CIDRS, SERVICE_CIDRS
from tests.lab.netns import NODE_V4, NODE_V6, OUTSIDE_V4, OUTSIDE_V6, WORLD_V4, WORLD_V6
from tests.lab.tools import tool
from weft.model.net import TCP, UDP
from weft.model.objects import NodeConfig

ROUTER = {4: "10.244.0.1", 6: "fd00:244::1"}
HOST, WORLD = "the node", "the outside"


class Cluster(Table):
    node = NodeConfig(
        "lab",
        pod_cidrs=tuple(map(ip_network, POD_CIDRS)),
        service_cidrs=tuple(map(ip_network, SERVICE_CIDRS)),
        router_addresses=tuple(map(ip_address, ROUTER.values())),
        host_addresses=(ip_address(NODE_V4), ip_address(NODE_V6)),
    )
    others = {HOST: ROUTER, WORLD: {4: OUTSIDE_V4, 6: OUTSIDE_V6}}  # noqa: RUF012 - never edited

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        manifest = 'apiVersion: v1\nkind: Namespace\nmetadata: {{name: "{0}", labels: {{ns: "{0}"}}}}\n'
        names = "---\n".join(map(manifest.format, NAMESPACES))
        lab.apply(names)
        self.pods = {f"{ns}/{name}": self._pod(ns, name) for ns in NAMESPACES for name in NAMES}
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
            service_account=account(namespace, name),
            ports=[(port.name, port.port, protocols[port.protocol]) for port in ports_of(namespace, name)],
            readiness={"tcpSocket": {"port": 80}, "periodSeconds": 1},
            wait="Ready",
        )

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
