"""Gateway API's files, as its Go modules have them (the version is that of programs/gateway/go.mod)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from cluster.build import SOURCES, BuildError, cache_folder, go, required

MODULE = "sigs.k8s.io/gateway-api"
SUITE = f"{MODULE}/conformance"
GROUP = "gateway"


def crds() -> Path:
    """A folder for ``kubectl apply --server-side -f``: the standard channel. Raises BuildError."""
    return _kept("gateway-api", MODULE, "config/crd/standard/*.yaml")


def mesh_manifests() -> str:
    """What the mesh suite applies first, as YAML. Raises BuildError."""
    return (_kept("gateway-mesh", SUITE, "mesh/manifests.yaml") / "manifests.yaml").read_text()


def _kept(name: str, module: str, pattern: str) -> Path:
    """A folder with those files of the module."""
    version = required(GROUP, module)
    ready = cache_folder() / f"{name}-{version}"
    if ready.is_dir():
        return ready
    done = subprocess.run(
        [go(GROUP), "mod", "download", "-json", f"{module}@{version}"],
        cwd=SOURCES / GROUP,
        env={**os.environ, "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BuildError(f"{module} {version}: {done.stdout.strip()} {done.stderr.strip()}")
    ready.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ready.parent, prefix=".gateway-") as scratch:
        fresh = Path(scratch) / "files"
        fresh.mkdir()
        for file in Path(json.loads(done.stdout)["Dir"]).glob(pattern):
            shutil.copyfile(file, fresh / file.name)
        if not ready.is_dir():
            fresh.rename(ready)
    return ready
