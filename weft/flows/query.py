"""What is asked of the flow store, as a value that travels from CLI to agent: Hubble's GetFlowsRequest and FlowFilter
(api/v1/observer, api/v1/flow of cilium/cilium) with their JSON names, as far as layers 3, 4 and HTTP
reach."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

Verdicts = Literal["FORWARDED", "DROPPED", "ERROR", "AUDIT", "REDIRECTED", "TRACED", "TRANSLATED"]
Directions = Literal["INGRESS", "EGRESS"]
Versions = Literal["IPv4", "IPv6", "IP_NOT_USED"]
IdentityNumber = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]


class _Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Defaults are left out of JSON; an unknown field is refused, never ignored."""


class EventTypeFilter(_Message, frozen=True):
    type: int = 0
    """0 = every type."""
    match_sub_type: bool = False
    sub_type: int = 0


class WorkloadFilter(_Message, frozen=True):
    """Empty = every one."""

    name: str = ""
    kind: str = ""


class HeaderFilter(_Message, frozen=True):
    """flow.HTTPHeader: both must be equal; the name in any case."""

    key: str = ""
    value: str = ""


class FlowFilter(_Message, frozen=True):
    """All fields that are set must match; of the values of one field any may."""

    uuid: tuple[str, ...] = ()
    source_ip: tuple[str, ...] = ()
    """Addresses or CIDRs."""
    source_pod: tuple[str, ...] = ()
    """``[namespace/][prefix of the name]``; without a namespace: ``default``; ``/x``: in any."""
    source_label: tuple[str, ...] = ()
    """Label selectors."""
    source_service: tuple[str, ...] = ()
    """Like source_pod; matches the frontend's address and port."""
    source_workload: tuple[WorkloadFilter, ...] = ()
    source_identity: tuple[IdentityNumber, ...] = ()
    source_port: tuple[str, ...] = ()
    destination_ip: tuple[str, ...] = ()
    destination_pod: tuple[str, ...] = ()
    destination_label: tuple[str, ...] = ()
    destination_service: tuple[str, ...] = ()
    destination_workload: tuple[WorkloadFilter, ...] = ()
    destination_identity: tuple[IdentityNumber, ...] = ()
    destination_port: tuple[str, ...] = ()
    traffic_direction: tuple[Directions, ...] = ()
    verdict: tuple[Verdicts, ...] = ()
    drop_reason_desc: tuple[str, ...] = ()
    """flow.DropReason's names, or weft's own (``ARP_FILTERED``)."""
    event_type: tuple[EventTypeFilter, ...] = ()
    http_status_code: tuple[str, ...] = ()
    """``404``, or the beginning of one: ``4+``, ``40+``."""
    protocol: tuple[str, ...] = ()
    http_method: tuple[str, ...] = ()
    """In any case."""
    http_path: tuple[str, ...] = ()
    """RE2 expressions, found anywhere in the path; without the query."""
    http_url: tuple[str, ...] = ()
    """RE2 expressions, found anywhere in the URL."""
    http_header: tuple[HeaderFilter, ...] = ()
    reply: tuple[bool, ...] = ()
    tcp_flags: tuple[dict[str, bool], ...] = ()
    """``{"SYN": true, "ACK": true}``: packets that have at least these."""
    ip_version: tuple[Versions, ...] = ()
    node_name: tuple[str, ...] = ()
    """Shell patterns."""
    trace_id: tuple[str, ...] = ()
    """W3C trace ids: 32 hex digits."""


class FlowsRequest(_Message, frozen=True):
    """A flow is answered if a filter of ``whitelist`` matches (or there is none) and none of ``blacklist`` does."""

    number: int = 0
    """The last (with ``first``: the first) so many that match; 0 = all, or with ``follow`` only what is to come."""
    first: bool = False
    follow: bool = False
    whitelist: tuple[FlowFilter, ...] = ()
    blacklist: tuple[FlowFilter, ...] = ()
    since: str = ""
    """RFC 3339; this moment or later."""
    until: str = ""
    """RFC 3339; this moment or earlier. Not with ``follow``."""

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = msgspec.to_builtins(self)
        return value

    @classmethod
    def from_json(cls, value: Any) -> FlowsRequest:
        """Errors: ValueError that names the field."""
        try:
            return msgspec.convert(value, cls)
        except msgspec.ValidationError as error:
            raise ValueError(f"flow query: {error}") from None
