"""Selectors, ports and rules in words, as their authors wrote them: for explanations and warnings."""

from __future__ import annotations

from weft.model.labels import (
    ANY,
    CLUSTER_KEY,
    K8S,
    NAMESPACE_KEY,
    NAMESPACE_LABEL_PREFIX,
    SERVICE_ACCOUNT_KEY,
    LabelSet,
)
from weft.model.net import ICMP, ICMPV6, PROTOCOL_NAMES
from weft.model.origin import spell
from weft.model.policy import (
    CidrSelector,
    LabelSelector,
    Operator,
    PortMatch,
    Requirement,
    Rule,
    Selector,
)
from weft.policy.icmp import ICMP_TYPES

_ICMP_FAMILIES = {ICMP: "IPv4", ICMPV6: "IPv6"}
_GIVEN = {
    NAMESPACE_KEY: "namespace",
    NAMESPACE_KEY.replace(K8S, ANY, 1): "namespace",
    SERVICE_ACCOUNT_KEY: "service account",
    SERVICE_ACCOUNT_KEY.replace(K8S, ANY, 1): "service account",
    CLUSTER_KEY: "cluster",
}


def spell_key(key: str) -> str:
    """``app``, ``namespace``, ``label team of the namespace``, ``reserved:host``."""
    if key in _GIVEN:
        return _GIVEN[key]
    source, _, bare = key.partition(":")
    inside = NAMESPACE_LABEL_PREFIX.partition(":")[2]
    if bare.startswith(inside):
        return f"namespace label {bare.removeprefix(inside)}"
    return bare if source in (K8S, ANY) else key


def spell_requirement(requirement: Requirement) -> str:
    key, values = spell_key(requirement.key), requirement.values
    match requirement.operator:
        case Operator.IN if len(values) == 1:
            return f"{key}={values[0]}" if values[0] or not key.startswith("reserved:") else key
        case Operator.IN:
            return f"{key} in ({', '.join(values)})"
        case Operator.NOT_IN if len(values) == 1:
            return f"{key}!={values[0]}"
        case Operator.NOT_IN:
            return f"{key} not in ({', '.join(values)})"
        case Operator.EXISTS:
            return {"namespace": "a pod"}.get(key, key)
        case Operator.DOES_NOT_EXIST:
            return f"no {key}"


def spell_selector(selector: Selector) -> str:
    match selector:
        case LabelSelector():
            return ", ".join(map(spell_requirement, selector.requirements)) or "everything"
        case CidrSelector():
            holes = f" except {', '.join(map(str, selector.excepts))}" if selector.excepts else ""
            return f"{selector.prefix}{holes}"
        case _:
            where = f" in {selector.namespace}" if selector.namespace else ""
            what = selector.name or spell_selector(selector.labels or LabelSelector())
            return f"service {what}{where}"


def spell_labels(labels: LabelSet) -> str:
    """A pod's labels without those that every pod has; an entity's name."""
    shown = (
        f"{key.partition(':')[2]}={value}" if key.startswith(K8S + ":") else key
        for key, value in labels.items()
        if key not in _GIVEN and not key.startswith(NAMESPACE_LABEL_PREFIX)
    )
    return ",".join(shown)


def spell_protocol(protocol: int) -> str:
    return PROTOCOL_NAMES.get(protocol, f"protocol {protocol}")


def spell_port(protocol: int, port: int) -> str:
    """``8080/TCP``, ``ICMP EchoRequest``, ``protocol 47``: what a packet has."""
    if protocol in _ICMP_FAMILIES:
        return f"{spell_protocol(protocol)} {_icmp_name(protocol, port >> 8)}"
    return f"{port}/{PROTOCOL_NAMES[protocol]}" if protocol in PROTOCOL_NAMES else f"protocol {protocol}"


def spell_match(match: PortMatch) -> str:
    """``80/TCP``, ``8000-9000/UDP``, ``http/TCP``, ``any/SCTP``, ``ICMP EchoRequest``: what a rule asks for."""
    if match.protocol in _ICMP_FAMILIES:
        one_type = match.last == match.first | 255
        return f"{spell_protocol(match.protocol)} {_icmp_name(match.protocol, match.first >> 8) if one_type else 'any'}"
    return f"{spell_ports(match)}/{spell_protocol(match.protocol)}"


def spell_ports(match: PortMatch) -> str:
    if match.name:
        return match.name
    if (match.first, match.last) == (0, 65535):
        return "any"
    return str(match.first) if match.first == match.last else f"{match.first}-{match.last}"


def spell_rule(rule: Rule) -> str:
    """``CiliumNetworkPolicy/shop/api ingress[0]``: policy and field; ``specs[1].`` where there are several."""
    return f"{rule.policy} {spell(rule.path[1:] if rule.path[:1] == ('spec',) else rule.path)}"


def _icmp_name(protocol: int, number: int) -> str:
    names = {value: name for name, value in ICMP_TYPES[_ICMP_FAMILIES[protocol]].items()}
    return names.get(number, str(number))
