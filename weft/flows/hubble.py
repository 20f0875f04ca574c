"""``FlowView`` → Hubble's ``flow.Flow`` in protobuf JSON, exactly: field names and order of api/v1/flow/flow.proto
(cilium/cilium), default values left out, 64-bit numbers as strings, timestamps as RFC 3339.

What Hubble has no field for goes into ``extensions`` (field 150000, a protobuf Any), here a google.protobuf.Struct.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from weft.flows import spelling
from weft.flows.httpfilters import is_http, url_of
from weft.flows.l7view import Deciding, L7View
from weft.flows.view import End, EventFlag, FlowView
from weft.model.l7 import L7Record
from weft.model.net import ICMP, ICMPV6, PROTOCOL_NAMES, IPAddress
from weft.model.objects import NamespacedName
from weft.model.origin import spell
from weft.model.policy import Action, Direction, Rule
from weft.model.verdicts import Verdict

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """What every flow of a node says about the node."""

    name: str
    cluster: str = "default"
    run: int = 0
    """64 random bits, drawn when the ring was made: with a record's number they make its uuid."""


def response(view: FlowView, node: NodeInfo) -> Json:
    """GetFlowsResponse: what ``hubble observe -o json`` (and its alias jsonpb) prints, one per line."""
    flow = flow_json(view, node)
    return {"flow": flow, "node_name": node.name, "time": flow["time"]}


def lost_response(source: str, count: int, node: NodeInfo, wall_ns: int) -> Json:
    """GetFlowsResponse with lost_events. ``source``: flow.LostEventSource, ``PERF_EVENT_RING_BUFFER`` (the kernel could
    not hand them over) or ``HUBBLE_RING_BUFFER`` (overwritten before this reader came to them)."""
    lost = {"source": source, "num_events_lost": str(count)}
    return {"lost_events": lost, "node_name": node.name, "time": timestamp(wall_ns)}


def flow_json(view: FlowView, node: NodeInfo) -> Json:
    """flow.Flow. Absent keys are protobuf defaults; ``source``, ``destination`` and a known ``is_reply`` are messages
    of their own and so always there."""
    packet = view.packet
    flow: Json = {
        "time": timestamp(view.wall_ns),
        "uuid": record_uuid(node.run, view.number),
        "verdict": view.verdict,
        "drop_reason": spelling.DROP_REASONS[view.drop_reason_desc],
        "ethernet": _set(source=_mac(packet.source_mac), destination=_mac(packet.destination_mac)),
        "IP": _ip(view),
        "l4": _layer4(view),
        "source": _endpoint(view.source, node),
        "destination": _endpoint(view.destination, node),
        "Type": "L7" if view.l7 else "L3_L4",
        "node_name": node.name,
        "l7": _layer7(view),
        "reply": view.is_reply,
        "event_type": _set(type=view.event_type, sub_type=view.event_sub_type),
        "source_service": _service(view.source.service),
        "destination_service": _service(view.destination.service),
        "traffic_direction": view.direction,
        "policy_match_type": view.policy_match_type,
        "trace_observation_point": view.trace_point.upper().replace("-", "_"),
        "drop_reason_desc": view.drop_reason_desc if view.dropped else "",
        "is_reply": view.is_reply,
        "interface": _set(index=packet.ifindex),
        "trace_context": {"parent": {"trace_id": view.l7.trace_id}} if view.l7 and view.l7.trace_id else {},
        "Summary": view.summary,
        "extensions": {"@type": "type.googleapis.com/google.protobuf.Struct", "value": _extensions(view)},
        **_policies(view),
    }
    always = {"source", "destination"} | ({"is_reply"} if view.is_reply is not None else set())
    return {key: value for key, value in flow.items() if value or key in always}


