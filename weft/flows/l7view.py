"""A layer-7 record with its names.

Hubble has two flows for a request, weft has one: it goes from client to server, and it is a RESPONSE (with status and
latency, at the time of the answer) if there was an answer, else a REQUEST. The client is the real one, whoever Envoy's
upstream connection belongs to. Of a routed request the destination is the backend that Envoy chose and the destination
service the one that the client dialled; where nobody was chosen, the destination is the service's address.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

from weft.flows import spelling
from weft.flows.httpfilters import is_http, url_of
from weft.flows.join import Join
from weft.flows.names import Names
from weft.flows.view import ETHERTYPE_IP, ETHERTYPE_IPV6, End, EventFlag, FlowView
from weft.model.flow import Packet
from weft.model.http import HttpMatch, HttpRuleSet
from weft.model.l7 import L7Record, L7Verdict, Phase, PolicyRuleRef, RouteRuleRef
from weft.model.net import TCP, EndpointId, IdentityId, IPAddress, RuleId
from weft.model.origin import FieldPath, Origin, spell
from weft.model.policy import Rule
from weft.model.route import RouteRule, RouteTable
from weft.model.verdicts import Verdict


class Deciding(NamedTuple):
    """The rule of a policy or a route that decided, as far as it is known by name."""

    name: str
    """``CiliumNetworkPolicy/default/api``, ``HTTPRoute/default/product-api``"""
    path: str
    """``spec.ingress[0].toPorts[0].rules.http[0]``, ``spec.rules[1]``"""
    title: str = ""
    """Of a named route rule."""
    origin: Origin | None = None
    line: int = 0

    def __str__(self) -> str:
        return f"{self.name} {self.path}" + (f" ({self.title})" if self.title else "")


class L7View(FlowView):
    """``end_ns``: CLOCK_BOOTTIME of the record's end. ``join``: gives the layer-4 record of the same connection, which
    knows identities of peers that are no pods. Names are looked up when they are asked for: most filters need none."""

    l7: L7Record

    def __init__(self, record: L7Record, end_ns: int, number: int, names: Names, join: Join, *, wall_ns: int) -> None:
        self.l7, self._end_ns, self._join = record, end_ns, join
        self.number, self.wall_ns, self._names = number, wall_ns, names

    @cached_property
    def packet(self) -> Packet:  # type: ignore[override]
        """As if it were one packet from client to server, so that all that reads packets reads it too."""
        record, names, end_ns = self.l7, self._names, self._end_ns
        unknown = names.pod(record.client, 0, end_ns) is None
        unknown |= record.phase is not Phase.ROUTE and names.pod(record.server, 0, end_ns) is None
        return _packet(record, end_ns, names, self._join.find(record, end_ns) if unknown else None)

    @cached_property
    def ip_version(self) -> int:
        return self.l7.client.version

    @property
    def reason(self) -> Verdict:
        if not self.dropped:
            return Verdict.FORWARDED
        return Verdict.INVALID_PACKET if self.l7.phase is Phase.ROUTE else Verdict.POLICY_DENIED

    @cached_property
    def destination(self) -> End:
        end = End(self.packet, self._names, source=False)
        if self.l7.phase is Phase.ROUTE:
            end.dialled = (self.l7.server, self.l7.server_port)
        return end

    @property
    def type(self) -> str:
        """Hubble's flow.L7FlowType."""
        return "RESPONSE" if self.l7.status else "REQUEST"

    @property
    def verdict(self) -> str:
        return self.l7.verdict.name

    @property
    def dropped(self) -> bool:
        return self.l7.verdict is L7Verdict.DROPPED

    @property
    def event_type(self) -> int:
        return spelling.L7

    @property
    def event_sub_type(self) -> int:
        return 0

    @property
    def by_policy(self) -> bool:
        return True

    @property
    def direction(self) -> str:
        return "INGRESS" if self.l7.phase is Phase.INGRESS else "EGRESS"

    @property
    def is_reply(self) -> bool | None:
        return False

    @property
    def summary(self) -> str:
        """Hubble's words; behind them what decided, and why it is not a plain answer."""
        return "; ".join(part for part in (self._hubble_summary, *self._remarks()) if part)

    @property
    def _hubble_summary(self) -> str:
        record = self.l7
        request = " ".join(part for part in (record.method, url_of(record)) if part)
        if not is_http(record):
            return record.protocol
        if not record.status:
            return record.protocol + (f" {request}" if request else "")
        return f"{record.protocol} {record.status} {record.latency_ns // 1_000_000}ms" + (
            f" ({request})" if request else ""
        )

    def _remarks(self) -> list[str]:
        record = self.l7
        remarks = [f"grpc-status {record.grpc_status}" if record.grpc_status else ""]
        if record.phase is Phase.ROUTE and (service := self.destination.service):
            remarks.append(f"Service {service.namespace}/{service.name}:{record.server_port}")
        remarks.append(str(self.deciding) if self.deciding else "")
        remarks += [self.why or record.details]
        remarks.append(f"not as headerMatches says: {', '.join(record.mismatches)}" if record.mismatches else "")
        return remarks

    @cached_property
    def deciding(self) -> Deciding | None:
        ref = self.l7.rule
        if isinstance(ref, RouteRuleRef):
            return self._route_rule(ref)
        rule = self._names.rule(ref.rule) if ref else None
        return _policy_rule(rule, self._match(ref)) if ref and rule else None

    @property
    def egress_rule(self) -> Rule | None:
        return self._rule_of(Phase.EGRESS)

    @property
    def ingress_rule(self) -> Rule | None:
        return self._rule_of(Phase.INGRESS)

    def _rule_of(self, phase: Phase) -> Rule | None:
        ref = self.l7.rule
        return self._names.rule(ref.rule) if self.l7.phase is phase and isinstance(ref, PolicyRuleRef) else None

    @cached_property
    def why(self) -> str:
        """Of a request that no http rule allows: whose rules were asked. Empty for everything else."""
        listener = self._names.listener(self.l7.listener)
        if not (self.dropped and self.l7.status == 403 and isinstance(listener, HttpRuleSet)):
            return ""
        rules = [self._names.rule(number) for number in dict.fromkeys(each.rule for each in listener.permissions)]
        known = [f"{rule.policy}, {spell(rule.path)} ({rule.origin.at(rule.path)})" for rule in rules if rule]
        return f"no http rule allows it: {'; '.join(known)}" if known else ""

    def _match(self, ref: PolicyRuleRef) -> HttpMatch | None:
        """The alternative itself; None if the listener's number means other rules by now."""
        listener = self._names.listener(self.l7.listener)
        if not isinstance(listener, HttpRuleSet) or ref.position >= len(listener.permissions):
            return None
        permission = listener.permissions[ref.position]
        return permission.match if permission.rule == ref.rule else None

    def _route_rule(self, ref: RouteRuleRef) -> Deciding:
        listener = self._names.listener(self.l7.listener)
        rules: tuple[RouteRule, ...] = listener.rules if isinstance(listener, RouteTable) else ()
        rule = next((rule for rule in rules if (rule.route, rule.rule) == (ref.route, ref.rule)), None)
        path: FieldPath = ("spec", "rules", ref.rule)
        if rule is None:
            return Deciding(str(ref.route), spell(path))
        return Deciding(str(ref.route), spell(path), rule.name, rule.origin, rule.origin.line(path))


