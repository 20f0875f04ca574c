"""Small worlds with everything in them: deny rules, ranges, named ports, CIDRs with excepts, label changes."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

from hypothesis import strategies as st

from weft.model.http import HttpMatch
from weft.model.net import ICMP, SCTP, TCP, UDP, EndpointId, IPAddress, Prefix
from weft.model.objects import (
    EndpointSlice,
    LocalEndpoint,
    NamedPort,
    Namespace,
    NamespacedName,
    Node,
    NodeConfig,
    SliceEndpoint,
    Workload,
)
from weft.model.policy import (
    Action,
    CidrSelector,
    Direction,
    LabelSelector,
    Operator,
    PolicyRef,
    PolicySpec,
    PortMatch,
    Requirement,
    Rule,
    Selector,
)
from weft.model.world import World

NODE = NodeConfig(
    name="n1",
    pod_cidrs=(ip_network("10.0.0.0/24"), ip_network("fd00::/64")),
    service_cidrs=(ip_network("10.96.0.0/16"), ip_network("fd96::/112")),
    router_addresses=(ip_address("10.0.0.1"), ip_address("fd00::1")),
    host_addresses=(ip_address("192.168.1.1"),),
)
OTHER = Node(
    "n2",
    (ip_address("192.168.1.2"), ip_address("2001:db8:0:2::2")),
    (ip_network("10.0.1.0/24"), ip_network("fd01::/64")),
)
API_SERVERS = tuple(map(ip_address, ("192.168.1.1", "192.168.1.2", "172.16.1.7", "2001:db8::7")))
"""This node, another one, and some that are outside of the cluster."""
OUTSIDE = tuple(map(ip_address, ("8.8.8.8", "172.16.1.7", "172.16.2.7", "2001:db8::7", "2001:db8:0:1::7")))
HOSTS = (*NODE.router_addresses[:1], *NODE.host_addresses, *OTHER.addresses, OTHER.pod_cidrs[0][1])
PORTS = (
    (TCP, 0),
    (TCP, 79),
    (TCP, 80),
    (TCP, 81),
    (TCP, 8080),
    (TCP, 65535),
    (UDP, 53),
    (UDP, 80),
    (SCTP, 80),
    (ICMP, 8 << 8),
    (ICMP, 0),
)

_NAMESPACES = (Namespace("a", {"env": "prod"}), Namespace("b", {"env": "test"}))
_APPS, _TIERS = ("x", "y", "z"), ("1", "2")
_NAMED = (
    (),
    (NamedPort("http", 80, TCP),),
    (NamedPort("http", 8080, TCP), NamedPort("dns", 53, UDP)),
)
_BLOCKS = tuple(
    Prefix.of(ip_network(text))
    for text in (
        "0.0.0.0/0",
        "172.16.0.0/16",
        "172.16.1.0/24",
        "172.16.1.7/32",
        "10.0.0.0/24",
        "10.0.0.0/29",
        "10.0.0.11/32",
        "10.0.1.8/30",
        "10.96.0.0/24",
        "192.168.1.0/24",
        "::/0",
        "2001:db8::/32",
        "2001:db8::/64",
        "fd00::/64",
    )
)


_HTTP = (HttpMatch(), HttpMatch(path="/a"), HttpMatch(method="GET"), HttpMatch(path="/b", method="GET|POST"))


def pods() -> st.SearchStrategy[tuple[Workload, ...]]:
    labels = st.fixed_dictionaries({"app": st.sampled_from(_APPS)}, optional={"tier": st.sampled_from(_TIERS)})
    one = st.tuples(st.sampled_from(("a", "b")), labels, st.sampled_from(_NAMED), st.booleans())
    return st.lists(one, min_size=1, max_size=5).map(
        lambda drawn: tuple(_pod(number, *each) for number, each in enumerate(drawn))
    )


def _pod(number: int, namespace: str, labels: dict[str, str], ports: tuple[NamedPort, ...], remote: bool) -> Workload:
    """A remote one has an address of its own node's range."""
    remote = remote and number > 0
    addresses = (ip_address(f"10.0.{int(remote)}.{10 + number}"), ip_address(f"fd0{int(remote)}::{10 + number:x}"))
    local = None if remote else LocalEndpoint(EndpointId(100 + number), 10 + number, bytes([2] * 5 + [number]))
    return Workload(
        NamespacedName(namespace, f"p{number}"),
        labels,
        "",
        "n1" if local else "n2",
        addresses,
        ports,
        True,
        local=local,
    )


