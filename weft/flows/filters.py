"""``FlowFilter`` → a test of one flow, with the meaning of Hubble's server (pkg/hubble/filters of cilium/cilium)."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from operator import attrgetter
from typing import Any

from weft.flows import spelling
from weft.flows.httpfilters import HTTP_FIELDS, RecordPredicate, is_http
from weft.flows.hubble import NodeInfo, uuid_number
from weft.flows.names import PodName
from weft.flows.query import EventTypeFilter, FlowFilter, FlowsRequest, WorkloadFilter
from weft.flows.selector import parse_selector, selector_matches
from weft.flows.view import End, FlowView
from weft.model.labels import LabelSet
from weft.model.net import ICMP, ICMPV6, SCTP, TCP, UDP, IPNetwork
from weft.model.verdicts import Verdict

Predicate = Callable[[FlowView], bool]
EndPredicate = Callable[[End], bool]

PROTOCOLS = {
    "icmp": (ICMP, ICMPV6),
    "icmpv4": (ICMP,),
    "icmpv6": (ICMPV6,),
    "tcp": (TCP,),
    "udp": (UDP,),
    "sctp": (SCTP,),
}
LAYER7 = ("dns", "http", "kafka")


def compile_request(request: FlowsRequest, node: NodeInfo) -> Predicate:
    """Errors: ValueError that names the field and the value."""
    allow = [compile_filter(item, node) for item in request.whitelist]
    deny = [compile_filter(item, node) for item in request.blacklist]

    def test(view: FlowView) -> bool:
        return (not allow or any(part(view) for part in allow)) and not any(part(view) for part in deny)

    return test


def compile_filter(flow_filter: FlowFilter, node: NodeInfo) -> Predicate:
    """All fields that are set, joined by "and". Errors: ValueError that names the field and the value."""
    parts: list[Predicate] = []
    for name in flow_filter.__struct_fields__:
        values = getattr(flow_filter, name)
        if not values:
            continue
        side, _, end_field = name.partition("_")
        try:
            if side in ("source", "destination"):
                parts.append(
                    _at_end(side, _END_FIELDS[end_field](values), has_ip=end_field in ("ip", "port", "service"))
                )
            elif name in HTTP_FIELDS:
                parts.append(_in_http(HTTP_FIELDS[name](values)))
            else:
                parts.append(_FLOW_FIELDS[name](values, node))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    about_http = [name for name in HTTP_FIELDS if name != "trace_id" and getattr(flow_filter, name)]
    types = {each.type for each in flow_filter.event_type}
    if about_http and types and not types & {0, spelling.L7}:
        raise ValueError(f"{about_http[0]}: only events of type l7 have one; event_type asks for others")
    return lambda view: all(part(view) for part in parts)


def _in_http(test: RecordPredicate) -> Predicate:
    return lambda view: view.l7 is not None and test(view.l7)


def _at_end(side: str, test: EndPredicate, *, has_ip: bool) -> Predicate:
    """``has_ip``: the field is one of the IP packet, so what is none (or was not read as one) does not match."""
    end: Callable[[FlowView], End] = attrgetter(side)
    if has_ip:
        return lambda view: view.ip_version != 0 and test(end(view))
    return lambda view: test(end(view))


# ---- one end ---------------------------------------------------------------------------------------------------------


def network(text: str) -> IPNetwork:
    """An address (as its /32 or /128) or a CIDR. Errors: ValueError."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is neither an IP address nor a CIDR") from None


def _by_ip(values: Iterable[str]) -> EndPredicate:
    networks = [network(value) for value in values]
    return lambda end: any(end.address in known for known in networks)


def port(text: str) -> int:
    """Errors: ValueError."""
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise ValueError(f"{text!r} is no port; expected 0..65535")
    return int(text)


def _by_port(values: Iterable[str]) -> EndPredicate:
    ports = frozenset(port(value) for value in values)
    return lambda end: end.port in ports and end.protocol in (TCP, UDP, SCTP)


def namespaced(text: str) -> tuple[str, str]:
    """``[namespace/][prefix]`` → (namespace, prefix); an empty namespace means any. Errors: ValueError if empty."""
    if not text:
        raise ValueError("empty name; expected [namespace/][name]")
    namespace, slash, prefix = text.partition("/")
    return (namespace, prefix) if slash else ("default", text)


def _name_test(values: Iterable[str]) -> Callable[[str, str], bool]:
    wanted = [namespaced(value) for value in values]

    def test(namespace: str, name: str) -> bool:
        return any(name.startswith(prefix) and where in ("", namespace) for where, prefix in wanted)

    return test


def pod_test(pods: Iterable[str], workloads: Iterable[WorkloadFilter]) -> Callable[[PodName], bool]:
    """One of the names and one of the workloads, as far as there are any."""
    named = _name_test(pods) if pods else lambda namespace, name: True
    wanted = [(each.name, each.kind) for each in workloads]

    def test(pod: PodName) -> bool:
        if wanted and not any(
            pod.workload_name and name in ("", pod.workload_name) and kind in ("", pod.workload_kind)
            for name, kind in wanted
        ):
            return False
        return named(pod.namespace, pod.name)

    return test


def _by_pod(values: Iterable[str]) -> EndPredicate:
    test = pod_test(values, ())
    return lambda end: end.pod is not None and test(end.pod)


def _by_workload(values: Iterable[WorkloadFilter]) -> EndPredicate:
    test = pod_test((), values)
    return lambda end: end.pod is not None and test(end.pod)


