"""weft's image without a registry: Debian as this machine's own sources have it, what weft needs, and weft.

``python -m deploy.image`` writes an OCI tar. Its lower layer (Debian's packages, Python's, Envoy) is kept in the cache
and made again when what it is made of changes; the upper one is weft alone, so that a change of weft's is an image in
seconds.
"""

from __future__ import annotations

import compileall
import fcntl
import hashlib
import inspect
import platform
import py_compile
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import weft
from cluster.build import cache_folder
from cluster.images import build_image
from weft.built import built

REPOSITORY = "weft.test/weft"
ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ROOT / "packages.txt"
BUILT = ("bpf/weft.bpf.o", "weft-shim", "weft-cni")
UNUSED = ("grpc",)
"""Python packages that dependencies ask for and nothing of weft's imports (xds-protos: its types, not its stubs)."""
LEFT_OUT = ("doc", "man", "locale", "info", "lintian", "bug")
"""Folders of /usr/share that no program reads."""


class ImageError(RuntimeError):
    """The image cannot be made; says why, and what to do."""


def name() -> str:
    """The image's name, as the chart has it without values."""
    return f"{REPOSITORY}:{weft.__version__}"


def build() -> Path:
    """The OCI tar, made now if it is not there. Errors: ImageError."""
    with _alone() as folder:
        base = _base(folder)
        files: dict[str, Path | bytes] = {
            f"{_site(base)}/weft": _package(folder),
            "/usr/local/bin/weft": b"#!/usr/bin/python3\nfrom weft.cli import main\n\nmain()\n",
        }
        return build_image(name(), files, rootfs=base, entrypoint=("weft",))


def debian(*more: str) -> Path:
    """A tar of the Debian that the image stands on, with Python and ``more`` packages, for images of examples.

    Errors: ImageError.
    """
    with _alone() as folder:
        return _lower(folder, *more)


@contextmanager
def _alone() -> Iterator[Path]:
    """The cache folder. A second build waits, and finds what the first one made."""
    folder = cache_folder().parent / "image"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


# ---- the lower layer ------------------------------------------------------------------------------------------------


def _lower(folder: Path, *more: str) -> Path:
    """A tar of Debian's part, with ``more`` packages."""
    packages = [*_debian(), *more]

    def debian(tar: Path) -> None:
        _bootstrap(tar, packages)

    return _kept(folder, "tools" if more else "debian", (*packages, inspect.getsource(_bootstrap)), debian)


def _base(folder: Path) -> Path:
    """A tar of everything but weft: Debian's part, kept by itself, with Python's behind it."""
    requirements = _requirements()
    constraints = (ROOT / "constraints.txt").read_text()
    lower = _lower(folder)

    def base(tar: Path) -> None:
        shutil.copyfile(lower, tar)
        _add_dependencies(tar, requirements)

    recipe = (lower.name, *requirements, constraints, inspect.getsource(_add_dependencies))
    return _kept(folder, "base", recipe, base)


def _kept(folder: Path, kind: str, recipe: Iterable[str], make: Callable[[Path], None]) -> Path:
    """What ``make`` writes for this recipe; made now if it is not there, and then the others of its kind go."""
    ready = folder / f"{kind}-{hashlib.sha256(chr(0).join(recipe).encode()).hexdigest()[:12]}"
    if not ready.exists():
        with tempfile.TemporaryDirectory(dir=folder, prefix=f".{kind}-") as scratch:
            make(Path(scratch) / "new")
            for old in folder.glob(f"{kind}-*"):
                shutil.rmtree(old) if old.is_dir() else old.unlink()
            (Path(scratch) / "new").rename(ready)
    return ready


def _debian() -> list[str]:
    """The packages of the group [run]."""
    group = PACKAGES.read_text().partition("[run]\n")[2].partition("\n[")[0]
    return [line.split()[0] for line in group.splitlines() if line.strip() and line[0] != "#"]


def _requirements() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return list(project["dependencies"])


def _bootstrap(tar: Path, packages: Sequence[str]) -> None:
    """Debian's essential packages and ours, of the release that this machine runs, from where it has its own."""
    sources = [*Path("/etc/apt/sources.list.d").glob("debian.sources"), *Path("/etc/apt").glob("sources.list")]
    release = platform.freedesktop_os_release()
    if release.get("ID") != "debian" or not sources:
        raise ImageError(f"{release.get('PRETTY_NAME', 'this machine')}: mmdebstrap wants a Debian with its sources in "
                         "/etc/apt; use deploy/image/Dockerfile")  # fmt: skip
    _run(
        "mmdebstrap", "--quiet", "--variant=essential", f"--include={','.join(('usr-is-merged', *packages))}",
        "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", "--format=tar",
        '--aptopt=APT::Install-Recommends "false"',
        *(f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in LEFT_OUT),
        release["VERSION_CODENAME"], str(tar), *map(str, sources),
    )  # fmt: skip
    drop(tar, ("./etc/hostname", "./etc/resolv.conf"))  # the building machine's


def drop(tar: Path, names: Sequence[str]) -> None:
    """Files out of an archive, which is written anew: `tar --delete` leaves some archives broken."""
    fresh = tar.with_name(f"{tar.name}.fresh")
    with tarfile.open(tar) as old, tarfile.open(fresh, "w") as out:
        for member in old:
            if member.name not in names:
                out.addfile(member, old.extractfile(member) if member.isreg() else None)
    fresh.rename(tar)


def _add_dependencies(tar: Path, requirements: Sequence[str]) -> None:
    """Python's packages, where Debian's interpreter looks for those that are not Debian's."""
    where, own = _site(tar), f"{sys.version_info[0]}.{sys.version_info[1]}"
    if f"/python{own}/" not in where:
        raise ImageError(f"this is Python {own}, the image has {where}: build it with the system's python3")
    with tempfile.TemporaryDirectory(dir=tar.parent) as site:
        _run(
            sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-compile",
            "--target", site, "-c", str(ROOT / "constraints.txt"), *requirements,
        )  # fmt: skip
        for unused in (*UNUSED, "bin"):
            shutil.rmtree(Path(site) / unused, ignore_errors=True)
        _compile(Path(site))
        with tarfile.open(tar, "a") as out:
            out.add(site, f".{where}", filter=_plain)


def _site(tar: Path) -> str:
    """Folder in the image for Python packages; the interpreter's version is its name's."""
    with tarfile.open(tar) as layer:
        link = layer.getmember("./usr/bin/python3").linkname
    return f"/usr/local/lib/{link}/dist-packages"


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


# ---- the upper layer ------------------------------------------------------------------------------------------------


def _package(cache: Path) -> Path:
    """weft as `make wheel` packs it: the Python package with its compiled parts inside."""
    sources = sorted((ROOT / "weft").rglob("*.py"))
    parts = [built(part) for part in BUILT]
    digest = hashlib.sha256()
    for file in (*sources, *parts):
        if not file.exists():
            raise ImageError(f"{file} is not there yet: run `make build`")
        digest.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes())

    def package(folder: Path) -> None:
        for file in sources:
            _copy(file, folder / file.relative_to(ROOT / "weft"))
        for file in parts:
            _copy(file, folder / "_built" / file.name)
        _compile(folder)

    return _kept(cache, "weft", (digest.hexdigest(),), package)


def _copy(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(file, to)


def _compile(folder: Path) -> None:
    """Byte code that holds whatever a file's time is: the image's root is read-only, and its files have none."""
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(folder, quiet=2, invalidation_mode=mode, stripdir=str(folder.parent))


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ImageError(f"{' '.join(argv[:3])} …: {(done.stderr or done.stdout).strip()[-2000:]}")
