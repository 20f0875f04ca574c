"""The bpf(2) system call: programs, links and pins by file descriptor. Source: include/uapi/linux/bpf.h."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import platform
import struct
from pathlib import Path
from typing import NamedTuple

from weft.datapath.errors import DatapathError

_NUMBER = {"x86_64": 321, "aarch64": 280, "riscv64": 280}[platform.machine()]
_libc = ctypes.CDLL(None, use_errno=True)
_ATTR_SIZE = 128

MAP_CREATE, MAP_LOOKUP, MAP_UPDATE, MAP_DELETE, MAP_NEXT_KEY, PROG_LOAD, OBJ_PIN, OBJ_GET = range(8)
PROG_TEST_RUN, OBJ_INFO = 10, 15
MAP_LOOKUP_BATCH, MAP_UPDATE_BATCH, MAP_DELETE_BATCH = 24, 26, 27
LINK_CREATE, LINK_UPDATE = 28, 29

ANY, EXIST = 0, 2
"""Flags of a map update."""
_LINK_CGROUP = 3
CGROUP_SOCK_OPS, SK_LOOKUP = 3, 36
"""Attach types of links to a cgroup and to a network namespace."""
TCX_INGRESS, TCX_EGRESS = 46, 47
"""Attach types of tcx links (Linux 6.6)."""
MAP_TYPE_HASH, MAP_TYPE_PERCPU_HASH, MAP_TYPE_PERCPU_ARRAY = 1, 5, 6
MAP_TYPE_LRU_HASH, MAP_TYPE_LRU_PERCPU_HASH, MAP_TYPE_LPM_TRIE = 9, 10, 11
MAP_TYPE_RINGBUF = 27
PROG_TYPE_SCHED_CLS, PROG_TYPE_CGROUP_SOCK_ADDR = 3, 18
F_NO_PREALLOC = 1
RETURN_ZERO = struct.pack("=BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)
"""Instructions of the shortest program."""


def call(command: int, attr: ctypes.Array[ctypes.c_char]) -> int:
    """bpf(2) with a prepared attribute; result or ``-errno``. The verifier's EAGAIN (a signal came) is tried again."""
    for _ in range(5):
        result: int = _libc.syscall(_NUMBER, command, attr, len(attr))
        if result >= 0 or ctypes.get_errno() not in (errno.EINTR, errno.EAGAIN):
            break
    return result if result >= 0 else -ctypes.get_errno()


def attribute(layout: str, *values: int | bytes) -> ctypes.Array[ctypes.c_char]:
    """A zero-padded ``union bpf_attr`` that begins with ``layout``."""
    return ctypes.create_string_buffer(struct.pack("=" + layout, *values), _ATTR_SIZE)


def check(result: int, what: str, remedy: str = "") -> int:
    """``result``, or DatapathError if it is a negative errno."""
    if result < 0:
        raise DatapathError(what, -result, remedy)
    return result


