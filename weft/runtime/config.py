"""A container of a Pod → the records that weft-shim reads (shim/config.c)."""

from __future__ import annotations

import pwd
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from weft.model.kinds.core import Container, HostPath, PodSpec
from weft.runtime import capabilities, files
from weft.runtime.environment import Downward, command_line, environment
from weft.runtime.errors import PodError

_TYPES = {"Directory": stat.S_ISDIR, "File": stat.S_ISREG, "Socket": stat.S_ISSOCK}


@dataclass(frozen=True, slots=True)
class Limits:
    """How containers are restarted and logged; times in seconds. Kubernetes' values, smaller ones for tests."""

    backoff: float = 10
    backoff_max: float = 300
    backoff_reset: float = 600
    log_bytes: int = 10 << 20
    """Of each of the two log files."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pod's container is put."""

    netns: Path
    cgroup: Path
    etc: Path
    """Holds hosts, hostname and resolv.conf of the pod."""
    hidden: tuple[Path, ...]
    """Directories of the host that no pod may see into."""


def container_config(container: Container, downward: Downward, place: Place, limits: Limits) -> bytes:
    """``key=value`` records that end in NUL. Errors: PodError."""
    records = [f"{key}={value}" for key, value in _records(container, downward, place, limits)]
    if broken := next((record for record in records if "\0" in record), None):
        raise PodError(f"container {container.name}: {broken!r} holds a NUL, which no program can be given")
    return "".join(record + "\0" for record in records).encode()


def _records(
    container: Container, downward: Downward, place: Place, limits: Limits
) -> Iterator[tuple[str, str | int | Path]]:
    spec = downward.pod.spec
    uid, gid, home = _user(container, spec)
    variables = environment(container, downward, home)
    yield from (("argv", word) for word in command_line(container, variables))
    yield from (("env", f"{name}={value}") for name, value in variables.items())
    yield from (("uid", uid), ("gid", gid), ("cwd", container.working_dir or "/"))
    yield "caps", f"{capabilities.mask(container.security_context.capabilities):x}"
    yield "no_new_privs", int(container.security_context.allow_privilege_escalation is False)
    yield from (("netns", place.netns), ("cgroup", place.cgroup))
    yield "hostname", files.hostname(downward.key.name, spec)
    for name in ("hosts", "hostname", "resolv.conf"):
        if name != "hostname" or Path("/etc/hostname").exists():
            yield from (("bind", place.etc / name), ("target", f"/etc/{name}"), ("readonly", 1))
    volumes = {volume.name: volume.host_path for volume in spec.volumes}
    for mount in container.volume_mounts:
        yield from (("bind", _host_path(mount.name, volumes[mount.name])), ("target", mount.mount_path))
        yield "readonly", int(mount.read_only)
    yield from (("hide", directory) for directory in _outermost(place.hidden))
    yield "restart", spec.restart_policy
    yield "grace_ms", spec.termination_grace_period_seconds * 1000
    yield "backoff_ms", round(limits.backoff * 1000)
    yield "backoff_max_ms", round(limits.backoff_max * 1000)
    yield "backoff_reset_ms", round(limits.backoff_reset * 1000)
    yield "log_bytes", limits.log_bytes


def _outermost(directories: Iterable[Path]) -> list[Path]:
    """Without those that lie in another one, links followed: the shim compares paths by their letters."""
    known = {directory.resolve() for directory in directories}
    return sorted(one for one in known if not known & set(one.parents))


def _user(container: Container, spec: PodSpec) -> tuple[int, int, str]:
    """User, group and home. Without runAsGroup: the user's own group if the host knows the user, else 0."""
    own, of_pod = container.security_context, spec.security_context
    uid = next((user for user in (own.run_as_user, of_pod.run_as_user) if user is not None), 0)
    gid = next((group for group in (own.run_as_group, of_pod.run_as_group) if group is not None), None)
    try:
        known = pwd.getpwuid(uid)
    except KeyError:
        return uid, gid or 0, "/"
    return uid, known.pw_gid if gid is None else gid, known.pw_dir


def _host_path(name: str, source: HostPath) -> str:
    """The path, checked and made as its type says (core/v1 HostPathType). Errors: PodError."""
    path = Path(source.path)
    if source.type == "DirectoryOrCreate":
        path.mkdir(0o755, parents=True, exist_ok=True)
    elif source.type == "FileOrCreate":
        path.touch(0o644)
    wanted = source.type.removesuffix("OrCreate")
    if not path.exists():
        raise PodError(f"volume {name}: hostPath {path} is not there; make it, or use type DirectoryOrCreate")
    if wanted in _TYPES and not _TYPES[wanted](path.stat().st_mode):
        raise PodError(f"volume {name}: hostPath {path} is not a {wanted}")
    return source.path
