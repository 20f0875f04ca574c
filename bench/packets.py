"""What a packet costs in the datapath: nanoseconds above an empty program, by PROG_TEST_RUN on one core."""

from __future__ import annotations

import os
import random
import socket
import statistics
import struct
import time
from collections.abc import Callable
from contextlib import closing
from ipaddress import ip_address

from bench.limits import PACKET_64K_ENTRIES, PACKET_NS, Row
from bench.node import datapath_node, measuring_programs
from bench.tools import cpus, median_ratio
from weft.datapath import bpf
from weft.datapath.kernel import FROM_POD, QUERY, Datapath
from weft.datapath.layouts import FLOW_OPEN, FLOW_SIZE, Flow, FlowKey, PolicyQuery
from weft.datapath.libbpf import Object
from weft.datapath.node import NodePaths
from weft.datapath.pod import PodDevices
from weft.datapath.spare import GATEWAY_MAC
from weft.datapath.sweep import sweep
from weft.model.desired import ACTION_ALLOW, EndpointEntry, IpcacheEntry, PolicyEntry, PolicyKey, Write
from weft.model.net import TCP, ClassId, EndpointId, IdentityId, Prefix, RuleId, TableId, to_wide
from weft.model.objects import LocalEndpoint

CLIENT, SERVER = ip_address("10.55.0.11"), ip_address("10.55.0.12")
SYN, ACK, PUSH = 2, 16, 8
FEW, MANY = 1, 65_536
TABLE = TableId(77)
QUESTIONS = 48
OPEN = 100_000


