"""Guest kernels: what the host's kernel lacks or has newer is tested in Debian's 6.1 and 6.12, booted under qemu.

``guest.run("6.1", "uname -r")`` → ``(0, "6.1.0…\\n")``. The guest sees the host's files read-only under the same paths,
with its own /run, /tmp, /var/lib, bpffs and cgroup2, and no network but the namespaces it makes. Its CPU is emulated:
12–14 times slower, so nothing is timed there.
"""

from tests.guest.guest import VERSIONS, GuestError, run

__all__ = ["VERSIONS", "GuestError", "run"]
