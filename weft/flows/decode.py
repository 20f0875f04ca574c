"""One record of the events ring → ``Packet``. The offsets are those of ``struct flow_event`` (bpf/include/types.h)
behind the ring buffer's 8-byte header; tests/flows compares them with the generated layouts."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from functools import lru_cache
from mmap import mmap

from weft.flows.ring import RECORD
from weft.model.flow import Packet
from weft.model.net import IPAddress, from_wide

OFFSETS = {
    "time_ns": 8,
    "source": 16,
    "destination": 32,
    "source_port": 48,
    "destination_port": 50,
    "protocol": 52,
    "tcp_flags": 53,
    "type": 54,
    "reason": 55,
    "source_identity": 56,
    "destination_identity": 60,
    "source_endpoint": 64,
    "destination_endpoint": 68,
    "egress_rule": 72,
    "ingress_rule": 76,
    "revision": 80,
    "length": 84,
    "folded": 88,
    "ethertype": 92,
    "flags": 94,
    "ifindex": 96,
    "source_mac": 100,
    "destination_mac": 106,
    "cgroup": 112,
}
"""Field of ``Packet`` and of ``struct flow_event`` → byte offset in a 128-byte record."""

_NATIVE = struct.Struct("<8xQ16s16s4x4B9I2xHI6s6sQ8x")
_NETWORK = struct.Struct(">48xHH40xH34x")
"""The fields in host order (little-endian: weft's machines all are), and those in network order."""
assert _NATIVE.size == _NETWORK.size == RECORD

_address: Callable[[bytes], IPAddress] = lru_cache(maxsize=8192)(from_wide)


def decode(record: bytes | bytearray | mmap, start: int = 0) -> Packet:
    """The record at byte ``start``. Errors: struct.error if there are fewer than 128 bytes."""
    time_ns, source, destination, *rest = _NATIVE.unpack_from(record, start)
    source_port, destination_port, ethertype = _NETWORK.unpack_from(record, start)
    ports = (source_port, destination_port)
    return Packet._make((time_ns, _address(source), _address(destination), *ports, *rest[:13], ethertype, *rest[13:]))


def boot_offset_ns() -> int:
    """What to add to CLOCK_BOOTTIME to get the wall clock (nanoseconds), as of now. Sample it again after the clock was
    set; records are shown in the wall clock of the moment when somebody looks."""
    return time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
