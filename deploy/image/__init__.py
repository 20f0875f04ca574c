"""weft's image without a registry: Debian as this machine's own sources have it, what weft needs, and weft.

``python -m deploy.image`` writes an OCI tar. Its lower layer (Debian's packages, Python's, Envoy) is kept in the cache
and made again when what it is made of changes; the upper one is weft alone, so that a change of weft's is an image in
seconds.
"""

from __future__ import annotations

import fcntl
import hashlib
import inspect
import platform
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import weft
from cluster.build import cache_folder
from cluster.images import build_image
from deploy import site
from deploy.site import ROOT, ImageError

REPOSITORY = "weft.test/weft"
PACKAGES = ROOT / "packages.txt"
LAUNCHER = ROOT / "deploy" / "image" / "weft"
ENTRYPOINT = ("weft",)
LEFT_OUT = ("doc", "man", "locale", "info", "lintian", "bug")
"""Folders of /usr/share that no program reads."""


def name() -> str:
    """The image's name, as the chart has it without values."""
    return f"{REPOSITORY}:{weft.__version__}"


def build() -> Path:
    """The OCI tar, made now if it is not there. Errors: ImageError."""
    with _alone() as folder:
        base = _base(folder)
        files: dict[str, Path | bytes] = {
            f"{_site(base)}/weft": _package(folder),
            "/usr/local/bin/weft": LAUNCHER,
        }
        return build_image(name(), files, rootfs=base, entrypoint=ENTRYPOINT)


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
        bootstrap(tar, packages)

    return _kept(folder, "tools" if more else "debian", (*packages, inspect.getsource(bootstrap)), debian)


def _base(folder: Path) -> Path:
    """A tar of everything but weft: Debian's part, kept by itself, with Python's behind it."""
    lower = _lower(folder)

    def base(tar: Path) -> None:
        shutil.copyfile(lower, tar)
        _add_dependencies(tar)

    recipe = (
        *(lower.name, *site.requirements(), (ROOT / "constraints.txt").read_text()),
        *(inspect.getsource(site), inspect.getsource(_add_dependencies)),
    )
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


def bootstrap(tar: Path, packages: Sequence[str]) -> None:
    """Debian's essential packages and ours, of the release that this machine runs, from where it has its own."""
    sources = [*Path("/etc/apt/sources.list.d").glob("debian.sources"), *Path("/etc/apt").glob("sources.list")]
    release = platform.freedesktop_os_release()
    if release.get("ID") != "debian" or not sources:
        raise ImageError(f"{release.get('PRETTY_NAME', 'this machine')}: mmdebstrap wants a Debian with its sources in "
                         "/etc/apt; use deploy/image/Dockerfile")  # fmt: skip
    site.run(
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


def _add_dependencies(tar: Path) -> None:
    """Python's packages, where Debian's interpreter looks for those that are not Debian's."""
    where, own = _site(tar), f"{sys.version_info[0]}.{sys.version_info[1]}"
    if f"/python{own}/" not in where:
        raise ImageError(f"this is Python {own}, the image has {where}: build it with the system's python3")
    with tempfile.TemporaryDirectory(dir=tar.parent) as scratch:
        folder = Path(scratch) / "dependencies"  # anybody may read it, unlike the scratch folder
        site.dependencies(folder)
        with tarfile.open(tar, "a") as out:
            out.add(folder, f".{where}", filter=_plain)


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
    """weft's folder, with its compiled parts inside."""
    digest = hashlib.sha256(inspect.getsource(site).encode())
    for place, file in site.package().items():
        digest.update(f"{place}\0".encode() + file.read_bytes())
    return _kept(cache, "weft", (digest.hexdigest(),), site.weft)