def _policy_rule(rule: Rule, match: HttpMatch | None) -> Deciding:
    path = match.field_path if match and match.field_path else rule.path
    return Deciding(str(rule.policy), spell(path), "", rule.origin, rule.origin.line(path))


def _packet(record: L7Record, end_ns: int, names: Names, joined: Packet | None) -> Packet:
    routed = record.phase is Phase.ROUTE and record.upstream is not None
    target = record.upstream if routed and record.upstream else record.server
    source = _who(record.client, names, end_ns, joined, source=True)
    # Who the layer-4 record was for is the service's address if Envoy went elsewhere.
    destination = _who(target, names, end_ns, None if routed else joined, source=False)
    number = RuleId(record.rule.rule) if isinstance(record.rule, PolicyRuleRef) else RuleId(0)
    return Packet(
        time_ns=end_ns,
        source=record.client,
        destination=target,
        source_port=record.client_port,
        destination_port=record.upstream_port if routed else record.server_port,
        protocol=TCP,
        tcp_flags=0,
        type=0,
        reason=Verdict.FORWARDED,
        source_identity=source[1],
        destination_identity=destination[1],
        source_endpoint=source[0],
        destination_endpoint=destination[0],
        egress_rule=number if record.phase is Phase.EGRESS else RuleId(0),
        ingress_rule=number if record.phase is Phase.INGRESS else RuleId(0),
        revision=joined.revision if joined else 0,
        length=0,
        folded=0,
        ethertype=ETHERTYPE_IP if record.client.version == 4 else ETHERTYPE_IPV6,
        flags=EventFlag.INGRESS if record.phase is Phase.INGRESS else 0,
        ifindex=0,
        source_mac=bytes(6),
        destination_mac=bytes(6),
        cgroup=0,
    )


def _who(
    address: IPAddress, names: Names, time_ns: int, joined: Packet | None, *, source: bool
) -> tuple[EndpointId, IdentityId]:
    """(endpoint number or 0, identity or 0)."""
    pod = names.pod(address, 0, time_ns)
    if pod:
        return EndpointId(pod.id), pod.identity
    if joined is None:
        return EndpointId(0), IdentityId(0)
    if source:
        return joined.source_endpoint, joined.source_identity
    return joined.destination_endpoint, joined.destination_identity
