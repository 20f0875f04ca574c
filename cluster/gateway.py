"""Gateway API's CRDs, as its Go module has them (the version is that of programs/images/go.mod)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from cluster.build import SOURCES, BuildError, cache_folder, go, required

MODULE = "sigs.k8s.io/gateway-api"
GROUP = "images"


def crds() -> Path:
    """A folder for ``kubectl apply --server-side -f``: the standard channel. Raises BuildError."""
    version = required(GROUP, f"{MODULE}/conformance")
    ready = cache_folder() / f"gateway-api-{version}"
    if ready.is_dir():
        return ready
    done = subprocess.run(
        [go(GROUP), "mod", "download", "-json", f"{MODULE}@{version}"],
        cwd=SOURCES / GROUP,
        env={**os.environ, "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BuildError(f"{MODULE} {version}: {done.stdout.strip()} {done.stderr.strip()}")
    standard = Path(json.loads(done.stdout)["Dir"], "config", "crd", "standard")
    ready.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ready.parent, prefix=".gateway-") as scratch:
        fresh = Path(scratch) / "crds"
        fresh.mkdir()
        for file in standard.glob("*.yaml"):
            shutil.copyfile(file, fresh / file.name)
        if not ready.is_dir():
            fresh.rename(ready)
    return ready
