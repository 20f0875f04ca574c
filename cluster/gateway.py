"""Gateway API's files, as its Go modules have them (the version is that of programs/gateway/go.mod)."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from cluster import build

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
    version = build.required(GROUP, module)
    ready = build.cache_folder() / f"{name}-{version}"
    if ready.is_dir():
        return ready
    source = build.module(GROUP, module)
    ready.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ready.parent, prefix=".gateway-") as scratch:
        fresh = Path(scratch) / "files"
        fresh.mkdir()
        for file in source.glob(pattern):
            shutil.copyfile(file, fresh / file.name)
        if not ready.is_dir():
            fresh.rename(ready)
    return ready
