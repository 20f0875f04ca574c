"""Helm, built from its Go module, and the chart."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml

from cluster import Cluster, Node
from cluster.build import program
from tests.lab.waiting import SLOWNESS

CHART = Path(__file__).parents[2] / "deploy/helm/weft"
LOOK = """
ip -br link | cut -d' ' -f1; ip rule; ip -6 rule
ip -4 route show table all; ip -6 route show table all | grep -v "^multicast\\|^anycast\\|^local\\|fe80"
nft list ruleset; find /sys/fs/bpf -mindepth 1 -maxdepth 1; find /etc/cni /opt/cni /run/weft /var/lib/weft
find /sys/fs/cgroup -name '*weft*'
sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding net.ipv4.tcp_early_demux net.ipv4.ip_local_port_range
true
"""


def helm(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run it; nothing of the user's own configuration matters."""
    command = [program("helm", "helm"), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120 * SLOWNESS, check=False, env=env or {})


def run_helm(cluster: Cluster, *words: str) -> str:
    """What it said of an installation in a cluster."""
    done = helm(*words, "--namespace", "kube-system", env=cluster.environment())
    assert done.returncode == 0, done.stderr
    return done.stdout


def look(node: Node) -> set[str]:
    """What is on a node, line by line."""
    return {line.strip() for line in node.run("sh", "-c", LOOK).splitlines()}


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