def _requirements() -> st.SearchStrategy[Requirement]:
    keys = st.sampled_from(
        ("k8s:app", "any:app", "k8s:tier", "k8s:io.kubernetes.pod.namespace", "k8s:io.cilium.k8s.namespace.labels.env")
    )
    values = st.lists(st.sampled_from((*_APPS, *_TIERS, "a", "b", "prod")), min_size=1, max_size=2, unique=True)
    with_values = st.builds(
        lambda key, operator, some: Requirement(key, operator, tuple(sorted(some))),
        keys,
        st.sampled_from((Operator.IN, Operator.NOT_IN)),
        values,
    )
    return with_values | st.builds(Requirement, keys, st.sampled_from((Operator.EXISTS, Operator.DOES_NOT_EXIST)))


def label_selectors() -> st.SearchStrategy[LabelSelector]:
    written = st.lists(_requirements(), max_size=2).map(lambda some: LabelSelector(tuple(sorted(some, key=repr))))
    names = ("world", "world-ipv4", "host", "remote-node", "kube-apiserver")
    entities = st.sampled_from(names).map(
        lambda name: LabelSelector((Requirement(f"reserved:{name}", Operator.EXISTS),))
    )
    return written | entities


def cidr_selectors() -> st.SearchStrategy[CidrSelector]:
    block = st.sampled_from(_BLOCKS)
    return st.builds(
        lambda prefix, holes, pods: CidrSelector(prefix, tuple(sorted(set(holes))), pods),
        block,
        st.lists(block, max_size=2),
        st.booleans(),
    )


def http_matches() -> st.SearchStrategy[PortMatch]:
    http = st.lists(st.sampled_from(_HTTP), min_size=1, max_size=2, unique=True).map(tuple)
    low, high = st.sampled_from((79, 80, 80)), st.sampled_from((80, 81, 8080))
    by_number = st.builds(lambda first, last, some: PortMatch(TCP, first, last, "", some), low, high, http)
    return by_number | st.builds(lambda some: PortMatch(TCP, 0, 0, "http", some), http)


def port_matches() -> st.SearchStrategy[PortMatch]:
    numbers = st.sampled_from((0, 53, 79, 80, 81, 443, 8080, 65535))
    return (
        http_matches()
        | st.builds(
            lambda protocol, one, other: PortMatch(protocol, min(one, other), max(one, other)),
            st.sampled_from((TCP, UDP, SCTP)),
            numbers,
            numbers,
        )
        | st.just(PortMatch(TCP))
        | st.just(PortMatch(ICMP, 8 << 8, (8 << 8) | 255))
        | st.builds(lambda pair: PortMatch(pair[1], name=pair[0]), st.sampled_from((("http", TCP), ("dns", UDP))))
    )


def specs(ref: PolicyRef, *, http: bool = False) -> st.SearchStrategy[PolicySpec]:
    """``http``: mostly rules about requests, for everybody."""
    peers = st.none() | st.lists(label_selectors() | cidr_selectors(), max_size=3).map(tuple)
    ports = st.none() | st.lists(port_matches(), max_size=3).map(tuple)
    if http:
        peers = st.none() | st.lists(label_selectors(), min_size=1, max_size=2).map(tuple)
        ports = st.lists(http_matches(), min_size=1, max_size=3).map(tuple)
    rule = st.tuples(st.sampled_from(Direction), st.sampled_from(Action), peers, ports)
    return st.builds(
        lambda subject, isolates, rules: PolicySpec(
            ref,
            subject,
            isolates,
            tuple(Rule(ref, way, action, index, who, what) for index, (way, action, who, what) in enumerate(rules)),
        ),
        label_selectors(),
        st.frozensets(st.sampled_from(Direction)),
        st.lists(rule, max_size=4),
    )


def nodes() -> st.SearchStrategy[dict[str, Node]]:
    """None at all, or this node and another one."""
    own = Node(NODE.name, NODE.host_addresses, NODE.pod_cidrs)
    return st.sampled_from(({}, {own.name: own, OTHER.name: OTHER}))


def api_slices() -> st.SearchStrategy[dict[NamespacedName, EndpointSlice]]:
    """Of Service default/kubernetes."""
    key = NamespacedName("default", "kubernetes")
    return st.lists(st.sampled_from(API_SERVERS), max_size=2).map(
        lambda some: {key: EndpointSlice(key, "kubernetes", (), tuple(SliceEndpoint((each,)) for each in some))}
    )


