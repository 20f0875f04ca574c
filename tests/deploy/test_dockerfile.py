"""The Dockerfile without building it (`make image-docker` does): it takes what `make image` takes, from a clone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import pytest

from cluster.images import build_image
from deploy import image, site
from deploy.image.buildkit import DOCKERFILE, Image, differences, read
from deploy.site import ROOT

TEXT = re.sub(r"\\\n\s*", "", (ROOT / DOCKERFILE).read_text())
LINES = [line for line in TEXT.splitlines() if line and line[0] != "#"]
ONE = Image({"Entrypoint": ["weft"]}, {"iproute2"}, {"usr/local/bin/weft": ("0", "755")})


def sources() -> Iterator[str]:
    """What it takes from the clone."""
    for line in LINES:
        if line.startswith("COPY ") and "--from=" not in line:
            yield from line.split()[1:-1]
        yield from re.findall(r"--mount=source=([^,]+),", line)


def ignored(path: str) -> bool:
    """By .dockerignore; of its language only what stands in it: NAME and **/NAME."""
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] != "#"]
    parents = [path, *map(str, Path(path).parents)]
    return any(
        fnmatch(parent, p) or fnmatch(f"/{parent}", p.replace("**", "*")) for p in patterns for parent in parents
    )


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """The files of a clone that the Dockerfile takes, and nothing else."""
    folder = tmp_path / "context"
    for source in sources():
        found = [ROOT / source, *(ROOT / source).rglob("*")]
        for file in (file for file in found if file.is_file() and not ignored(str(file.relative_to(ROOT)))):
            to = folder / file.relative_to(ROOT)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, to)
        assert (folder / source).exists(), f"COPY {source}: not in the repository, or .dockerignore has it"
    return folder


def test_what_it_copies_is_all_that_weft_is_made_of(context: Path, tmp_path: Path) -> None:
    """By a Python that knows nothing but its own packages."""
    for part in site.BUILT:
        (context / "build" / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "build" / part, context / "build" / part)
    argv = (sys.executable, "-S", "-m", "deploy.site", "weft", tmp_path / "weft")
    subprocess.run(argv, cwd=context, env={}, check=True)
    made = {str(file.relative_to(tmp_path / "weft")) for file in (tmp_path / "weft").rglob("*") if file.is_file()}
    assert {name for name in made if not name.endswith(".pyc")} == site.package().keys()
    besides = ("pyproject.toml", "constraints.txt", "bpf/Makefile", "shim/Makefile", "cni/Makefile")
    assert [name for name in besides if not (context / name).exists()] == []


def test_a_package_is_named_in_packages_txt_alone() -> None:
    assert "apt-get" not in TEXT
    assert re.findall(r"/install_packages (\w+) ", TEXT) == ["run", "build"]


def test_a_container_starts_as_with_make_image() -> None:
    last = LINES[max(at for at, line in enumerate(LINES) if line.startswith("FROM ")) :]
    (entrypoint,) = [line for line in LINES if line.startswith("ENTRYPOINT")]
    assert entrypoint in last
    assert tuple(json.loads(entrypoint.partition(" ")[2])) == image.ENTRYPOINT
    assert {line.split()[0] for line in last} == {"FROM", "COPY", "RUN", "ENTRYPOINT"}
    assert f"COPY {image.LAUNCHER.relative_to(ROOT)} /usr/local/bin/" in last


@pytest.mark.parametrize(
    ("docker", "said"),
    [
        (replace(ONE, packages={"iproute2", "apt"}), []),
        (replace(ONE, packages={"apt"}), ["Debian packages that the Dockerfile's has not: iproute2"]),
        (replace(ONE, config={}), ["configuration: {'Entrypoint': ['weft']} and {}"]),
        (replace(ONE, files={}), ["/usr/local/bin/weft: ('0', '755') and missing"]),
        (
            replace(ONE, files={"usr/local/bin/weft": ("0", "700")}),
            ["/usr/local/bin/weft: ('0', '755') and ('0', '700')"],
        ),
    ],
)
def test_what_differs_is_named(docker: Image, said: list[str]) -> None:
    assert differences(ONE, docker) == said


def test_an_image_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "root"
    (root / "var/lib/dpkg").mkdir(parents=True)
    (root / "var/lib/dpkg/status").write_text("Package: apt\nStatus: installed\n\nPackage: nftables\n")
    found = read(build_image("weft.test/read:1", {"/usr/local/bin/x": b"x"}, rootfs=root, entrypoint=("x",)))
    assert found.config["Entrypoint"] == ["x"]
    assert found.packages == {"apt", "nftables"}
    assert found.files.keys() == {"usr/local/bin/x"}
