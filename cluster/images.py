"""Pod images without a registry: OCI tars, made of programs of this machine and kept in the cache."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cluster import build
from cluster.layout import STATE

REGISTRY = "weft.test"
PAUSE = f"{REGISTRY}/pause:1"
BUSYBOX = f"{REGISTRY}/busybox:1"
AGNHOST = f"{REGISTRY}/agnhost:2.63.0"
PAUSE_SOURCE = Path(__file__).parent / "c" / "pause.c"
KEPT = 2
"""Images of one name that are kept, the newest ones; others go when no cluster that is up wants them, ..."""
UNUSED_SECONDS = 3600
"""... and nobody has asked for them for so long: a cluster that is just being made may."""
_OCI = "application/vnd.oci.image"


def build_image(
    name: str,
    files: Mapping[str, Path | bytes] | None = None,
    *,
    rootfs: Path | None = None,
    links: Mapping[str, str] | None = None,
    entrypoint: Sequence[str] = (),
    command: Sequence[str] = (),
    env: Sequence[str] = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",),
    user: str = "",
) -> Path:
    """An OCI tar of the image ``name`` (full, with registry and tag); that of before if nothing changed.

    ``rootfs`` (a folder, or an uncompressed tar) is the lower layer; ``files`` (path in the image: file, folder or
    content, all executable if content) and ``links`` (path: target) are the upper one. ``command``: what follows the
    entrypoint if a container has no args.
    """
    files, links = files or {}, links or {}
    config = {"Entrypoint": list(entrypoint), "Env": list(env), **({"User": user} if user else {})}
    if command:
        config["Cmd"] = list(command)
    key = _key(repr((name, sorted(links.items()), config)), rootfs, files)
    folder = build.cache_folder() / "images"
    stem = name.replace("/", "_").replace(":", "_")
    ready = folder / f"{stem}-{key}.tar"
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder), contextlib.suppress(FileNotFoundError):
        os.utime(ready)
        return ready
    with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as scratch:
        layers = [_layer(Path(scratch) / "files", files, links)] if files or links else []
        if rootfs is not None:
            layers.insert(0, rootfs if rootfs.is_file() else _layer(Path(scratch) / "rootfs", {"/": rootfs}, {}))
        _write_image(Path(scratch) / "image", name, layers, config)
        (Path(scratch) / "image").rename(ready)
    with _locked(folder):
        _clear_up(folder)
    return ready


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """What is found is not cleared up by another run before it is marked as used."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _clear_up(folder: Path) -> None:
    used = {tar.name: tar.stat().st_mtime for tar in folder.glob("*.tar")}
    by_name: dict[str, list[str]] = {}
    for tar in sorted(used, key=used.__getitem__, reverse=True):
        by_name.setdefault(tar.rpartition("-")[0], []).append(tar)
    for tar in {old for tars in by_name.values() for old in tars[KEPT:]} - _wanted():
        if time.time() - used[tar] > UNUSED_SECONDS:
            (folder / tar).unlink()


def _wanted() -> set[str]:
    """What clusters that are up give to nodes that come later."""
    found: set[str] = set()
    for about in STATE.glob("*/cluster.json"):
        with contextlib.suppress(FileNotFoundError):  # it goes just now
            found |= {Path(tar).name for tar in json.loads(about.read_text())["images"]}
    return found


def pause(name: str = PAUSE) -> Path:
    """The image that containerd makes a pod's sandbox of."""
    return build_image(name, {"/pause": _compiled(PAUSE_SOURCE)}, entrypoint=("/pause",))


def busybox(name: str = BUSYBOX) -> Path:
    """A shell and the usual commands (Debian's busybox-static)."""
    files, links = _shell()
    return build_image(name, files, links=links, entrypoint=("/bin/sh",))


def coredns() -> Path:
    """CoreDNS, for the Deployment of manifests/dns.yaml."""
    program = Path(build.program("coredns", "coredns"))
    return build_image(f"{REGISTRY}/coredns:1", {"/coredns": program}, entrypoint=("/coredns",))


def agnhost(name: str = AGNHOST, *, command: Sequence[str] = ("pause",), rootfs: Path | None = None) -> Path:
    """Kubernetes' own test image under any ``name``: servers (``netexec``), probes (``connect``), a shell.

    ``command``: what it does in a container without args. ``rootfs``: instead of busybox; CoreDNS and a
    certificate, which upstream's has, go with it.
    """
    files, links = _shell() if rootfs is None else (_besides(), {})
    files["/agnhost"] = Path(build.program("images", "agnhost"))
    return build_image(name, files, rootfs=rootfs, links=links, entrypoint=("/agnhost",), command=command)


