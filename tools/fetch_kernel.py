"""Fetch one of Debian's kernels and make it bootable as a guest: kernel image, modules, and an initrd.

``python -m tools.fetch_kernel 6.1 6.12`` fills ``build/guest/<version>/`` with ``vmlinuz``, ``lib/modules/<release>``,
``initrd.cpio`` and ``release``. What is there already is left alone. Needs Debian's apt and dpkg-deb, kmod (depmod),
gcc with libc6-dev. The ``-cloud-`` kernels have no 9p, so the ordinary ones are taken.
"""

from __future__ import annotations

import lzma
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
META_PACKAGES = {"6.1": "linux-image-amd64", "6.12": "linux-image-6.12-amd64"}
"""Kernel version → Debian 12's meta-package (6.12 stands in its security archive)."""
EARLY_MODULES = ("virtio_pci", "9pnet_virtio", "9p")
"""What the initrd needs to see the host's files; virtio_rng and the rest come later, from there."""
INIT_SOURCE = ROOT / "tests" / "guest" / "init.c"


class FetchError(RuntimeError):
    """A kernel could not be fetched or prepared: says which step and what would help."""


def kernel_directory(version: str) -> Path:
    """``build/guest/<version>``, filled at the first call. Raises FetchError."""
    directory = ROOT / "build" / "guest" / version
    if not (directory / "release").exists():
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent) as scratch:
            prepared = _prepare(version, Path(scratch))
            shutil.rmtree(directory, ignore_errors=True)
            prepared.rename(directory)
    initrd = directory / "initrd.cpio"
    if not initrd.exists() or initrd.stat().st_mtime < INIT_SOURCE.stat().st_mtime:
        _write_initrd(directory)
    return directory


def _prepare(version: str, scratch: Path) -> Path:
    if version not in META_PACKAGES:
        raise FetchError(f"no guest kernel {version}; known are {', '.join(META_PACKAGES)}")
    package = _dependency(META_PACKAGES[version])
    _run(["apt-get", "download", "-o", "APT::Sandbox::User=root", package], cwd=scratch)
    unpacked = scratch / "unpacked"
    _run(["dpkg-deb", "-x", str(next(scratch.glob("*.deb"))), str(unpacked)])
    release = next((unpacked / "lib" / "modules").iterdir()).name
    prepared = scratch / "prepared"
    (prepared / "lib").mkdir(parents=True)
    (unpacked / "boot" / f"vmlinuz-{release}").rename(prepared / "vmlinuz")
    (unpacked / "lib" / "modules").rename(prepared / "lib" / "modules")
    _run(["depmod", "-b", str(prepared), release])
    (prepared / "release").write_text(release)
    return prepared


def _dependency(meta_package: str) -> str:
    if not _run(["apt-cache", "search", "--names-only", f"^{meta_package}$"]):
        _run(["apt-get", "-q", "update"])
    listing = _run(["apt-cache", "depends", meta_package])
    names = [line.split()[1] for line in listing.splitlines() if line.strip().startswith("Depends: linux-image-")]
    if not names:
        raise FetchError(f"apt knows no kernel for {meta_package}; it needs Debian 12's sources, the security ones too")
    return names[0]


def _write_initrd(directory: Path) -> None:
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        init = Path(scratch) / "init"
        _run(["gcc", "-static", "-O2", "-Wall", "-Werror", "-o", str(init), str(INIT_SOURCE)])
        files = {"init": (0o755, init.read_bytes())}
        names = []
        for path in _module_order(directory):
            name = path.name.removesuffix(".xz")
            content = path.read_bytes()
            files[name] = (0o644, lzma.decompress(content) if path.suffix == ".xz" else content)
            names.append(name)
        files["modules"] = (0o644, "".join(f"{name}\n" for name in names).encode())
        ready = Path(scratch) / "initrd.cpio"
        ready.write_bytes(cpio(files))
        ready.rename(directory / "initrd.cpio")


def _module_order(directory: Path) -> list[Path]:
    """The early modules and all that they depend on, dependencies first; built-in ones are left out."""
    base = directory / "lib" / "modules" / (directory / "release").read_text()
    depends = {}
    for line in (base / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        depends[Path(path).name.partition(".")[0]] = [*reversed(rest.split()), path]
    order: dict[str, None] = {}
    for name in EARLY_MODULES:
        order.update(dict.fromkeys(depends.get(name, [])))
    return [base / path for path in order]


def cpio(files: dict[str, tuple[int, bytes]]) -> bytes:
    """A cpio archive in the kernel's "newc" form: name → (mode, content). Regular files in the root folder only."""
    archive = bytearray()
    for inode, (name, (mode, content)) in enumerate([*files.items(), ("TRAILER!!!", (0, b""))], start=1):
        fields = (inode, 0o100000 | mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        archive += b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        archive += b"\0" * (-len(archive) % 4) + content
        archive += b"\0" * (-len(archive) % 4)
    return bytes(archive)


def _run(command: list[str], cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise FetchError(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    for wanted in sys.argv[1:] or list(META_PACKAGES):
        print(kernel_directory(wanted))
