"""A small scene for the flow tests: pods, identities, rules, and records as the kernel would write them."""

from __future__ import annotations

import ipaddress

from hypothesis import settings

from weft.datapath.layouts import FlowEvent
from weft.flows.hubble import NodeInfo
from weft.flows.names import NameBook, PodName
from weft.flows.ring import ByteRing
from weft.flows.store import FlowStore
from weft.flows.view import EventFlag, EventType
from weft.model.identity import Identity
from weft.model.labels import LabelSet
from weft.model.net import TCP, IdentityId, IPAddress, Prefix, RuleId, to_wide
from weft.model.objects import NamespacedName
from weft.model.origin import Origin
from weft.model.policy import Action, CidrSelector, Direction, LabelSelector, PolicyRef, PortMatch, Rule
from weft.model.verdicts import Verdict

STEADY = settings(deadline=None, derandomize=True)
"""For property tests: the same cases every time, however busy the machine is."""
OFFSET_NS = 1_700_000_000_000_000_000
"""Wall clock minus boot time."""
NODE = NodeInfo("node-1", run=0x0123_4567_89AB_CDEF)
FRONTEND_ID, API_ID, DB_ID, WORLD = 70_001, 70_002, 70_003, 2
UPLINK = 5
HEADER = b"\x78\0\0\0\0\0\0\0"


def address(text: str) -> IPAddress:
    return ipaddress.ip_address(text)


def pod(number: int, namespace: str, name: str, identity: int, *addresses: str, kind: str = "Deployment") -> PodName:
    labels = LabelSet({"k8s:app": name.rsplit("-", 1)[0], "k8s:io.kubernetes.pod.namespace": namespace})
    where = tuple(address(text) for text in addresses)
    owner = name.rsplit("-", 1)[0]
    return PodName(
        number, namespace, name, IdentityId(identity), labels, where, kind, owner, 100 + number, 5000 + number
    )


FRONTEND = pod(11, "default", "frontend-1", FRONTEND_ID, "10.244.0.11", "fd00:244::11")
API = pod(12, "default", "product-api-1", API_ID, "10.244.0.12", "fd00:244::12")
DB = pod(13, "data", "postgres-0", DB_ID, "10.244.0.13", kind="StatefulSet")
PODS = (FRONTEND, API, DB)


def rule(kind: str, name: str, direction: Direction, action: Action, line: int, *, ports: bool = True) -> Rule:
    list_name = {Action.ALLOW: "ingress", Action.DENY: "ingressDeny"}[action]
    if direction is Direction.EGRESS:
        list_name = list_name.replace("ingress", "egress")
    path = ("spec", list_name, 0)
    return Rule(
        PolicyRef(kind, "default", name),
        direction,
        action,
        0,
        (LabelSelector(),) if ports else (CidrSelector(Prefix(bytes(16), 0)),),
        (PortMatch(TCP, 8080, 8080),) if ports else None,
        Origin("shop/policies.yaml", {path: line}),
        path,
    )


ALLOW_RULE = rule("CiliumNetworkPolicy", "api", Direction.INGRESS, Action.ALLOW, 17)
DENY_RULE = rule("CiliumNetworkPolicy", "no-db", Direction.EGRESS, Action.DENY, 42)
OUT_RULE = rule("NetworkPolicy", "out", Direction.EGRESS, Action.ALLOW, 9, ports=False)
RULES = {RuleId(1): ALLOW_RULE, RuleId(2): DENY_RULE, RuleId(3): OUT_RULE}


def names() -> NameBook:
    book = NameBook()
    book.change_pods([], PODS, 0)
    labels = {each.identity: each.labels for each in PODS} | {IdentityId(WORLD): LabelSet({"reserved:world": ""})}
    book.set_identities({number: Identity(number, each) for number, each in labels.items()})
    book.set_services({(address("10.96.0.10"), 80, TCP): NamespacedName("default", "product-api")})
    book.set_rules(RULES)
    return book


def event(
    source: PodName | str = FRONTEND,
    destination: PodName | str = API,
    *,
    time_ns: int = 1_000,
    port: int = 8080,
    source_port: int = 45678,
    protocol: int = TCP,
    tcp_flags: int = 2,
    type_: EventType = EventType.POLICY_VERDICT,
    reason: Verdict = Verdict.FORWARDED,
    flags: EventFlag = EventFlag.INGRESS,
    egress_rule: int = 0,
    ingress_rule: int = 0,
    ethertype: int = 0x0800,
    folded: int = 0,
    family: int = 4,
    cgroup: int = 0,
    ifindex: int | None = None,
) -> FlowEvent:
    def end(who: PodName | str) -> tuple[bytes, int, int]:
        if isinstance(who, str):
            return to_wide(address(who)), WORLD, 0
        return to_wide(next(each for each in who.addresses if each.version == family)), who.identity, who.id

    from_, to = end(source), end(destination)
    return FlowEvent(
        time_ns=time_ns,
        source=from_[0],
        destination=to[0],
        source_port=source_port,
        destination_port=port,
        protocol=protocol,
        tcp_flags=tcp_flags if protocol == TCP else 0,
        type=type_,
        reason=reason,
        source_identity=from_[1],
        destination_identity=to[1],
        source_endpoint=from_[2],
        destination_endpoint=to[2],
        egress_rule=egress_rule,
        ingress_rule=ingress_rule,
        revision=7,
        length=74,
        folded=folded,
        ethertype=0x86DD if family == 6 else ethertype,
        flags=flags,
        ifindex=ifindex if ifindex is not None else UPLINK if isinstance(source, str) else source.ifindex,
        source_mac=bytes.fromhex("02770af4000b"),
        destination_mac=bytes.fromhex("027765667401"),
        cgroup=cgroup,
    )


def record(made: FlowEvent) -> bytes:
    return HEADER + made.pack()


def store_of(*events: FlowEvent, records: int = 64) -> FlowStore:
    store = FlowStore(ByteRing(records), names(), NODE, lambda: OFFSET_NS)
    store.append(b"".join(record(made) for made in events))
    return store
