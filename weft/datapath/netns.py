"""Network namespaces: make one that outlives us, enter one for a moment. Only the calling thread moves."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from weft.datapath.errors import DatapathError

_CLONE_NEWNET = 0x40000000
_SO_NETNS_COOKIE = 71
_MS_BIND, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 4096, 16384, 1 << 18, 2
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result < 0:
        raise DatapathError(what, ctypes.get_errno())


def _own() -> int:
    """Descriptor of the calling thread's namespace."""
    return os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def mount(source: str, target: Path, kind: str = "", flags: int = 0) -> None:
    result = _libc.mount(source.encode(), str(target).encode(), kind.encode() or None, ctypes.c_ulong(flags), None)
    _check(result, f"mount {kind or source} on {target}")


def unmount(target: Path) -> None:
    """Take a mount away, also when somebody uses it; nothing happens if there is none."""
    if _libc.umount2(str(target).encode(), _MNT_DETACH) < 0:
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOENT):
            raise DatapathError(f"unmount {target}", code)


def cookie() -> int:
    """The number by which BPF programs know the calling thread's namespace (bpf_get_netns_cookie)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        return int.from_bytes(any_socket.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), sys.byteorder)


@contextmanager
def own() -> Iterator[int]:
    """Descriptor of the calling thread's namespace, for a moment."""
    fd = _own()
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def entered(path: Path | int) -> Iterator[None]:
    """The calling thread is in the namespace meanwhile. No ``await`` inside."""
    home = _own()
    target = path if isinstance(path, int) else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(target, _CLONE_NEWNET), f"enter the network namespace {path}")
        try:
            yield
        finally:
            if _libc.setns(home, _CLONE_NEWNET) < 0:
                os.abort()  # never go on in a namespace that is not ours
    finally:
        os.close(home)
        if not isinstance(path, int):
            os.close(target)


def make() -> int:
    """Descriptor of a new namespace, which lives as long as that does; the thread is back where it was."""
    home = _own()
    try:
        _check(_libc.unshare(_CLONE_NEWNET), "make a network namespace")
        try:
            return _own()
        finally:
            if _libc.setns(home, _CLONE_NEWNET) < 0:
                os.abort()
    finally:
        os.close(home)


@contextmanager
def scratch() -> Iterator[None]:
    """The calling thread is in a new namespace meanwhile, which then goes."""
    made = make()
    try:
        with entered(made):
            yield
    finally:
        os.close(made)


def create(path: Path) -> int:
    """A new namespace, kept by a bind mount on ``path``. Returns a descriptor of it."""
    made = make()
    try:
        keep(made, path)
    except DatapathError:
        os.close(made)
        raise
    return made


def gather(folder: Path) -> None:
    """Make ``folder``, where namespaces will be mounted, a file system of its own: whoever wants none of them in his
    mounts, as every container, then lets go of one mount instead of hundreds. One that is in use already stays."""
    folder.mkdir(parents=True, exist_ok=True)
    if not folder.is_mount() and not any(folder.iterdir()):
        mount("weft", folder, "tmpfs")


def keep(fd: int, path: Path) -> None:
    """From now on the namespace lives as long as the mount on ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o444)
    mount(f"/proc/self/fd/{fd}", path, flags=_MS_BIND)


def delete(path: Path) -> None:
    """Forget a namespace; it goes when the last process in it has gone."""
    unmount(path)
    path.unlink(missing_ok=True)


def exists(path: Path) -> bool:
    """Whether a namespace is mounted there (a file without a mount is a half-made one)."""
    return path.exists() and path.stat().st_dev != path.parent.stat().st_dev
