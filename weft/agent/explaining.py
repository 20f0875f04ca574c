"""Answers of ``weft explain``: the reference model's, and beside it the loaded program's."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from weft.agent.resolve import Resolver, Target
from weft.api.server import Refusal
from weft.datapath.layouts import PolicyQuery
from weft.flows.hubble import why
from weft.flows.view import EventFlag, FlowView
from weft.model.http import HttpMatch, HttpRuleSet
from weft.model.net import PROTOCOL_NUMBERS, IPAddress, RuleId, from_wide
from weft.model.policy import Direction, Rule
from weft.model.verdicts import VERDICTS, Verdict
from weft.model.world import World
from weft.plan import Compiled
from weft.policy.explain import Explanation, explain
from weft.policy.explainhttp import Asked
from weft.policy.http import Request
from weft.policy.parties import Party
from weft.policy.render import Quote, render, to_json
from weft.routes.book import RouteBook
from weft.routes.explain import RouteExplanation, explain_route, render_route, route_json

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the loaded program said of one connection."""

    reason: Verdict
    refused_by: Direction | None
    egress_rule: RuleId
    ingress_rule: RuleId
    egress_l7: int = 0
    """The listener that has to see the requests; 0 = none."""
    ingress_l7: int = 0

    @classmethod
    def of(cls, said: PolicyQuery) -> Answer:
        refused_by = None
        if said.reason in (Verdict.POLICY_DENIED, Verdict.POLICY_DENY):
            refused_by = Direction.INGRESS if said.flags & EventFlag.INGRESS else Direction.EGRESS
        rules = RuleId(said.egress_rule), RuleId(said.ingress_rule)
        return cls(VERDICTS[said.reason], refused_by, *rules, said.egress_l7, said.ingress_l7)


Question = tuple[IPAddress, IPAddress, int, int]
"""Source, destination, protocol, port (host byte order)."""
AskKernel = Callable[[Sequence[Question]], Sequence[Answer]]
_NO_FLOW = "--flow: not an IP flow; expected a line of `weft observe -o json`, with its IP and l4"
FindFlow = Callable[[str], FlowView | None]


def answer(world: World, plan: Compiled, body: Json, ask_kernel: AskKernel, find_flow: FindFlow, quote: Quote) -> Json:
    """``{"text", "json", "disagrees"}`` for a request of the API. ``plan``: what is in force. Errors: Refusal."""
    resolver = Resolver(world, body.get("namespace") or "default")
    request = request_of(body["request"], body.get("destination") or "") if body.get("request") else None
    head: list[str] = []
    route = None
    if body.get("flow"):
        source, targets, head = _of_flow(resolver, body["flow"], find_flow)
        sources = [source]
    elif body.get("source") and body.get("destination"):
        sources = resolver.sources(body["source"])
        route = _route(resolver, sources, body["destination"], request)
        if route is None:
            targets = resolver.targets(body["destination"])
        else:
            head, targets = list(render_route(route)), _backends(resolver, route)
            if not targets:
                return {"text": "\n".join(head), "json": {"route": route_json(route)}, "disagrees": False}
    else:
        raise Refusal("name a connection: FROM TO:PORT[/PROTO], or --flow with a flow of `weft observe -o json`")
    groups = _grouped(resolver, sources, targets, request)
    texts, values, disagrees = list(head), [], False
    for (found, target), others in groups:
        texts += [render(found, quote)] + ([f"the same for {', '.join(others)}"] if others else [])
        value = to_json(found, quote) | {"via": target.via, "same_for": others}
        value |= {"route": route_json(route)} if route else {}
        if target.via:
            texts.insert(len(head), f"{target.via} -> {target.party.name}:{target.port}")
        if body.get("kernel"):
            differs, said = _compare(found, plan, ask_kernel)
            texts.append(said)
            value["kernel"] = {"agrees": not differs, "text": said}
            disagrees |= differs
        values.append(value)
    return {"text": "\n".join(texts), "json": values[0] if len(values) == 1 else values, "disagrees": disagrees}


