"""Names of capabilities → the set that a container may have, as a bit mask.

The default is containerd's and Docker's (oci/spec.go, "default capabilities"), but for MKNOD: weft limits no device
nodes by control group, so whoever can make one could read the disk and the kernel's memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from weft.model.kinds.core import Capabilities
from weft.runtime.errors import PodError

# linux/capability.h, in the order of their numbers
_NAMES = """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
    NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
    SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE
    MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
_DEFAULT = """
    CHOWN DAC_OVERRIDE FSETID FOWNER NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE
"""
NAMES: Final = tuple(_NAMES.split())
DEFAULT: Final = tuple(_DEFAULT.split())
ALL = "ALL"


def mask(wanted: Capabilities) -> int:
    """Default + add − drop; ``ALL`` in drop empties the default, ``ALL`` in add means all that the agent has.

    Errors: PodError for a name that the kernel does not know.
    """
    added, dropped = ([_plain(name) for name in names] for names in (wanted.add, wanted.drop))
    bits = 0 if ALL in dropped else _own() if ALL in added else _bits(DEFAULT)
    return (bits | _bits(name for name in added if name != ALL)) & ~_bits(name for name in dropped if name != ALL)


def _plain(name: str) -> str:
    return name.upper().removeprefix("CAP_")


def _bits(names: Iterable[str]) -> int:
    bits = 0
    for name in names:
        if name not in NAMES:
            near = get_close_matches(name, NAMES, 1)
            raise PodError(f"capability {name}: not known" + (f"; did you mean {near[0]}?" if near else ""))
        bits |= 1 << NAMES.index(name)
    return bits


def _own() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("CapPrm:")[1].split()[0], 16)
