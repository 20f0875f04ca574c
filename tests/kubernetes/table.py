"""The truth table's nine pods on two nodes of a real cluster, asked by each other and by both nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple

from cluster import build
from tests.conformance.table import CLOSED, NAMES, NAMESPACES, SERVED, Table, account, ports_of
from tests.kubernetes.mesh import Mesh
from tests.kubernetes.pods import LAB_IMAGE
from tests.lab import Prober, Question
from tests.lab.tools import tool
from weft.model.net import TCP
from weft.model.objects import Node, NodeConfig
from weft.policy.parties import Parties


class Address(NamedTuple):
    v4: str
    v6: str


class KubernetesTable(Table):
    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        kubectl = str(build.program("kubernetes", "kubectl"))
        self._kubectl = (kubectl, f"--kubeconfig={mesh.cluster.kubeconfig}")
        mesh.apply(*self._manifests())
        for namespace in NAMESPACES:
            mesh.wait_pods(namespace)
        self.pods = {}
        self._homes = {}
        for found in mesh.cluster.get("pods", "-A")["items"]:
            namespace, name = found["metadata"]["namespace"], found["metadata"]["name"]
            if namespace in NAMESPACES:
                by_family = {ip_address(each["ip"]).version: each["ip"] for each in found["status"]["podIPs"]}
                self.pods[f"{namespace}/{name}"] = Address(by_family[4], by_family[6])
                self._homes[f"{namespace}/{name}"] = found["spec"]["nodeName"]
        self.names = {address: name for name, pod in self.pods.items() for address in pod}
        self.nodes = {node.name: node for node in map(_node, mesh.cluster.get("nodes")["items"])}
        self.node = self._config(mesh.cluster.nodes[0].name)
        self.others = {
            name: {address.version: str(address) for address in node.addresses} for name, node in self.nodes.items()
        }
        self.probers = {name: self._prober(*name.split("/")) for name in self.pods}
        for node in mesh.cluster.nodes:
            self.probers[node.name] = Prober([*node.enter(), tool("probe")])
        self.questions = {asker: list(self._questions(asker)) for asker in self.probers}

    def close(self) -> None:
        for prober in self.probers.values():
            prober.close()
        self.mesh.cluster.kubectl("delete", "namespace", "--wait=true", *NAMESPACES)

    def home(self, pod: str) -> str:
        return self._homes[pod]

    def views(self, policies: str) -> Mapping[str, Parties]:
        world = replace(self.world(policies), nodes=self.nodes)
        return {name: Parties(replace(world, node=self._config(name))) for name in self.nodes}

    def judge(self, asker: str, question: Question) -> str:
        """The one that the asked pod runs on; of a node's own address, the one that the asker runs on."""
        asked = self.names.get(question.address)
        return self.home(asked) if asked else self.home(asker)

    def own(self, asker: str, question: Question) -> Sequence[str]:
        if asker in self.pods:
            return super().own(asker, question)
        return [str(address) for address in (*self.nodes[asker].addresses, *self._config(asker).router_addresses)]

    def address(self, asker: str, family: int) -> str:
        """Through a tunnel a node's packets to pods have its address among them (decision 9)."""
        if asker in self.pods or "vxlan" not in self.mesh.options:
            return super().address(asker, family)
        return next(str(router) for router in self._config(asker).router_addresses if router.version == family)

    def _config(self, name: str) -> NodeConfig:
        node = self.nodes[name]
        routers = tuple(network[1] for network in node.pod_cidrs)
        return NodeConfig(name, pod_cidrs=node.pod_cidrs, router_addresses=routers, host_addresses=node.addresses)

    def _prober(self, namespace: str, name: str) -> Prober:
        return Prober([*self._kubectl, "exec", "-i", "-n", namespace, name, "--", "/bin/probe"])

    def apply(self, text: str) -> None:
        self.mesh.cluster.kubectl("apply", "-f", "-", stdin=text)

    def delete(self, text: str) -> None:
        self.mesh.cluster.kubectl("delete", "--wait=true", "-f", "-", stdin=text)

    def _manifests(self) -> Iterator[dict[str, Any]]:
        nodes = [node.name for node in self.mesh.cluster.nodes]
        for namespace in NAMESPACES:
            yield {
                "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": {"ns": namespace}},
            }  # fmt: skip
        yield {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": "z", "name": "robot"}}
        for number, (namespace, name) in enumerate((ns, name) for ns in NAMESPACES for name in NAMES):
            container = {
                "name": "main",
                "image": LAB_IMAGE,
                "imagePullPolicy": "Never",
                "command": ["/bin/server", "-s", f"{namespace}/{name}", *SERVED],
                "ports": [
                    {
                        "name": port.name,
                        "containerPort": port.port,
                        "protocol": "TCP" if port.protocol == TCP else "UDP",
                    }
                    for port in ports_of(namespace, name)
                ],
                "readinessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 1},
            }
            yield {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"namespace": namespace, "name": name, "labels": {"pod": name}},
                "spec": {
                    "nodeName": nodes[number % len(nodes)],
                    "serviceAccountName": account(namespace, name),
                    "automountServiceAccountToken": False,
                    "terminationGracePeriodSeconds": 0,
                    "containers": [container],
                },
            }

    def _questions(self, asker: str) -> Iterator[Question]:
        for pod in self.pods.values():
            for address in pod:
                yield from (Question(served[:3], address, int(served[4:])) for served in SERVED)
                yield Question("tcp", address, CLOSED)
                if asker in self.pods:
                    yield Question("icmp", address, 0)
        if asker in self.pods:
            for addresses in self.others.values():
                yield from (Question("tcp", address, CLOSED) for address in addresses.values())


def _node(found: dict[str, Any]) -> Node:
    internal = [one["address"] for one in found["status"]["addresses"] if one["type"] == "InternalIP"]
    cidrs = tuple(map(ip_network, found["spec"]["podCIDRs"]))
    return Node(found["metadata"]["name"], tuple(map(ip_address, internal)), cidrs)


__all__ = ["KubernetesTable"]
