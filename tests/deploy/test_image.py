"""The image: weft runs in it with nothing but what it holds."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import weft
from deploy.image import build, drop, name

INSIDE = """
root=$1; shift
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount -t tmpfs run "$root/run"
exec chroot "$root" "$@"
"""


def held(archive: tarfile.TarFile, path: str) -> Any:
    """A file of the OCI layout."""
    found = archive.extractfile(path)
    assert found is not None
    return found


def blob(archive: tarfile.TarFile, digest: str) -> Any:
    return held(archive, f"blobs/{digest.replace(':', '/')}")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The image's files, unpacked in memory as a container runtime does: one layer over the other."""
    folder = tmp_path_factory.mktemp("image")
    subprocess.run(["mount", "-t", "tmpfs", "image", folder], check=True)
    try:
        with tarfile.open(build()) as archive:
            (manifest,) = json.load(held(archive, "index.json"))["manifests"]
            assert manifest["annotations"]["io.containerd.image.name"] == name() == f"weft.test/weft:{weft.__version__}"
            for layer in json.load(blob(archive, manifest["digest"]))["layers"]:
                with subprocess.Popen(["tar", "-x", "-C", folder], stdin=subprocess.PIPE) as unpacking:
                    shutil.copyfileobj(blob(archive, layer["digest"]), unpacking.stdin)
                assert unpacking.returncode == 0
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def run(image: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """In the image, with mounts and a network namespace that go with the command."""
    return subprocess.run(
        ["unshare", "--mount", "--net", "sh", "-ec", INSIDE, "sh", str(image), *words],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_doctor_finds_everything(image: Path) -> None:
    done = run(image, "weft", "doctor", "--kubernetes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "MISSING" not in done.stdout and "service_connect4" in done.stdout


def test_everything_can_be_imported(image: Path) -> None:
    script = """
import importlib, pkgutil, weft
for module in pkgutil.walk_packages(weft.__path__, "weft."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""
    done = run(image, "python3", "-c", script)
    assert done.returncode == 0, done.stderr


def test_programs_are_there(image: Path) -> None:
    envoy = "/usr/local/lib/python3.11/dist-packages/envoy/_bin/envoy"
    for words in ((envoy, "--version"), ("setpriv", "--version"), ("nft", "--version"), ("mount", "--version")):
        done = run(image, *words)
        assert done.returncode == 0, done.stderr
    done = run(image, "weft", "--version")
    assert done.stdout == f"weft {weft.__version__}\n"


def test_byte_code_is_used_whatever_the_time(image: Path) -> None:
    """The root is read-only: what does not hold would be compiled at every start."""
    script = "import weft.cli, sys; print(sys.modules['weft.cli'].__cached__)"
    cached = image / run(image, "python3", "-c", script).stdout.strip().lstrip("/")
    flags = int.from_bytes(cached.read_bytes()[4:8], "little")
    assert flags == 1  # hash-based, never checked (PEP 552)


def test_nothing_is_of_the_machine_that_built_it(image: Path) -> None:
    """A container runtime brings these."""
    assert not [name for name in ("hostname", "resolv.conf", "machine-id") if (image / "etc" / name).exists()]


def test_a_file_leaves_an_archive_and_everything_else_stays(tmp_path: Path) -> None:
    tree, kept = tmp_path / "tree", "kept-" + "long" * 40
    (tree / "etc").mkdir(parents=True)
    for number in range(50):
        (tree / "etc" / f"{kept}-{number}").write_bytes(bytes([number]) * 700 * number)
    (tree / "etc" / "hostname").write_text("builder")
    (tree / "etc" / "other").hardlink_to(tree / "etc" / f"{kept}-7")
    subprocess.run(["tar", "--format=pax", "-cf", tmp_path / "tar", "-C", tree, "."], check=True)
    drop(tmp_path / "tar", ("./etc/hostname",))
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-xf", tmp_path / "tar", "-C", tmp_path / "out"], check=True)
    (tree / "etc" / "hostname").unlink()
    subprocess.run(["diff", "-r", tree, tmp_path / "out"], check=True)
    assert (tmp_path / "out" / "etc" / "other").stat().st_nlink == 2
