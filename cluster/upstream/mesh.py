"""weft on a cluster as anybody installs it: the image, Gateway API's CRDs, the chart; and CoreDNS."""

from __future__ import annotations

import subprocess
from pathlib import Path

from cluster import Cluster, build, gateway
from deploy import image

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "weft"


def install(cluster: Cluster, *values: str) -> None:
    """``values``: KEY=VALUE for the chart. Returns when all nodes are Ready and DNS answers. Raises RuntimeError."""
    cluster.load_image(image.build())
    cluster.kubectl("apply", "--server-side", "-f", str(gateway.crds()))
    helm = [build.program("helm", "helm"), "install", "weft", str(CHART), "-n", "kube-system", "--wait"]
    done = subprocess.run(
        [*helm, *(word for value in values for word in ("--set", value))],
        env=cluster.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"helm install: {done.stderr.strip()}")
    cluster.wait_ready()
    cluster.deploy_dns()
    cluster.kubectl("rollout", "status", "-n", "kube-system", "deployment/coredns", "--timeout=120s")
