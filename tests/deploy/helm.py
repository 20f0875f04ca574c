"""Helm, built from its Go module, and the chart."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml

from cluster.build import program

CHART = Path(__file__).parents[2] / "deploy/helm/weft"


def helm(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run it; nothing of the user's own configuration matters."""
    return subprocess.run(
        [program("helm", "helm"), *words], capture_output=True, text=True, timeout=120, check=False, env=env or {}
    )


def template(*settings: str) -> subprocess.CompletedProcess[str]:
    """``helm template`` with ``--set`` for each of ``settings``."""
    chosen = [word for setting in settings for word in ("--set", setting)]
    return helm("template", "weft", str(CHART), "--namespace", "kube-system", *chosen)


def rendered(*settings: str) -> list[dict[str, Any]]:
    """The manifests."""
    done = template(*settings)
    assert done.returncode == 0, done.stderr
    return [found for found in yaml.safe_load_all(done.stdout) if found]


def one(manifests: list[dict[str, Any]], kind: str, name: str = "weft") -> dict[str, Any]:
    """The only object of that kind and name."""
    (found,) = (each for each in manifests if each["kind"] == kind and each["metadata"]["name"] == name)
    return found
