"""toPorts and icmps of a Cilium rule → PortMatch."""

from __future__ import annotations

from dataclasses import replace

from msgspec import UNSET

from weft.model.kinds.cilium import EgressRule, IngressRule, PortRule
from weft.model.origin import FieldPath
from weft.model.policy import Action, PortMatch
from weft.policy.cnphttp import http_of
from weft.policy.later import refuse_later
from weft.policy.portsyntax import cilium_port, icmp_type
from weft.policy.spot import Spot

Ports = tuple[tuple[PortMatch, ...] | None, tuple[FieldPath, ...]]


def ports_of(written: IngressRule | EgressRule, spot: Spot, action: Action) -> Ports:
    """The rule's ports and where each was written; None = every protocol and port."""
    if written.to_ports is UNSET and written.icmps is UNSET:
        return None, ()
    if written.to_ports is not UNSET and written.icmps is not UNSET:
        raise spot.at("icmps").error("icmps and toPorts in one rule", "give each a rule of its own, as Cilium asks")
    found: dict[PortMatch, FieldPath] = {}
    for match, path in (*_to_ports(written, spot, action), *_icmps(written, spot)):
        found.setdefault(match, path)
    return tuple(found), tuple(found.values())


def _to_ports(written: IngressRule | EgressRule, spot: Spot, action: Action) -> list[tuple[PortMatch, FieldPath]]:
    if written.to_ports is UNSET:
        return []
    _not_empty(written.to_ports, spot.at("toPorts"))
    found = []
    for index, rule in enumerate(written.to_ports):
        here = spot.at("toPorts", index)
        _refuse_later_ports(rule, here)
        ports = () if rule.ports is UNSET else rule.ports
        _not_empty(ports, here if rule.ports is UNSET else here.at("ports"))
        http = http_of(rule, here, action)
        for position, port in enumerate(ports):
            at = here.at("ports", position)
            found += [(replace(match, http=http), at.path) for match in cilium_port(port, at)]
    return found


def _icmps(written: IngressRule | EgressRule, spot: Spot) -> list[tuple[PortMatch, FieldPath]]:
    if written.icmps is UNSET:
        return []
    _not_empty(written.icmps, spot.at("icmps"))
    found = []
    for index, rule in enumerate(written.icmps):
        here = spot.at("icmps", index)
        fields = () if rule.fields is UNSET else rule.fields
        _not_empty(fields, here if rule.fields is UNSET else here.at("fields"))
        for position, field in enumerate(fields):
            at = here.at("fields", position)
            found.append((icmp_type(field, at), at.path))
    return found


def _not_empty(elements: tuple[object, ...], spot: Spot) -> None:
    if not elements:
        raise spot.error(
            "an empty list of ports: it could be read as every port or as none",
            'leave toPorts and icmps out for every port, or name a port ("0" = every port of a protocol)',
        )


def _refuse_later_ports(rule: PortRule, spot: Spot) -> None:
    if rule.authentication is not UNSET:
        raise spot.at("authentication").error(
            "authentication belongs to the rule, beside fromEndpoints or toEndpoints, not inside toPorts",
            "and there too this version of weft does not enforce it yet: leave it out",
        )
    refuse_later(rule, spot)