def measure(rounds: int, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """Rows of the per-packet limits. Raises RuntimeError if the flow under test was not forwarded."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus(True))
    try:
        with datapath_node() as (datapath, paths), measuring_programs(datapath) as programs:
            return _measure(datapath, paths, programs, rounds, 20_000 if quick else 500_000, say)
    finally:
        os.sched_setaffinity(0, before)


def _measure(
    datapath: Datapath, paths: NodePaths, programs: Object, rounds: int, repeat: int, say: Callable[[str], None]
) -> list[Row]:
    devices = PodDevices(datapath, 1500)
    client, server = _pod(devices, paths, CLIENT, 11), _pod(devices, paths, SERVER, 12)
    endpoints = {to_wide(CLIENT): _entry(client, 11, TableId(0)), to_wide(SERVER): _entry(server, 12, TABLE)}
    _fill(datapath, FEW)
    datapath.apply(datapath.read(), [Write("endpoints", endpoints)])
    _establish(datapath, client, server)
    flow: dict[int, list[float]] = {FEW: [], MANY: []}
    decide: dict[int, list[float]] = {FEW: [], MANY: []}
    for number in range(rounds):
        for size in (FEW, MANY):
            _empty(datapath)
            _fill(datapath, size)
            flow[size].append(_above_nothing(datapath, programs, client, repeat))
            decide[size].append(_decision(datapath, size, repeat // 20))
        say(f"packets: round {number + 1} of {rounds}")
    swept = statistics.median(_sweep(datapath) for _ in range(rounds))
    established, first, first_many = (statistics.median(each) for each in (flow[FEW], decide[FEW], decide[MANY]))
    growth = median_ratio(flow[MANY], flow[FEW])
    return [
        Row("weft", "packet of an established flow above an empty program", established, "ns", PACKET_NS),
        Row("weft", f"the same, {MANY:,} policy entries against {FEW}", growth, "×", PACKET_64K_ENTRIES),
        Row("weft", "decision of a new flow (both sides), 1 policy entry", first, "ns"),
        Row("weft", f"decision of a new flow, {MANY:,} entries, peers at random", first_many, "ns"),
        Row("weft", f"a policy change finds what it forbids among {OPEN:,} open connections", swept, "ms"),
    ]


def _pod(devices: PodDevices, paths: NodePaths, address: object, number: int) -> LocalEndpoint:
    local = devices.make(f"bench_{number}", paths.run_dir / "netns" / str(number), (address,), EndpointId(number))  # type: ignore[arg-type]
    devices.bring_up(f"bench_{number}")
    return local


def _entry(local: LocalEndpoint, number: int, ingress: TableId) -> EndpointEntry:
    identity, class_ = IdentityId(1 << 16 | number), ClassId(number)
    return EndpointEntry(local.id, local.ifindex, identity, class_, ingress, TableId(0), local.mac)


def _peer(number: int) -> bytes:
    return to_wide(ip_address(f"172.{16 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"))


def _fill(datapath: Datapath, entries: int) -> None:
    """The server's ingress table: the client's class and ``entries`` - 1 others, each allowed; an address for each."""
    classes = [ClassId(11), *(ClassId(1000 + number) for number in range(entries - 1))]
    policy = {PolicyKey(TABLE, c, TCP, 8080, 88): PolicyEntry(ACTION_ALLOW, RuleId(1)) for c in classes}
    policy[PolicyKey(TABLE, ClassId(0), 0, 0, 32)] = PolicyEntry(0, RuleId(0))
    ipcache = {Prefix(_peer(i), 128): IpcacheEntry(IdentityId(1 << 17 | i), c, 0) for i, c in enumerate(classes)}
    datapath.apply(datapath.read(), [Write("policy", policy), Write("ipcache", ipcache)])


def _empty(datapath: Datapath) -> None:
    kernel = datapath.read()
    policy = tuple(key for table in kernel.tables.values() for key in table)
    datapath.apply(kernel, [Write("policy", {}, policy), Write("ipcache", {}, tuple(kernel.ipcache))])


def _segment(source: LocalEndpoint, forward: bool, flags: int) -> bytes:
    """An Ethernet frame from one pod to its gateway: IPv4, TCP, 64 bytes of payload with PUSH."""
    addresses = (CLIENT, SERVER) if forward else (SERVER, CLIENT)
    ports = (40_000, 8080) if forward else (8080, 40_000)
    payload = bytes(64) if flags & PUSH else b""
    tcp = struct.pack("!HHIIBBHHH", *ports, 1, 1, 5 << 4, flags, 65535, 0, 0) + payload
    packed = (addresses[0].packed, addresses[1].packed)
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, socket.IPPROTO_TCP, 0, *packed)
    total = sum(struct.unpack("!10H", header))
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    header = header[:10] + struct.pack("!H", checksum) + header[12:]
    return GATEWAY_MAC + source.mac + b"\x08\x00" + header + tcp


def _context(ifindex: int) -> bytes:
    """``struct __sk_buff`` with only its ifindex set."""
    return struct.pack("=40xI", ifindex).ljust(192, b"\0")


def _establish(datapath: Datapath, client: LocalEndpoint, server: LocalEndpoint) -> None:
    for sender, forward, flags in ((client, True, SYN), (server, False, SYN | ACK), (client, True, ACK)):
        frame = _segment(sender, forward, flags)
        if bpf.prog_test_run(datapath.programs[FROM_POD], frame, _context(sender.ifindex)).retval != 7:
            raise RuntimeError("bench: the handshake of the flow under test was not redirected to its pod")


def _above_nothing(datapath: Datapath, programs: Object, client: LocalEndpoint, repeat: int) -> float:
    """Average nanoseconds of from_pod less those of an empty program, both called the same way."""
    frame, context = _segment(client, True, ACK | PUSH), _context(client.ifindex)
    with closing(programs.map("targets")) as targets, closing(programs.map("ethernet")) as ethernet:
        targets.update(struct.pack("=I", 0), struct.pack("=I", datapath.programs[FROM_POD]))
        targets.update(struct.pack("=I", 1), struct.pack("=I", programs.program("nothing")))
        ethernet.update(bytes(4), frame[:12].ljust(16, b"\0"))
        empty = bpf.prog_test_run(programs.program("jump_nothing"), frame, context, repeat=repeat)
        tested = bpf.prog_test_run(programs.program("jump_tested"), frame, context, repeat=repeat)
    if tested.retval != 7 or empty.retval != 0:
        raise RuntimeError(f"bench: the packet under test was not redirected (answer {tested.retval}, {empty.retval})")
    return float(tested.duration_ns - empty.duration_ns)


def _sweep(datapath: Datapath) -> float:
    """Milliseconds to judge the server's connections with many peers, which an earlier policy has decided."""
    decided = Flow.unpack(bytes(FLOW_SIZE))._replace(revision=datapath.revision + 1, state=FLOW_OPEN, initiator=1)
    ends = ((_peer(number % MANY), 40_000 + number // MANY) for number in range(OPEN))
    keys = [FlowKey(to_wide(SERVER), peer, 8080, port, TCP).pack() for peer, port in ends]
    datapath.maps["flows"].update_batch([(key, decided.pack()) for key in keys])
    began = time.perf_counter()
    swept = sweep(datapath)
    took = 1000 * (time.perf_counter() - began)
    if swept.flows < OPEN or swept.refused:
        raise RuntimeError(f"bench: {swept} of {OPEN} connections, all of them allowed")
    return took


def _decision(datapath: Datapath, entries: int, repeat: int) -> float:
    """Nanoseconds for one decision, both lookups of addresses included: 48 questions a run, peers at random."""
    chance = random.Random(entries)
    peers = [_peer(chance.randrange(entries)) for _ in range(QUESTIONS)]
    wide = to_wide(SERVER)
    questions = b"".join(PolicyQuery(peer, wide, 8080, TCP, *(0,) * 9).pack() for peer in peers)
    run = bpf.prog_test_run(datapath.programs[QUERY], bytes(14) + questions, repeat=max(repeat, 10))
    return run.duration_ns / QUESTIONS
