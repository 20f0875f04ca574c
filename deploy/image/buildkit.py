"""``python -m deploy.image.buildkit [FILE]``: the Dockerfile's image as an OCI tar, without docker and a registry.

The Dockerfile is read by BuildKit, which is in `docker build`, too; here it comes from its Go module. Debian is what
mmdebstrap makes of this machine's own sources, in place of the image that FROM names. What comes out is compared with
`make image`'s: the same configuration, the same Debian packages and maybe more, the same files of weft and Python.

Its containers use the network of this machine. Everything else (mounts, cgroups, layers) is gone at the end.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import deploy.image as plain
from cluster import build, cgroups, processes
from cluster.images import build_image
from deploy.site import ROOT, ImageError, run

DOCKERFILE = Path("deploy/image/Dockerfile")
OWN = "usr/local/"
"""Where the image has what is not Debian's."""
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
"""pip brings its own, but this machine's way to packages may need these."""


def main(words: list[str]) -> int:
    """Exit code."""
    target = Path(words[0]) if words else ROOT / "build" / "weft-image-docker.tar"
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="weft-buildkit-", dir=target.parent) as scratch:
            base = _base(Path(scratch))
            with _daemon(Path(scratch)) as address:
                made = _solve(address, base, Path(scratch) / "image.tar")
            if unlike := differences(read(plain.build()), read(made)):
                raise ImageError("\n  ".join((f"{DOCKERFILE} does not make what `make image` makes:", *unlike)))
            made.rename(target)
    except (ImageError, build.BuildError, RuntimeError, OSError) as error:
        print(f"deploy.image.buildkit: {error}", file=sys.stderr)
        return 1
    print(f"{target}: {plain.name()} by {DOCKERFILE}, {target.stat().st_size / 1e6:.0f} MB; as `make image` makes it")
    return 0


# ---- building -------------------------------------------------------------------------------------------------------


def _base(scratch: Path) -> Path:
    """An OCI layout of a small Debian with apt."""
    tar, layout = scratch / "debian.tar", scratch / "debian"
    plain.bootstrap(tar, ("apt", "debian-archive-keyring"))
    trusted: dict[str, Path | bytes] = {}
    if CERTIFICATES.exists():
        trusted = {"/etc/pip.crt": CERTIFICATES, "/etc/pip.conf": b"[global]\ncert = /etc/pip.crt\n"}
    image = build_image("weft.test/debian:base", trusted, rootfs=tar)
    layout.mkdir()
    run("tar", "-xf", str(image), "-C", str(layout))
    image.unlink()  # nobody asks for this one again
    return layout


@contextmanager
def _daemon(scratch: Path) -> Iterator[str]:
    """BuildKit's daemon, in a mount namespace and below a cgroup of its own; its address."""
    group, log, address = f"weft-buildkit-{os.getpid()}", scratch / "log", f"unix://{scratch}/socket"
    settings = scratch / "buildkitd.toml"
    settings.write_text(f"""
root = "{scratch}/root"
[grpc]
address = ["{address}"]
[otel]
socketPath = "{scratch}/otel"
[worker.containerd]
enabled = false
[worker.oci]
snapshotter = "overlayfs"
networkMode = "host"
defaultCgroupParent = "{group}"
""")
    cgroups.create(group)
    try:
        running = processes.start(
            group, "", ("unshare", "--mount", build.program("buildkit", "buildkitd"), f"--config={settings}"), log,
            env={"PATH": f"{build.folder('runc')}:{os.environ['PATH']}", "TMPDIR": str(scratch)},
        )  # fmt: skip
        try:
            processes.until(lambda: (scratch / "socket").exists() or running.poll(), "BuildKit answers", 60)
            if running.poll() is not None:
                raise ImageError(f"buildkitd: {log.read_text().strip()[-2000:]}")
            yield address
        finally:
            cgroups.kill(group)
            running.wait()
    finally:
        cgroups.remove(group)


def _solve(address: str, base: Path, target: Path) -> Path:
    """Build the Dockerfile with ``base`` for what it calls FROM, as an OCI tar. Errors: ImageError."""
    named = re.search(r"^FROM (\S+)", (ROOT / DOCKERFILE).read_text(), re.MULTILINE)
    assert named, DOCKERFILE
    (index,) = json.loads((base / "index.json").read_text())["manifests"]
    done = subprocess.run(
        (
            *(build.program("buildkit", "buildctl"), f"--addr={address}", "build", "--progress=plain"),
            *("--frontend=dockerfile.v0", f"--local=context={ROOT}", f"--local=dockerfile={ROOT / DOCKERFILE.parent}"),
            *(f"--opt=context:{named[1]}=oci-layout://base@{index['digest']}", f"--oci-layout=base={base}"),
            f"--output=type=oci,dest={target},name={plain.name()},compression=uncompressed",
        ),
        check=False,
    )
    if done.returncode:
        raise ImageError(f"{DOCKERFILE} cannot be built: see above")
    return target


# ---- comparing ------------------------------------------------------------------------------------------------------


@dataclass
class Image:
    """What counts in an image: its configuration, Debian's packages, and the files that are not Debian's, by name."""

    config: dict[str, object]
    packages: set[str]
    files: dict[str, tuple[object, ...]]


def read(tar: Path) -> Image:
    """An OCI tar of one image whose layers are not compressed."""
    packages, files = "", dict[str, tuple[object, ...]]()
    with tarfile.open(tar) as archive:

        def blob(digest: str) -> IO[bytes]:
            return _content(archive, f"blobs/{digest.replace(':', '/')}")

        manifest = json.load(blob(json.load(_content(archive, "index.json"))["manifests"][0]["digest"]))
        config = json.load(blob(manifest["config"]["digest"]))["config"]
        for digest in (layer["digest"] for layer in manifest["layers"]):
            with tarfile.open(fileobj=blob(digest)) as layer:
                for file in layer:
                    name = file.name.removeprefix("./")
                    if name.startswith(OWN):
                        files[name] = (file.type, f"{file.mode:o}", file.uid, file.gid, file.linkname)
                    elif name == "var/lib/dpkg/status":
                        packages = _content(layer, file.name).read().decode()
    return Image(config, set(re.findall(r"^Package: (\S+)$", packages, re.MULTILINE)), files)


def _content(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    found = archive.extractfile(name)
    assert found, name
    return found


def differences(plain: Image, docker: Image) -> list[str]:
    """What is not the same in the two images. The Dockerfile's may have more of Debian's packages."""
    found = []
    if plain.config != docker.config:
        found.append(f"configuration: {plain.config} and {docker.config}")
    if missing := plain.packages - docker.packages:
        found.append(f"Debian packages that the Dockerfile's has not: {', '.join(sorted(missing))}")
    for name in sorted(plain.files.keys() | docker.files.keys()):
        one, other = plain.files.get(name, "missing"), docker.files.get(name, "missing")
        if one != other:
            found.append(f"/{name}: {one} and {other}")
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
