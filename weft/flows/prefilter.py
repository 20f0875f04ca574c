"""The cheap first look: which records of a span can match at all, read from their bytes a column at a time.

A test names one byte of a record and the values it may have. Columns are cut out by a strided slice, translated to 0
and 1, and joined as big integers, so a span of thousands of records costs microseconds and no record is decoded. What
is left is decoded and tested exactly (``filters``): the prefilter may let too much through, never too little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from mmap import mmap
from typing import Any, NamedTuple

from weft.flows.decode import OFFSETS
from weft.flows.filters import drop_reasons, label_test, network, pod_test, port, protocol_numbers, tcp_mask
from weft.flows.httpfilters import HTTP_FIELDS
from weft.flows.names import NO_LABELS, Names, PodName
from weft.flows.query import FlowFilter
from weft.flows.ring import RECORD, Span
from weft.flows.spelling import DROP, L7, POLICY_VERDICT, TRACE
from weft.flows.view import ETHERTYPE_IP, ETHERTYPE_IPV6, EventFlag, EventType
from weft.model.labels import LabelSet
from weft.model.net import SCTP, TCP, UDP, IPNetwork, Prefix, to_wide


class ByteTest(NamedTuple):
    offset: int
    table: bytes
    """256 bytes: 1 where the byte may have that value."""


All = tuple[ByteTest, ...]
"""Every test must hold."""
Clause = tuple[All, ...]
"""One of them must hold."""


class Prefilter:
    """The necessary conditions of a whitelist: one of its filters, each of whose clauses holds."""

    def __init__(self, whitelist: Iterable[FlowFilter], names: Names) -> None:
        self._filters = [_clauses(item, names) for item in whitelist]

    def candidates(self, data: mmap | bytearray, span: Span) -> bytes:
        """One byte for each record of the span: 1 if it may match."""
        every = int.from_bytes(b"\1" * span.length, "little")
        if not self._filters:
            return b"\1" * span.length
        found = 0
        for clauses in self._filters:
            mask = every
            for clause in clauses:
                mask &= _any_of(clause, data, span, every)
            found |= mask
        return found.to_bytes(span.length, "little")


def _any_of(clause: Clause, data: mmap | bytearray, span: Span, every: int) -> int:
    found = 0
    for tests in clause:
        mask = every
        for test in tests:
            column = data[span.start + test.offset : span.start + span.length * RECORD : RECORD]
            mask &= int.from_bytes(column.translate(test.table), "little")
            if not mask:
                break
        found |= mask
    return found


def _clauses(item: FlowFilter, names: Names) -> list[Clause]:
    clauses = [build(values) for name, build in _FIELDS.items() if (values := getattr(item, name))]
    for side in ("source", "destination"):
        pods, workloads = getattr(item, f"{side}_pod"), getattr(item, f"{side}_workload")
        if pods or workloads:
            test = pod_test(pods, workloads)
            clauses.append(_pods(side, [pod for pod in names.pods() if test(pod)]))
        if selectors := getattr(item, f"{side}_label"):
            clauses += _labels(side, label_test(selectors), names)
        if identities := getattr(item, f"{side}_identity"):
            clauses.append(_identities(side, set(identities), names))
    return clauses


def _pods(side: str, pods: list[PodName]) -> Clause:
    """One of these pods by endpoint number, by address if the record has none (``Names.pod``), or as the sender."""
    numbers = {pod.id.to_bytes(4, "little") for pod in pods if pod.id}
    addresses = {to_wide(address) for pod in pods for address in pod.addresses}
    none = _among(f"{side}_endpoint", {bytes(4)}, 4)
    by_address = (*none, *_among(side, addresses, 16))
    return (_among(f"{side}_endpoint", numbers, 4), by_address, *_senders(side, pods))


def _senders(side: str, pods: list[PodName]) -> Clause:
    """Sent by one of these pods, whatever the packet claims (``Names.sender``)."""
    if side == "destination":
        return ()
    devices = {pod.ifindex.to_bytes(4, "little") for pod in pods if pod.ifindex}
    cgroups = {pod.cgroup.to_bytes(8, "little") for pod in pods if pod.cgroup}
    return (_among("ifindex", devices, 4), _among("cgroup", cgroups, 8))


def _identities(side: str, wanted: set[int], names: Names) -> Clause:
    numbers = {number.to_bytes(4, "little") for number in wanted}
    pods = [pod for pod in names.pods() if pod.identity in wanted]
    return (_among(f"{side}_identity", numbers, 4), *_senders(side, pods))


def _labels(side: str, test: Callable[[LabelSet], bool], names: Names) -> list[Clause]:
    """Of an identity that is not known the labels are not either: if those match, everything may."""
    if test(NO_LABELS):
        return []
    matching = {number for number, labels in names.identities() if test(labels)}
    matching |= {pod.identity for pod in names.pods() if test(pod.labels)}
    return [_identities(side, matching, names)]


def _among(field: str, values: set[bytes], size: int) -> All:
    """One of these values, byte by byte: bytes of different values may mix, so this lets some others through."""
    return tuple(_byte(field, {value[index] for value in values}, index) for index in range(size))


# ---- fields ----------------------------------------------------------------------------------------------------------


def _byte(field: str, allowed: Iterable[int], index: int = 0) -> ByteTest:
    table = bytearray(256)
    for value in allowed:
        table[value] = 1
    return ByteTest(OFFSETS[field] + index, bytes(table))


def _number(field: str, value: int) -> All:
    """Of two bytes, in network order."""
    octets = value.to_bytes(2, "big")
    return tuple(_byte(field, [octet], index) for index, octet in enumerate(octets))


def _with_bits(field: str, mask: int) -> ByteTest:
    return _byte(field, (value for value in range(256) if value & mask == mask))


def _without_bits(field: str, mask: int) -> ByteTest:
    return _byte(field, (value for value in range(256) if not value & mask))


def _inside(field: str, known: IPNetwork) -> All:
    prefix = Prefix.of(known)
    whole, rest = divmod(prefix.bits, 8)
    first = 10 if known.version == 4 else 0  # ten zero bytes say little
    tests = [_byte(field, [prefix.address[index]], index) for index in range(first, whole)]
    if rest:
        low = prefix.address[whole]
        tests.append(_byte(field, range(low, low + (1 << 8 - rest)), whole))
    return tuple(tests)


def _verdict(values: Iterable[str]) -> Clause:
    passed, proxied = _byte("reason", [0]), EventFlag.PROXIED
    tests: dict[str, All] = {
        "FORWARDED": (passed, _without_bits("flags", proxied)),
        "REDIRECTED": (passed, _with_bits("flags", proxied)),
        "DROPPED": (_byte("reason", range(1, 256)),),
    }
    return tuple(tests[value] for value in values if value in tests)


def _event_type(values: Iterable[Any]) -> Clause:
    tests = {
        0: _byte("type", range(256)),
        DROP: _byte("reason", range(1, 256)),
        TRACE: _byte("type", [EventType.TRACE]),
        POLICY_VERDICT: _byte("type", [EventType.POLICY_VERDICT]),
    }
    return tuple((tests.get(value.type, _byte("type", [])),) for value in values)


def _drop_reason(values: Iterable[str]) -> Clause:
    return ((_byte("reason", drop_reasons(values)),),)


def _reply(values: Iterable[bool]) -> Clause:
    tests = {True: _with_bits("flags", EventFlag.REPLY), False: _without_bits("flags", EventFlag.REPLY)}
    return tuple((tests[value],) for value in values)


def _tcp(values: Iterable[dict[str, bool]]) -> Clause:
    return tuple((_byte("protocol", [TCP]), _with_bits("tcp_flags", tcp_mask(flags))) for flags in values)


def _version(values: Iterable[str]) -> Clause:
    ethertypes = {"IPv4": ETHERTYPE_IP, "IPv6": ETHERTYPE_IPV6}
    every = ((_byte("ethertype", range(256)),),)
    if "IP_NOT_USED" in values:
        return every
    return tuple(_number("ethertype", ethertypes[value]) for value in values)


def _ports(side: str) -> Callable[[Iterable[str]], Clause]:
    carrier = _byte("protocol", (TCP, UDP, SCTP))
    return lambda values: tuple((carrier, *_number(f"{side}_port", port(value))) for value in values)


def _addresses(side: str) -> Callable[[Iterable[str]], Clause]:
    return lambda values: tuple(_inside(side, network(value)) for value in values)


_FIELDS: dict[str, Callable[[Any], Clause]] = {
    "verdict": _verdict,
    "event_type": _event_type,
    "drop_reason_desc": _drop_reason,
    "protocol": lambda values: ((_byte("protocol", protocol_numbers(values)),),),
    "reply": _reply,
    "tcp_flags": _tcp,
    "ip_version": _version,
    "source_port": _ports("source"),
    "destination_port": _ports("destination"),
    "source_ip": _addresses("source"),
    "destination_ip": _addresses("destination"),
    **dict.fromkeys(HTTP_FIELDS, lambda values: ()),
}


def layer7_possible(whitelist: Iterable[FlowFilter]) -> bool:
    """Whether a layer-7 flow could match: if not, none has to be decoded."""
    filters = tuple(whitelist)
    return not filters or any(_layer7_possible(item) for item in filters)


def _layer7_possible(item: FlowFilter) -> bool:
    protocols = {value.lower() for value in item.protocol}
    return not (
        (item.event_type and not any(each.type in (0, L7) for each in item.event_type))
        or item.tcp_flags
        or (protocols and not protocols & {"tcp", "http"})
        or (item.reply and False not in item.reply)
        or (item.ip_version and set(item.ip_version) == {"IP_NOT_USED"})
    )