def _besides() -> dict[str, Path | bytes]:
    porter = build.module("images", "k8s.io/kubernetes") / "test" / "images" / "agnhost" / "porter"
    certificate = {f"/{name}": porter / name for name in ("localhost.crt", "localhost.key")}
    return {"/coredns": Path(build.program("coredns", "coredns")), **certificate}


def regression(name: str) -> Path:
    """Kubernetes' server that sends segments which are not of its connections (its issue 74839)."""
    program = Path(build.program("images", "regression-issue-74839"))
    return build_image(name, {"/server": program}, entrypoint=("/server",))


def _shell() -> tuple[dict[str, Path | bytes], dict[str, str]]:
    """(files, links) of busybox."""
    program = Path("/bin/busybox")
    if not program.exists():
        raise FileNotFoundError("/bin/busybox is missing: apt-get install busybox-static")
    names = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    links = {f"/bin/{name}": "busybox" for name in names if name != "busybox"}
    return {"/bin/busybox": program, "/etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n"}, links


def _compiled(source: Path) -> Path:
    """The program of one C file, static."""
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    program = build.cache_folder() / f"{source.stem}-{digest}"
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=program.parent) as scratch:
            fresh = Path(scratch) / source.stem
            subprocess.run(["gcc", "-static", "-Os", "-s", "-Wall", "-Werror", "-o", fresh, source], check=True)
            fresh.rename(program)
    return program


def _key(text: str, rootfs: Path | None, files: Mapping[str, Path | bytes]) -> str:
    digest = hashlib.sha256(text.encode())
    for at, content in sorted({**files, **({"<rootfs>": rootfs} if rootfs else {})}.items()):
        digest.update(at.encode() + b"\0")
        if isinstance(content, bytes):
            digest.update(content)
            continue
        for path in sorted([content, *content.rglob("*")] if content.is_dir() else [content]):
            about = path.lstat()
            digest.update(f"{path}\0{about.st_mode}\0{about.st_size}\0{about.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:12]


def _layer(tar: Path, files: Mapping[str, Path | bytes], links: Mapping[str, str]) -> Path:
    """Write a layer; owned by root, without times, so that the same files make the same layer."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = member.mtime = 0
        member.uname = member.gname = ""
        return member

    with tarfile.open(tar, "w") as out:
        for at, content in files.items():
            if isinstance(content, bytes):
                member = tarfile.TarInfo(at.lstrip("/"))
                member.size, member.mode = len(content), 0o755
                out.addfile(member, io.BytesIO(content))
            else:
                out.add(content.resolve() if content.is_file() else content, at.lstrip("/") or ".", filter=plain)
        for at, target in links.items():
            member = tarfile.TarInfo(at.lstrip("/"))
            member.type, member.linkname = tarfile.SYMTYPE, target
            out.addfile(member)
    return tar


def _write_image(tar: Path, name: str, layers: Sequence[Path], config: Mapping[str, object]) -> None:
    digests = [_sha256(layer) for layer in layers]
    with tarfile.open(tar, "w") as out:

        def add(path: str, data: bytes) -> None:
            member = tarfile.TarInfo(path)
            member.size = len(data)
            out.addfile(member, io.BytesIO(data))

        def blob(kind: str, value: Mapping[str, object]) -> dict[str, object]:
            data = json.dumps(value).encode()
            digest = hashlib.sha256(data).hexdigest()
            add(f"blobs/sha256/{digest}", data)
            return {"mediaType": f"{_OCI}.{kind}.v1+json", "digest": f"sha256:{digest}", "size": len(data)}

        for layer, digest in zip(layers, digests, strict=True):
            out.add(layer, f"blobs/sha256/{digest}")
        image = {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.manifest.v1+json",
            "config": blob("config", image),
            "layers": [
                {"mediaType": f"{_OCI}.layer.v1.tar", "digest": f"sha256:{digest}", "size": layer.stat().st_size}
                for layer, digest in zip(layers, digests, strict=True)
            ],
        }
        named = {**blob("manifest", manifest), "annotations": {"io.containerd.image.name": name}}
        add("index.json", json.dumps({"schemaVersion": 2, "manifests": [named]}).encode())
        add("oci-layout", b'{"imageLayoutVersion": "1.0.0"}')


def _sha256(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
