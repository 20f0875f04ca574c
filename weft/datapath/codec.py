"""The plan's values (weft.model.desired) ⇄ bytes of the kernel's maps. Byte order: weft.datapath.layouts."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from weft.datapath import layouts
from weft.datapath.maps import Map
from weft.model.desired import (
    Backend,
    BackendKey,
    Desired,
    EndpointEntry,
    IpcacheEntry,
    MapName,
    MemberKey,
    NodeEntry,
    PolicyEntry,
    PolicyKey,
    RouteKey,
    ServiceEntry,
    ServiceKey,
)
from weft.model.net import ClassId, EndpointId, IdentityId, Prefix, RuleId, TableId


class Codec(NamedTuple):
    """How one map's keys and values are written: entries whose fields are those of the layout, by the layout itself."""

    key: Callable[[Any], bytes]
    value: Callable[[Any], bytes]


_PREFIX_LENGTHS = [layouts.IpcacheKey(layouts.IPCACHE_PAD_BITS + bits, b"").pack()[:8] for bits in range(129)]
"""How the keys of prefixes of this many bits begin."""


def _ipcache_key(prefix: Prefix) -> bytes:
    return _PREFIX_LENGTHS[prefix.bits] + prefix.address


def _policy_key(key: PolicyKey) -> bytes:
    return layouts.PolicyKey(key.bits, key.table, key.class_, key.protocol, key.port).pack()


_NO_RANGE = (b"\xff" * 16, bytes(16))
"""No address & mask is equal to the range."""


def _node(entry: NodeEntry) -> bytes:
    found = [_NO_RANGE, _NO_RANGE]
    for each in entry.ranges:
        mask = ((1 << each.bits) - 1 << (128 - each.bits)).to_bytes(16, "big")
        found[each.network().version == 6] = (each.address, mask)
    return layouts.Node(*(one for one, _ in found), *(mask for _, mask in found)).pack()


CODECS: Mapping[MapName, Codec] = {
    "endpoints": Codec(bytes, layouts.Endpoint.pack),
    "ipcache": Codec(_ipcache_key, layouts.IpcacheEntry.pack),
    "nodes": Codec(bytes, _node),
    "policy": Codec(
        _policy_key, lambda entry: layouts.PolicyEntry(entry.rule, entry.action, entry.flags, entry.l7).pack()
    ),
    "services": Codec(lambda key: layouts.ServiceKey(*key).pack(), lambda entry: layouts.Service(*entry).pack()),
    "routes": Codec(lambda key: layouts.RouteKey(*key).pack(), lambda listener: struct.pack("=I", listener)),
    "backends": Codec(lambda key: layouts.BackendKey(*key).pack(), lambda entry: layouts.Backend(*entry).pack()),
    "backend_members": Codec(
        lambda key: layouts.MemberKey(key.address, key.port, key.backends).pack(), lambda _: b"\1"
    ),
}


def read(maps: Mapping[str, Map]) -> Desired:
    """What the kernel holds. Backend lists and member sets that a dying agent left half written, which nothing refers
    to, are deleted on the way."""
    return Desired(
        endpoints=_endpoints(maps["endpoints"]),
        ipcache=_ipcache(maps["ipcache"]),
        nodes=_nodes(maps["nodes"]),
        tables=_tables(maps["policy"]),
        services=(services := _services(maps["services"])),
        backends=(backends := _backends(maps["backends"], {entry.backends for entry in services.values()})),
        member_lists=_member_lists(maps["backend_members"], backends),
        routes={
            RouteKey(*layouts.RouteKey.unpack(raw)): int.from_bytes(value, "little")
            for raw, value in maps["routes"].items()
        },
    )


def _endpoints(source: Map) -> dict[bytes, EndpointEntry]:
    found = {}
    for key, value in source.items():
        e = layouts.Endpoint.unpack(value)
        found[key] = EndpointEntry(
            EndpointId(e.id), e.ifindex, IdentityId(e.identity), ClassId(e.class_),
            TableId(e.ingress_table), TableId(e.egress_table), e.mac, e.scope,
        )  # fmt: skip
    return found


def _ipcache(source: Map) -> dict[Prefix, IpcacheEntry]:
    found = {}
    for raw, value in source.items():
        key, e = layouts.IpcacheKey.unpack(raw), layouts.IpcacheEntry.unpack(value)
        prefix = Prefix(key.address, key.prefixlen - layouts.IPCACHE_PAD_BITS)
        found[prefix] = IpcacheEntry(IdentityId(e.identity), ClassId(e.class_), e.flags)
    return found


def _nodes(source: Map) -> dict[bytes, NodeEntry]:
    found = {}
    for key, value in source.items():
        e = layouts.Node.unpack(value)
        pairs = ((e.range_0, e.mask_0), (e.range_1, e.mask_1))
        found[key] = NodeEntry(tuple(Prefix(each, sum(map(int.bit_count, mask))) for each, mask in pairs if any(mask)))
    return found


def _tables(source: Map) -> dict[TableId, dict[PolicyKey, PolicyEntry]]:
    found: dict[TableId, dict[PolicyKey, PolicyEntry]] = {}
    for raw, value in source.items():
        k, e = layouts.PolicyKey.unpack(raw), layouts.PolicyEntry.unpack(value)
        key = PolicyKey(TableId(k.table), ClassId(k.class_), k.protocol, k.port, k.prefixlen)
        found.setdefault(key.table, {})[key] = PolicyEntry(e.action, RuleId(e.rule), e.flags, e.l7)
    return found


def _services(source: Map) -> dict[ServiceKey, ServiceEntry]:
    return {
        ServiceKey(*layouts.ServiceKey.unpack(raw)): ServiceEntry(*layouts.Service.unpack(value))
        for raw, value in source.items()
    }


def _backends(source: Map, in_use: set[int]) -> dict[int, tuple[Backend, ...]]:
    slots: dict[int, dict[int, Backend]] = {}
    for raw, value in source.items():
        key = layouts.BackendKey.unpack(raw)
        slots.setdefault(key.backends, {})[key.slot] = Backend(*layouts.Backend.unpack(value))
    found = {}
    for number, items in slots.items():
        if number in in_use or set(items) == set(range(len(items))):
            found[number] = tuple(items[slot] for slot in sorted(items))
        else:
            source.delete_batch([CODECS["backends"].key(BackendKey(number, slot)) for slot in items])
    return found


def _member_lists(source: Map, backends: Mapping[int, tuple[Backend, ...]]) -> frozenset[int]:
    members: dict[int, set[Backend]] = {}
    for raw in source.keys():  # noqa: SIM118
        key = layouts.MemberKey.unpack(raw)
        members.setdefault(key.backends, set()).add(Backend(key.address, key.port))
    whole = frozenset(number for number, found in members.items() if found == set(backends.get(number, ())))
    encode = CODECS["backend_members"].key
    for number in members.keys() - whole:
        source.delete_batch([encode(MemberKey(number, member.address, member.port)) for member in members[number]])
    return whole