def duplicate(fd: int) -> int:
    """Another descriptor of the same object, closed on exec."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)


def address_of(buffer: ctypes.Array[ctypes.c_char] | None) -> int:
    return ctypes.addressof(buffer) if buffer is not None else 0


class RunResult(NamedTuple):
    """Answer of PROG_TEST_RUN."""

    retval: int
    data: bytes
    context: bytes
    duration_ns: int
    """Average of one repetition."""


def prog_test_run(
    program: int,
    data: bytes = b"",
    context: bytes = b"",
    *,
    repeat: int = 1,
    room: int = 256,
    data_out: bool = True,
) -> RunResult:
    """Run a loaded program on ``data`` (a packet with its Ethernet header) and ``context`` (e.g. ``struct __sk_buff``).

    ``room``: bytes by which the packet may grow. ``data_out=False`` for syscall programs, which have no packet.
    """
    packet = ctypes.create_string_buffer(data, len(data)) if data else None
    result_packet = ctypes.create_string_buffer(len(data) + room) if data_out and data else None
    given = ctypes.create_string_buffer(context, len(context)) if context else None
    result_context = ctypes.create_string_buffer(len(context)) if context and data_out else None
    attr = attribute(
        "IIIIQQIIIIQQIII",
        *(program, 0, len(data), len(result_packet) if result_packet is not None else 0),
        *(address_of(packet), address_of(result_packet), repeat if data else 0, 0, len(context)),
        *(len(context) if result_context is not None else 0, address_of(given), address_of(result_context), 0, 0, 0),
    )
    check(call(PROG_TEST_RUN, attr), "PROG_TEST_RUN")
    values = struct.unpack_from("=IIIIQQIIII", attr)
    retval, size_out, duration, context_out = values[1], values[3], values[7], values[9]
    if not data_out and given is not None:  # a syscall program writes into its context in place
        return RunResult(retval, b"", given.raw, duration)
    out = result_packet.raw[:size_out] if result_packet is not None else b""
    return RunResult(retval, out, result_context.raw[:context_out] if result_context is not None else b"", duration)


def object_info(fd: int, size: int = 256) -> bytes:
    """``struct bpf_map_info``, ``bpf_prog_info`` or ``bpf_link_info`` of a file descriptor, zero-padded."""
    buffer = ctypes.create_string_buffer(size)
    check(call(OBJ_INFO, attribute("IIQ", fd, size, ctypes.addressof(buffer))), "read information of a BPF object")
    return buffer.raw


def link_target(fd: int) -> int:
    """What a tcx, cgroup or network-namespace link is attached to: the device's ifindex, or the inode of the cgroup's
    folder or of the namespace. 0 once that is gone."""
    info = object_info(fd)
    kind = struct.unpack_from("=I", info)[0]
    return int(struct.unpack_from("=Q" if kind == _LINK_CGROUP else "=I", info, 16)[0])


def program_load(kind: int, attach_type: int, instructions: bytes, name: str) -> int:
    """Load raw instructions (8 bytes each), GPL; for probes. Returns a file descriptor."""
    code, licence = ctypes.create_string_buffer(instructions, len(instructions)), ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(16384)
    attr = attribute(
        "IIQQIIQII16sII",
        *(kind, len(instructions) // 8, address_of(code), address_of(licence), 1, len(log), address_of(log)),
        *(0, 0, name.encode()[:15], 0, attach_type),
    )
    result = call(PROG_LOAD, attr)
    if result < 0:
        detail = log.value.decode(errors="replace").strip().splitlines()[-2:-1]
        raise DatapathError(f"load program {name}", -result, " ".join(detail))
    return result


def link_create(program: int, target: int, attach_type: int, what: str) -> int:
    """Attach by link; ``target`` is an ifindex (tcx), or the fd of a cgroup folder or namespace. Returns its fd."""
    return check(call(LINK_CREATE, attribute("IIII", program, target, attach_type, 0)), f"attach to {what}")


def link_update(link: int, program: int, what: str) -> None:
    """Replace a link's program in one step."""
    check(call(LINK_UPDATE, attribute("III", link, program, 0)), f"replace the program of {what}")


def object_pin(fd: int, path: str | Path) -> None:
    name = ctypes.create_string_buffer(str(path).encode())
    check(call(OBJ_PIN, attribute("QII", address_of(name), fd, 0)), f"pin {path}", "a bpffs must be mounted there")


def object_get(path: str | Path) -> int:
    """Open a pin. DatapathError with errno ENOENT if there is none."""
    name = ctypes.create_string_buffer(str(path).encode())
    return check(call(OBJ_GET, attribute("QII", address_of(name), 0, 0)), f"open the pin {path}")


def pin_replace(fd: int, path: Path) -> None:
    """Pin under a temporary name, then rename over ``path``: at any moment the old pin or the new one is there."""
    temporary = path.with_name(f"{path.name}__new")  # bpffs allows no dots in names
    temporary.unlink(missing_ok=True)
    object_pin(fd, temporary)
    temporary.rename(path)