def _route(
    resolver: Resolver, sources: Sequence[Party], destination: str, request: Request | None
) -> RouteExplanation | None:
    """What the routes of a Service's port make of a request; None: none is asked about, or no pod's would be routed."""
    world, port, client = resolver.world, resolver.service_port(destination), sources[0].key
    if request is None or port is None or client is None:
        return None
    book = RouteBook()
    book.update(world.routes, world.services, world.grants)
    return explain_route(book.tables.get(port, {}), client.namespace, Asked.of(request))


def _backends(resolver: Resolver, route: RouteExplanation) -> list[Target]:
    """Whom Envoy may pick: policy is asked about each. Errors: Refusal where no pod is behind one."""
    chosen = route.chosen
    if chosen is None or chosen.redirect is not None:
        return []
    refs = dict.fromkeys(choice.cluster for choice in chosen.backends if choice.weight and choice.cluster)
    return [target for ref in refs for target in resolver.backends(ref)]


def request_of(written: Json, destination: str) -> Request:
    """``{"method", "path", "headers": ["Name: value"]}``. Errors: Refusal."""
    headers: dict[str, str] = {}
    for text in written.get("headers", ()):
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise Refusal(f'"{text}" is not a header; expected "name: value"')
        name = name.strip().lower()
        headers[name] = f"{headers[name]},{value.strip()}" if name in headers else value.strip()
    host = headers.pop("host", None)
    dialled = destination.rpartition("/")[0] if destination.rpartition("/")[2].isalpha() else destination
    return Request(written["method"], written["path"], dialled.removesuffix(":80") if host is None else host, headers)


def _grouped(
    resolver: Resolver, sources: Sequence[Party], targets: Sequence[Target], request: Request | None
) -> list[tuple[tuple[Explanation, Target], list[str]]]:
    """Connections that policy treats alike are told once, with the names of the others."""
    groups: dict[object, tuple[tuple[Explanation, Target], list[str]]] = {}
    for source in sources:
        for target in targets:
            ends = _same_family(resolver, source, target.party)
            found = explain(resolver.parties.specs, *ends, target.protocol, target.port, request)
            alike = (found.decision, target.port, target.protocol)
            if alike in groups:
                groups[alike][1].append(f"{source.name} -> {target.party.name}")
            else:
                groups[alike] = ((found, target), [])
    return list(groups.values())


def _same_family(resolver: Resolver, source: Party, target: Party) -> tuple[Party, Party]:
    """A packet has addresses of one family: a pod takes part with its address of the other end's. Errors: Refusal."""
    versions = from_wide(source.address).version, from_wide(target.address).version
    if versions[0] == versions[1] or not any(source.address):
        return source, target
    if (other := _with_version(resolver, source, versions[1])) is not None:
        return other, target
    if (other := _with_version(resolver, target, versions[0])) is not None:
        return source, other
    raise Refusal(f"no packet goes from {source.name} to {target.name}: IPv{versions[0]} here, IPv{versions[1]} there")


def _with_version(resolver: Resolver, pod: Party, version: int) -> Party | None:
    workload = resolver.world.workloads.get(pod.key) if pod.key else None
    found = [address for address in (workload.addresses if workload else ()) if address.version == version]
    return resolver.parties.at(found[0]) if found else None