def worlds(*, http: bool = False) -> st.SearchStrategy[World]:
    refs = [PolicyRef("CiliumNetworkPolicy", "a", name) for name in ("one", "two", "three")]
    optional = {ref: specs(ref, http=http).map(lambda spec: (spec,)) for ref in refs}
    return st.builds(
        lambda workloads, policies, known, slices: World(
            NODE,
            {space.name: space for space in _NAMESPACES},
            {pod.key: pod for pod in workloads},
            policies=policies,
            nodes=known,
            slices=slices,
        ),
        pods(),
        st.fixed_dictionaries({}, optional=optional),
        nodes(),
        api_slices(),
    )


@st.composite
def histories(draw: st.DrawFn, length: int = 3, *, http: bool = False) -> list[World]:
    """A world and what becomes of it: each time some pods and some policies are other ones, or gone."""
    sequence = [draw(worlds(http=http))]
    for _ in range(length - 1):
        before, other = sequence[-1], draw(worlds(http=http))
        renewed = draw(st.sets(st.sampled_from(("p0", "p1", "p2", "p3", "p4", "one", "two", "three", "nodes"))))
        workloads = [pod for pod in before.workloads.values() if pod.key.name not in renewed]
        workloads += [pod for pod in other.workloads.values() if pod.key.name in renewed]
        policies = {ref: specs for ref, specs in before.policies.items() if ref.name not in renewed}
        policies |= {ref: specs for ref, specs in other.policies.items() if ref.name in renewed}
        around = other if "nodes" in renewed else before
        pods_by_key = {pod.key: pod for pod in workloads}
        sequence.append(replace(around, workloads=pods_by_key, policies=policies))
    return sequence


@st.composite
def edits(draw: st.DrawFn) -> list[World]:
    """A world, and the same with other ports and directions in its rules: peers mostly stay, so do their classes."""
    before = draw(worlds())
    policies = {}
    for ref, written in before.policies.items():
        (spec,) = written
        rules = []
        for rule in spec.rules:
            ports = draw(st.just(rule.ports) | st.none() | st.lists(port_matches(), max_size=2).map(tuple))
            peers = draw(st.sampled_from((rule.peers, rule.peers, rule.peers, None)))
            direction = draw(st.sampled_from((rule.direction, rule.direction, *Direction)))
            rules.append(replace(rule, ports=ports, direction=direction, peers=peers))
        policies[ref] = (replace(spec, rules=tuple(rules)),)
    return [before, replace(before, policies=policies)]


def addresses(*some: World) -> list[IPAddress]:
    """Everybody worth asking about: pods, the node, the outside."""
    found = {address: None for world in some for pod in world.workloads.values() for address in pod.addresses}
    return [*found, *HOSTS, *OUTSIDE]


def describe(world: World) -> str:
    """A world as a person would write it down."""
    lines = []
    for pod in world.workloads.values():
        where = "local" if pod.local else "remote"
        ports = " ".join(f"{port.name}={port.port}/{port.protocol}" for port in pod.ports)
        lines.append(f"pod {pod.key} {dict(pod.labels)} {where} {' '.join(map(str, pod.addresses))} {ports}")
    lines.append(f"nodes {', '.join(world.nodes) or 'unknown'}")
    servers = (str(end.addresses[0]) for each in world.slices.values() for end in each.endpoints)
    lines.append(f"API servers {' '.join(servers)}")
    for ref, written in world.policies.items():
        for spec in written:
            isolates = ", ".join(way.name for way in sorted(spec.default_deny)) or "nothing"
            lines.append(f"policy {ref.name} selects {_spell(spec.subject)}, isolates {isolates}")
            for rule in spec.rules:
                peers = "any" if rule.peers is None else " | ".join(map(_spell, rule.peers)) or "none"
                ports = "any" if rule.ports is None else " | ".join(map(_spell_ports, rule.ports)) or "none"
                lines.append(
                    f"  [{rule.index}] {rule.action.value} {rule.direction.name} peers: {peers}; ports: {ports}"
                )
    return "\n".join(lines)


def _spell(selector: Selector) -> str:
    if isinstance(selector, CidrSelector):
        holes = f" except {', '.join(map(str, selector.excepts))}" if selector.excepts else ""
        return f"{selector.prefix}{holes}{' (pods too)' if selector.covers_pods else ''}"
    assert isinstance(selector, LabelSelector)
    parts = (f"{r.key} {r.operator.value} {'/'.join(r.values)}".strip() for r in selector.requirements)
    return f"({' and '.join(parts) or 'everybody'})"


def _spell_ports(ports: PortMatch) -> str:
    http = f" http {' or '.join(map(str, ports.http))}" if ports.http else ""
    return f"{ports.name or f'{ports.first}-{ports.last}'}/{ports.protocol}{http}"
