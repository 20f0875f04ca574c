"""A small world that policies are tried on, and short ways to write policies down."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

from weft.model.objects import (
    EndpointSlice,
    NamedPort,
    Namespace,
    NamespacedName,
    NodeConfig,
    Service,
    ServicePort,
    SliceEndpoint,
    Workload,
)
from weft.model.policy import PolicyRef, PolicySpec
from weft.model.world import World
from weft.policy.decide import Decision, decide
from weft.policy.parties import Parties, Party
from weft.policy.translate import translate
from weft.sources.decode import decode
from weft.sources.yaml import parse

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
ECHO, ECHO_V6 = 8 << 8, 128 << 8


def pod(name: str, number: int, labels: dict[str, str], *ports: NamedPort, account: str = "default") -> Workload:
    namespace, _, short = name.partition("/")
    return Workload(
        NamespacedName(namespace, short),
        labels,
        account,
        "node",
        (ip_address(f"10.42.0.{number}"), ip_address(f"fd42::{number:x}")),
        ports,
        ready=True,
    )


WORKLOADS = (
    pod("shop/frontend", 10, {"app": "frontend", "tier": "web", "pod-template-hash": "5d4"}, account="web"),
    pod("shop/api", 11, {"app": "product-api", "version": "v1"}, NamedPort("http", 8080, TCP)),
    pod("shop/db", 12, {"app": "postgres"}, NamedPort("pg", 5432, TCP), NamedPort("metrics", 9090, TCP)),
    pod("other/frontend", 20, {"app": "frontend"}, NamedPort("http", 80, TCP)),
    pod("other/intruder", 21, {"app": "intruder"}),
    pod("kube-system/dns", 30, {"k8s-app": "kube-dns"}, NamedPort("dns", 53, UDP), NamedPort("dns-tcp", 53, TCP)),
)
LEGACY = ip_address("192.0.2.10")
WORLD = World(
    node=NodeConfig(
        "node",
        pod_cidrs=(ip_network("10.42.0.0/24"), ip_network("fd42::/64")),
        service_cidrs=(ip_network("10.43.0.0/16"),),
        router_addresses=(ip_address("10.42.0.1"), ip_address("fd42::1")),
        host_addresses=(ip_address("198.51.100.7"),),
    ),
    namespaces={
        "shop": Namespace("shop", {"team": "shop", "env": "prod"}),
        "other": Namespace("other", {"team": "other", "env": "prod"}),
        "kube-system": Namespace("kube-system"),
    },
    workloads={workload.key: workload for workload in WORKLOADS},
    services={
        service.key: service
        for service in (
            Service(
                NamespacedName("shop", "product-api"),
                "ClusterIP",
                (ip_address("10.43.0.5"),),
                (ServicePort("http", 80, TCP, "http"),),
                selector={"app": "product-api"},
                labels={"exposed": "yes"},
            ),
            Service(
                NamespacedName("shop", "legacy"),
                "ClusterIP",
                (ip_address("10.43.0.6"),),
                (ServicePort("", 80, TCP, 80),),
                labels={"exposed": "no"},
            ),
        )
    },
    slices={
        NamespacedName("shop", "legacy-1"): EndpointSlice(
            NamespacedName("shop", "legacy-1"), "legacy", (NamedPort("", 80, TCP),), (SliceEndpoint((LEGACY,)),)
        )
    },
)
ADDRESSES = {str(workload.key): str(workload.addresses[0]) for workload in WORKLOADS} | {
    "host": "10.42.0.1",
    "world": "203.0.113.9",
    "world6": "2001:db8::9",
    "legacy": str(LEGACY),
}
HEADER = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p, namespace: shop}\n"
CLUSTERWIDE = "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: p}\n"
KUBERNETES = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: shop}\n"


def read(text: str, file: str = "p.yaml") -> tuple[PolicySpec, ...]:
    """What all documents of ``text`` mean. Raises ManifestError."""
    specs: list[PolicySpec] = []
    for document in parse(text, file):
        resource, _ = decode(document)
        specs += translate(resource.obj, resource.origin)
    return tuple(specs)


def world_with(specs: tuple[PolicySpec, ...], world: World = WORLD) -> World:
    """The world with these policies in force."""
    grouped: dict[PolicyRef, tuple[PolicySpec, ...]] = {}
    for spec in specs:
        grouped[spec.policy] = (*grouped.get(spec.policy, ()), spec)
    return replace(world, policies=grouped)


def with_policies(specs: tuple[PolicySpec, ...], world: World = WORLD) -> Parties:
    return Parties(world_with(specs, world))


def ask(text: str, source: str, destination: str, port: int = 80, protocol: int = TCP) -> Decision:
    """``ask(policy, "shop/frontend", "shop/api", 8080)``: names of ADDRESSES, or addresses."""
    parties = with_policies(read(text))
    return decide(parties.specs, party(parties, source), party(parties, destination), protocol, port)


def party(parties: Parties, name: str) -> Party:
    return parties.at(ADDRESSES.get(name, name))


API = "  endpointSelector: {matchLabels: {app: product-api}}\n"


def ingress(rule: str, subject: str = API) -> str:
    return HEADER + "spec:\n" + subject + "  ingress:\n  - " + rule


def egress(rule: str, subject: str = API) -> str:
    return HEADER + "spec:\n" + subject + "  egress:\n  - " + rule


def network_policy(rest: str) -> str:
    return KUBERNETES + "spec:\n  podSelector: {matchLabels: {app: product-api}}\n" + rest


def allowed_sources(text: str, port: int = 80, protocol: int = TCP) -> set[str]:
    """Who may reach shop/api."""
    return {name for name in ADDRESSES if ask(text, name, "shop/api", port, protocol).forwarded}


def allowed_destinations(text: str, port: int = 80, protocol: int = TCP) -> set[str]:
    """Whom shop/api may reach."""
    return {name for name in ADDRESSES if ask(text, "shop/api", name, port, protocol).forwarded}


ALWAYS = {"shop/api", "host"}
"""A pod and its own node reach it whatever the policy says."""
PODS = {name for name in ADDRESSES if "/" in name}
OUTSIDE = {"world", "world6", "legacy"}