def _by_service(values: Iterable[str]) -> EndPredicate:
    test = _name_test(values)
    return lambda end: end.service is not None and test(end.service.namespace, end.service.name)


def label_test(values: Iterable[str]) -> Callable[[LabelSet], bool]:
    selectors = [parse_selector(value) for value in values]
    return lambda labels: any(selector_matches(selector, labels) for selector in selectors)


def _by_label(values: Iterable[str]) -> EndPredicate:
    test = label_test(values)
    return lambda end: test(end.labels)


def _by_identity(values: Iterable[int]) -> EndPredicate:
    wanted = frozenset(values)
    return lambda end: end.identity in wanted


_END_FIELDS: dict[str, Callable[[Any], EndPredicate]] = {
    "ip": _by_ip,
    "port": _by_port,
    "pod": _by_pod,
    "service": _by_service,
    "workload": _by_workload,
    "label": _by_label,
    "identity": _by_identity,
}


# ---- the flow --------------------------------------------------------------------------------------------------------


def _by_uuid(values: Iterable[str], node: NodeInfo) -> Predicate:
    numbers = frozenset(uuid_number(node.run, value) for value in values)
    return lambda view: view.number in numbers


def _by_verdict(values: Iterable[str], node: NodeInfo) -> Predicate:
    return lambda view: view.verdict in values


def drop_reasons(values: Iterable[str]) -> frozenset[Verdict]:
    """The verdicts that go by these names, Hubble's or weft's own. Errors: ValueError."""
    found = set()
    for value in values:
        named = [reason for reason in Verdict if value in (reason.name, reason.hubble_name)]
        if not named:
            raise ValueError(f"{value!r} is no drop reason that weft knows (docs/VERDICTS.md)")
        found.update(named)
    return frozenset(found)


def _by_drop_reason(values: Iterable[str], node: NodeInfo) -> Predicate:
    reasons = drop_reasons(values)
    return lambda view: view.reason in reasons


def _by_event_type(values: Iterable[EventTypeFilter], node: NodeInfo) -> Predicate:
    def matches(wanted: EventTypeFilter, view: FlowView) -> bool:
        if wanted.type == spelling.DROP and view.dropped and view.l7 is None:
            # A refusal by policy is one record here; Cilium writes two, a policy verdict and a drop.
            return not wanted.match_sub_type or wanted.sub_type == spelling.DROP_REASONS[view.drop_reason_desc]
        if wanted.type not in (0, view.event_type):
            return False
        return not wanted.match_sub_type or wanted.sub_type == view.event_sub_type

    return lambda view: any(matches(wanted, view) for wanted in values)


def protocol_numbers(values: Iterable[str]) -> frozenset[int]:
    """Of layer 4; names of layer 7 are known and give none. Errors: ValueError."""
    numbers: set[int] = set()
    for value in values:
        name = value.lower()
        if name not in PROTOCOLS and name not in LAYER7:
            raise ValueError(f"unknown protocol {value!r}; expected one of {', '.join((*PROTOCOLS, *LAYER7))}")
        numbers.update(PROTOCOLS.get(name, ()))
    return frozenset(numbers)


def _by_protocol(values: Iterable[str], node: NodeInfo) -> Predicate:
    numbers = protocol_numbers(values)
    http = any(value.lower() == "http" for value in values)

    def test(view: FlowView) -> bool:
        if view.ip_version != 0 and view.packet.protocol in numbers:
            return True
        return http and view.l7 is not None and is_http(view.l7)

    return test


def tcp_mask(flags: dict[str, bool]) -> int:
    """The bits that must be set. Errors: ValueError."""
    unknown = [name for name in flags if name not in spelling.TCP_FLAGS]
    if unknown:
        raise ValueError(f"unknown TCP flag {unknown[0]!r}; expected one of {', '.join(spelling.TCP_FLAGS)}")
    return sum(1 << bit for bit, name in enumerate(spelling.TCP_FLAGS) if flags.get(name))


def _by_tcp_flags(values: Iterable[dict[str, bool]], node: NodeInfo) -> Predicate:
    masks = [tcp_mask(flags) for flags in values]

    def test(view: FlowView) -> bool:
        tcp = view.ip_version != 0 and view.packet.protocol == TCP and view.l7 is None
        return tcp and any(view.packet.tcp_flags & mask == mask for mask in masks)

    return test


def _by_ip_version(values: Iterable[str], node: NodeInfo) -> Predicate:
    versions = {"IPv4": 4, "IPv6": 6, "IP_NOT_USED": 0}
    wanted = frozenset(versions[value] for value in values)
    return lambda view: view.ip_version in wanted


def _by_direction(values: Iterable[str], node: NodeInfo) -> Predicate:
    return lambda view: view.direction in values


def _by_reply(values: Iterable[bool], node: NodeInfo) -> Predicate:
    return lambda view: view.is_reply is not None and view.is_reply in values


def _by_node(values: Iterable[str], node: NodeInfo) -> Predicate:
    matching = any(fnmatchcase(node.name, value) for value in values)
    return lambda view: matching


_FLOW_FIELDS: dict[str, Callable[[Any, NodeInfo], Predicate]] = {
    "uuid": _by_uuid,
    "verdict": _by_verdict,
    "drop_reason_desc": _by_drop_reason,
    "event_type": _by_event_type,
    "protocol": _by_protocol,
    "tcp_flags": _by_tcp_flags,
    "ip_version": _by_ip_version,
    "traffic_direction": _by_direction,
    "reply": _by_reply,
    "node_name": _by_node,
}
