"""A query and a zone → the reply, or what must be asked elsewhere first. No I/O."""

from __future__ import annotations

import random
from dataclasses import dataclass

from dnslib import AAAA, CNAME, EDNS0, NS, PTR, QTYPE, RCODE, RR, SOA, SRV, TXT, A, DNSRecord

from weft.runtime.dns.records import Record, Zone

MAX_UDP = 1232
"""Largest UDP answer (DNS flag day 2020: fits every path without fragments)."""
_CNAME_HOPS = 8
_IN, _ANY = 1, 255
_BADVERS = 16
_TRANSFERS = {"AXFR", "IXFR"}
_DATA = {"A": A, "AAAA": AAAA, "CNAME": CNAME, "PTR": PTR, "NS": NS, "TXT": TXT}


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The rest of an answer is not the cluster's: ``name`` must be asked upstream (the query's own name, or the end of
    a CNAME chain that ``reply`` holds so far)."""

    name: str
    reply: DNSRecord


def name_of(query: DNSRecord) -> str:
    return str(query.q.qname).rstrip(".").lower()


def respond(zone: Zone | None, query: DNSRecord) -> DNSRecord | Elsewhere:
    """``zone`` None: there was no zone file yet, so the cluster's names cannot be told from others."""
    reply = query.reply(ra=1, aa=0)
    reply.rr, reply.auth, reply.ar = [], [], []
    options = edns(query)
    if query.header.opcode != 0:
        return _fails(reply, RCODE.NOTIMP)
    if len(query.questions) != 1:
        return _fails(reply, RCODE.FORMERR)
    if options is not None and options.edns_ver:
        reply.add_ar(EDNS0(version=0, ext_rcode=_BADVERS >> 4, udp_len=MAX_UDP))
        return _fails(reply, _BADVERS & 15)
    if query.q.qclass not in (_IN, _ANY) or QTYPE.get(query.q.qtype) in _TRANSFERS:
        return _fails(reply, RCODE.REFUSED)
    if zone is None:
        return _fails(reply, RCODE.SERVFAIL)
    return _look_up(zone, query, reply)


def edns(message: DNSRecord) -> RR | None:
    """The OPT record."""
    return next((record for record in message.ar if record.rtype == QTYPE.OPT), None)


def _fails(reply: DNSRecord, code: int) -> DNSRecord:
    reply.header.rcode = code
    return reply


def _look_up(zone: Zone, query: DNSRecord, reply: DNSRecord) -> DNSRecord | Elsewhere:
    wanted = str(QTYPE.get(query.q.qtype))
    name, owner = name_of(query), query.q.qname
    for _ in range(_CNAME_HOPS):
        if not zone.holds(name):
            return Elsewhere(name, reply)
        reply.header.aa = 1
        found = zone.find(name)
        if found is None:
            reply.header.rcode = RCODE.NXDOMAIN
            break
        records = [record for record in found if wanted in (record.type, "ANY")]
        alias = next((record for record in found if record.type == "CNAME"), None)
        if wanted == "SOA" and name == zone.origin:
            reply.add_answer(_soa(zone, name))
            return reply
        random.shuffle(records)
        for record in records:
            reply.add_answer(_rr(owner, record, zone.ttl))
        if records or alias is None:
            _add_targets(zone, reply, records)
            break
        reply.add_answer(_rr(owner, alias, zone.ttl))
        name = owner = alias.data
    if not any(record.rtype != QTYPE.CNAME for record in reply.rr) and wanted != "CNAME":
        reply.add_auth(_soa(zone, zone.apex(name)))
    return reply


def _rr(owner: object, record: Record, ttl: int) -> RR:
    if record.type == "SRV":
        priority, weight, port, target = record.data.split()
        data = SRV(int(priority), int(weight), int(port), target)
    else:
        data = _DATA[record.type](record.data)
    return RR(owner, getattr(QTYPE, record.type), rdata=data, ttl=ttl)


def _add_targets(zone: Zone, reply: DNSRecord, records: list[Record]) -> None:
    """Addresses of an SRV's targets, so that the client need not ask again (RFC 2782)."""
    targets = {record.data.rpartition(" ")[2] for record in records if record.type == "SRV"}
    for target in sorted(targets):
        for record in zone.find(target) or ():
            if record.type in ("A", "AAAA"):
                reply.add_ar(_rr(target, record, zone.ttl))


def _soa(zone: Zone, apex: str) -> RR:
    """Of a negative answer: how long the absence may be remembered (RFC 2308)."""
    times = (zone.serial, 7200, 1800, 86400, zone.ttl)
    data = SOA(f"ns.dns.{zone.origin}", f"hostmaster.{zone.origin}", times)
    return RR(apex, QTYPE.SOA, rdata=data, ttl=zone.ttl)


def pack(reply: DNSRecord, query: DNSRecord, udp: bool) -> bytes:
    """Wire format with EDNS as the client has it; over UDP what is too long is cut to the question and TC."""
    asked = edns(query)
    limit = 65535
    if udp:
        limit = 512 if asked is None else max(512, min(asked.edns_len, MAX_UDP))
    if asked is not None and edns(reply) is None:
        reply.add_ar(EDNS0(flags="do" if asked.edns_do else "", udp_len=MAX_UDP))
    wire: bytes = reply.pack()
    if len(wire) > limit:
        optional = edns(reply)
        reply.rr, reply.auth, reply.ar = [], [], [optional] if optional else []
        reply.header.tc = 1
        wire = reply.pack()
    return wire