def timestamp(wall_ns: int) -> str:
    """google.protobuf.Timestamp in JSON: UTC, with 0, 3, 6 or 9 digits of fraction, as many as are needed."""
    seconds, nanos = divmod(wall_ns, 1_000_000_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    digits = f"{nanos:09}"
    for _ in range(3):
        digits = digits.removesuffix("000")
    return f"{text}.{digits}Z" if digits else f"{text}Z"


def record_uuid(run: int, number: int) -> str:
    """A version 4 uuid in form; its low 62 bits are the record's number, so that the record can be found again."""
    return str(UUID(int=(run & 2**64 - 1) << 64 | number, version=4))


def uuid_number(run: int, uuid: str) -> int | None:
    """The record's number, or None if the uuid is not of this ring."""
    try:
        number = UUID(uuid).int & 2**62 - 1
    except ValueError:
        return None
    return number if record_uuid(run, number) == uuid.lower() else None


def _set(**fields: Any) -> Json:
    return {key: value for key, value in fields.items() if value}


def _mac(address: bytes) -> str:
    return address.hex(":") if any(address) else ""


def _ip(view: FlowView) -> Json:
    if not view.ip_version:
        return {}
    packet = view.packet
    return {
        "source": str(packet.source),
        "destination": str(packet.destination),
        "ipVersion": f"IPv{view.ip_version}",
    }


def _layer4(view: FlowView) -> Json:
    packet = view.packet
    if view.has_ports:
        layer = _set(source_port=packet.source_port, destination_port=packet.destination_port)
        if view.tcp_flags:
            layer["flags"] = dict.fromkeys(view.tcp_flags, True)
        return {PROTOCOL_NAMES[packet.protocol]: layer}
    if view.ip_version and packet.protocol in (ICMP, ICMPV6):
        type_, code = divmod(packet.destination_port, 256)
        return {"ICMPv4" if packet.protocol == ICMP else "ICMPv6": _set(type=type_, code=code)}
    return {}


def _layer7(view: FlowView) -> Json:
    """flow.Layer7. A connection in which Envoy saw no request has no ``http``."""
    if not isinstance(view, L7View):
        return {}
    record, http = view.l7, {}
    if is_http(record):
        headers = [{"key": name, "value": value} for name, value in record.request_headers]
        http = _set(
            code=record.status, method=record.method, url=url_of(record), protocol=record.protocol, headers=headers
        )
    return {"type": view.type, **_set(latency_ns=str(record.latency_ns) if record.latency_ns else "", http=http)}


def _endpoint(end: End, node: NodeInfo) -> Json:
    pod = end.pod
    return _set(
        ID=end.endpoint,
        identity=end.identity,
        cluster_name=node.cluster if pod else "",
        namespace=pod.namespace if pod else "",
        labels=end.labels.spelled(),
        pod_name=pod.name if pod else "",
        workloads=[_set(name=pod.workload_name, kind=pod.workload_kind)] if pod and pod.workload_name else [],
    )


def _service(name: NamespacedName | None) -> Json:
    return _set(name=name.name, namespace=name.namespace) if name else {}


def _policies(view: FlowView) -> Json:
    """{egress,ingress}_{allowed,denied}_by, of policy verdicts and of requests that http rules judged.

    A flow can be allowed at both ends; one refuses it."""
    fields: Json = {}
    if not view.by_policy:
        return fields
    for direction, rule in ((Direction.EGRESS, view.egress_rule), (Direction.INGRESS, view.ingress_rule)):
        if not rule:
            continue
        verb = "denied" if rule.action is Action.DENY else "allowed"
        fields[f"{direction.name.lower()}_{verb}_by"] = [_policy(rule, view.packet.revision)]
    return fields


def _policy(rule: Rule, revision: int) -> Json:
    """flow.Policy, with the labels that Cilium gives to the rules of a policy."""
    policy = rule.policy
    prefix = "k8s:io.cilium.k8s.policy."
    labels = [f"{prefix}derived-from={policy.kind}", f"{prefix}name={policy.name}"]
    if policy.namespace:
        labels.append(f"{prefix}namespace={policy.namespace}")
    shown = str(revision) if revision else ""
    return _set(name=policy.name, namespace=policy.namespace, labels=labels, revision=shown, kind=policy.kind)


def _extensions(view: FlowView) -> Json:
    """What weft knows beyond Hubble's fields."""
    packet = view.packet
    return _set(
        reason=view.reason.name if view.dropped else "",
        reason_text=view.reason.text if view.dropped else "",
        why=why(view),
        egress_rule=_provenance(view.egress_rule),
        ingress_rule=_provenance(view.ingress_rule),
        from_proxy=bool(packet.flags & EventFlag.FROM_PROXY),
        decided_again=bool(packet.flags & EventFlag.AGAIN),
        changed_by=list(map(str, view.policy_edit.policies)) if view.policy_edit else [],
        changed_in_revision=view.policy_edit.revision if view.policy_edit else 0,
        folded=packet.folded,
        length=packet.length,
        revision=packet.revision,
        ethertype="" if view.ip_version else f"0x{packet.ethertype:04x}",
        protocol=packet.protocol if view.ip_version and not _layer4(view) else 0,
        **(_http_extensions(view, view.l7) if isinstance(view, L7View) else {}),
    )


def _http_extensions(view: L7View, record: L7Record) -> Json:
    return _set(
        phase=record.phase.value,
        listener=record.listener,
        dialled=_socket(record.server, record.server_port),
        upstream=_socket(record.upstream, record.upstream_port) if record.upstream else "",
        decided_by=_deciding(view.deciding) if view.deciding else {},
        details=record.details,
        original_path=record.original_path,
        grpc_status=record.grpc_status,
        mismatches=list(record.mismatches),
        request_id=record.request_id,
        traceparent=record.traceparent,
        request_bytes=record.request_bytes,
        response_bytes=record.response_bytes,
    )


def _socket(address: IPAddress, port: int) -> str:
    return f"{address}:{port}" if address.version == 4 else f"[{address}]:{port}"


def _deciding(deciding: Deciding) -> Json:
    """The rule of a policy or a route, down to the alternative that fitted."""
    kind, _, name = deciding.name.partition("/")
    file = deciding.origin.file if deciding.origin else ""
    return _set(kind=kind, name=name, rule=deciding.path, rule_name=deciding.title, file=file, line=deciding.line)


def _provenance(rule: Rule | None) -> Json:
    if not rule:
        return {}
    where = {"file": rule.origin.file, "line": rule.origin.line(rule.path)}
    return {"policy": str(rule.policy), "rule": spell(rule.path), **where}


def why(view: FlowView) -> str:
    """For a refusal by policy: which rule, or at which end none allows it. Empty for everything else.

    Of a request: whose http rules do not allow it, or what else was wrong with it."""
    if isinstance(view, L7View):
        return view.why or view.l7.details
    if view.reason not in (Verdict.POLICY_DENIED, Verdict.POLICY_DENY, Verdict.POLICY_REVOKED):
        return ""
    edit = view.policy_edit
    changed = f"policy changed by {', '.join(map(str, edit.policies))}, revision {edit.revision}: " if edit else ""
    return changed + _ground(view)


def _ground(view: FlowView) -> str:
    ingress = view.direction == "INGRESS"
    rule = view.ingress_rule if ingress else view.egress_rule
    if rule and rule.action is Action.DENY:
        return f"denied by {rule.policy}, {spell(rule.path)} ({rule.origin.at(rule.path)})"
    pod = view.refusing.pod
    subject = f"{pod.namespace}/{pod.name}" if pod else "the pod"
    return f"no {view.direction.lower()} rule of the policies that select {subject} allows it"