def _compare(found: Explanation, plan: Compiled, ask_kernel: AskKernel) -> tuple[bool, str]:
    """(the loaded program says otherwise, a line that tells). It says which rule and which listener of Envoy's decides;
    the plan, what those numbers mean."""
    if not any(found.source.address):
        return False, "kernel: not asked, no pod has these labels"
    question = (from_wide(found.source.address), from_wide(found.destination.address), found.protocol, found.port)
    said = ask_kernel([question])[0]
    rules, decision = plan.rules, found.decision
    sides = (
        (Direction.EGRESS, said.egress_rule, said.egress_l7, decision.egress),
        (Direction.INGRESS, said.ingress_rule, said.ingress_l7, decision.ingress),
    )
    spelled = [
        f"{direction.name.lower()} rule {rules[rule].policy}" + (f" at Envoy's listener {l7}" if l7 else "")
        for direction, rule, l7, _ in sides
        if rule in rules
    ]
    line = f"kernel: {'FORWARDED' if said.reason == Verdict.FORWARDED else 'DROPPED ' + said.reason.text}"
    line += f" ({', '.join(spelled)})" if spelled else ""
    same = said.reason == decision.reason and said.refused_by == decision.refused_by
    for direction, rule, l7, side in sides:
        refused_earlier = direction is Direction.INGRESS and decision.refused_by is Direction.EGRESS
        same &= refused_earlier or rules.get(rule) == (side.rule if side else None)
        same &= not decision.forwarded or _requests(plan, l7) == (side.http if side else None)
    return not same, line + (", agrees" if same else ", DISAGREES: please report this with `weft bpf policy`")


def _requests(plan: Compiled, listener: int) -> tuple[tuple[Rule | None, HttpMatch], ...] | None:
    """The requests that a listener lets pass; None: whatever is said, no listener is asked."""
    content = plan.desired.listeners.get(listener)
    if not isinstance(content, HttpRuleSet):
        return () if listener else None
    return tuple((plan.rules.get(rule), match) for rule, match in content.permissions)


def _of_flow(resolver: Resolver, text: str, find_flow: FindFlow) -> tuple[Party, list[Target], list[str]]:
    """A record of ``weft observe``: as JSON, or its uuid. What was said then goes first, what policy says now after."""
    flow: Json = {}
    uuid = text.strip()
    if uuid.startswith("{"):
        try:
            flow = json.loads(uuid)
            flow = flow.get("flow", flow)
            uuid = flow["uuid"]
        except (ValueError, KeyError, AttributeError):
            raise Refusal(_NO_FLOW) from None
    view = find_flow(uuid)
    if view is not None:
        packet = view.packet
        if not view.ip_version:
            raise Refusal(f"this record is no IP packet: {view.reason.text}")
        ends, protocol, port = (packet.source, packet.destination), packet.protocol, packet.destination_port
        if view.is_reply:  # policy is asked about the connection
            ends, port = ends[::-1], packet.source_port if view.has_ports else port
        then = f"recorded: {view.verdict} {view.reason.text}"
        head = [then + (f"; {why(view)}" if why(view) else ""), "now:"]
    elif flow:
        ends, protocol, port = _from_json(flow)
        head = [f"recorded: {flow.get('verdict', '')} {flow.get('drop_reason_desc', '')}".rstrip(), "now:"]
    else:
        raise Refusal(f"--flow {uuid}: no such record here any more; give the whole flow as JSON")
    source, destination = resolver.parties.at(ends[0]), resolver.parties.at(ends[1])
    return source, [Target(destination, protocol, port)], head


def _from_json(flow: Json) -> tuple[tuple[IPAddress, IPAddress], int, int]:
    known = {name.upper(): number for name, number in PROTOCOL_NUMBERS.items()} | {"ICMPV4": 1}
    try:
        ends = (ipaddress.ip_address(flow["IP"]["source"]), ipaddress.ip_address(flow["IP"]["destination"]))
        ((name, layer),) = flow["l4"].items()
        protocol = known[name.upper()]
        icmp = int(layer.get("type", 0)) << 8 | int(layer.get("code", 0))
        reply = bool(flow.get("is_reply"))
        port = int(layer.get("source_port" if reply else "destination_port", icmp))
        return ends[::-1] if reply else ends, protocol, port
    except (KeyError, ValueError, AttributeError):
        raise Refusal(_NO_FLOW) from None
