"""Kubernetes' own end-to-end tests, as far as they are about what weft does.

``python -m cluster.upstream kubernetes [--suite NAME …] [--processes N] [--folder FOLDER]``
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster import Cluster, build, images
from cluster.processes import command
from cluster.upstream import ginkgo, mesh
from cluster.upstream.ginkgo import FAILED, LEFT_OUT, PASSED, Result
from deploy.image import debian

TOOLS = ("bind9-dnsutils", "curl", "netcat-openbsd", "wget")
"""Debian's names of what the tests run in upstream's images."""
TIMEOUT = "6h"
ZONE_LABEL = "topology.kubernetes.io/zone"
LIST = "registries.yaml"
REGISTRIES = (
    "promoterE2eRegistry", "buildImageRegistry", "invalidRegistry", "gcEtcdRegistry", "gcRegistry",
    "sigStorageRegistry", "privateRegistry", "dockerLibraryRegistry", "cloudProviderGcpRegistry",
)  # fmt: skip
"""Of upstream's list of registries: all are ours."""


@dataclass(frozen=True)
class Suite:
    """``focus``: pattern of the specs' names. ``nodes``: how many it wants; they lie in three zones."""

    focus: str
    nodes: int = 2


SUITES = {
    "network policy": Suite(r"\[sig-network\] Netpol "),
    "services": Suite(r"\[sig-network\] (Services|Service CIDRs|Service endpoints latency) "),
    "endpoints": Suite(r"\[sig-network\] (EndpointSlice|EndpointSliceMirroring|Endpoints|EndpointsController) "),
    "DNS": Suite(r"\[sig-network\] DNS "),
    "networking": Suite(r"\[sig-network\] (Networking|NoSNAT|Connectivity|API Server|Proxy) "),
    "connection tracking": Suite(r"\[sig-network\] Conntrack "),
    "dual stack": Suite(r"\[sig-network\] \[Feature:IPv6DualStack\] "),
    "topology": Suite(r"\[sig-network\] (Traffic Distribution|Topology Hints) ", nodes=6),
}
_REASONS = {
    "needs SCTP in the kernel": (r"Feature:SCTPConnectivity",),
    "a step of it needs a NodePort: traffic from outside of the cluster is not weft's yet": (
        r"(pod|node|endpoint)-Service",
        r"using hostNetwork",
        r"nodePort: ",
        r"(functioning|type to|ExternalName to|for|for a) NodePort",
        r"affinity.* NodePort",
        r"PublishNotReadyAddresses is true",
        r"different Service CIDRs",
        r"type=NodePort",
        r"HealthCheckNodePort|[Hh]ealth check node",
        r"externall?TrafficPolicy",
    ),
    "traffic from outside of the cluster is not weft's yet": (r"ExternalIP",),
    "needs the internet": (r"Internet connection", r"Forward PTR lookup", r"Forward external name lookup"),
    "needs a kubelet that limits local storage, which the cluster's do not": (r"evicted pods",),
    "reads the report of another version of iperf than Debian's": (r"IPerf2",),
    "needs Google's cloud": (r"Provider:GCE",),
    "is about kube-proxy's own doings": (r"kube-proxy urls", r"restarting kube-proxy", r"iptables rules"),
}
SKIPS = {pattern: reason for reason, patterns in _REASONS.items() for pattern in patterns}
"""Pattern of specs' names: why they are left out."""


def main(argv: list[str]) -> int:
    """Run them; exit status."""
    parser = argparse.ArgumentParser(prog="python -m cluster.upstream kubernetes", description=__doc__)
    parser.add_argument("--suite", action="append", choices=SUITES, help="this one (default: all)")
    parser.add_argument("--processes", type=int, default=4, help="specs at once (default: 4)")
    parser.add_argument("--folder", type=Path, help="keep logs and reports there")
    parser.add_argument("--attach", metavar="NAME", help="a cluster that is up, with weft")
    options = parser.parse_args(argv)
    suites = {name: SUITES[name] for name in options.suite or SUITES}
    with tempfile.TemporaryDirectory(prefix="weft-e2e-") as scratch:
        folder = (options.folder or Path(scratch)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        if options.attach:
            return _run(Cluster.attach(options.attach), folder, suites, options.processes)
        with Cluster(f"e{os.getpid()}", nodes=2) as cluster:
            prepare(cluster, folder)
            return _run(cluster, folder, suites, options.processes)


def prepare(cluster: Cluster, folder: Path) -> None:
    """weft, DNS, and the images that the tests want."""
    for group in ("e2e", "ginkgo"):
        build.folder(group)
    mesh.install(cluster)
    for tar in test_images(folder):
        cluster.load_image(tar)


def test_images(folder: Path) -> list[Path]:
    """Upstream's images as far as they can be had here, under the names by which the tests ask for them.

    One of them (NoSNAT) asks before it reads the list of registries, so agnhost has its own name, too.
    """
    program = build.program("e2e", "e2e.test")
    ours = command(program, "--list-images", f"--kube-test-repo-list={_registries(folder)}").split()
    newest = {name.partition(":")[0]: name for name in sorted(ours, key=version)}
    tools, tars = debian(*TOOLS), []
    for kind, name in newest.items():
        match kind.removeprefix(f"{images.REGISTRY}/"):
            case "agnhost":
                own = (one for one in command(program, "--list-images").split() if one.endswith(f"/{Path(name).name}"))
                tars += [images.agnhost(each, rootfs=tools) for each in (name, *own)]
            case "busybox":
                tars.append(images.busybox(name))
            case "pause":
                tars.append(images.pause(name))
            case "nginx":  # pods that run, no more is asked of it
                tars.append(images.agnhost(name, command=("netexec", "--http-port=80")))
            case "regression-issue-74839":
                tars.append(images.regression(name))
            case "glibc-dns-testing":
                tars.append(images.build_image(name, rootfs=tools))
    return tars


def version(image: str) -> list[int]:
    """Of an image, to be compared."""
    return [int(number) for number in re.findall(r"\d+", image.partition(":")[2])]


def _registries(folder: Path) -> Path:
    file = folder / LIST
    file.write_text("".join(f"{registry}: {images.REGISTRY}\n" for registry in REGISTRIES))
    return file


def _run(cluster: Cluster, folder: Path, suites: Mapping[str, Suite], processes: int) -> int:
    found = {}
    for nodes in sorted({suite.nodes for suite in suites.values()}):
        grow(cluster, nodes)
        chosen = {name: suite.focus for name, suite in suites.items() if suite.nodes == nodes}
        print(f"{', '.join(chosen)}: on {nodes} nodes …", flush=True)
        report = run(cluster, folder, nodes, chosen.values(), processes)
        for name, focus in chosen.items():
            found[name] = ginkgo.results(report, focus, SKIPS)
    print_results(found)
    return int(not all(found.values()) or any(one.outcome == FAILED for results in found.values() for one in results))


def grow(cluster: Cluster, nodes: int) -> None:
    """To that many nodes, all of them Ready, in zones."""
    while len(cluster.nodes) < nodes:
        cluster.add_node()
    for node in cluster.nodes:
        cluster.kubectl("label", "node", node.name, "--overwrite", f"{ZONE_LABEL}=zone-{node.number % 3}")
    cluster.wait_ready()
    cluster.route_to_pods()


def run(cluster: Cluster, folder: Path, nodes: int, focuses: Iterable[str], processes: int) -> Path:
    """The suite's own report of those specs. Raises RuntimeError if there is none."""
    report, log = folder / f"{nodes}-nodes.json", folder / f"{nodes}-nodes.log"
    report.unlink(missing_ok=True)
    argv = [
        *(build.program("ginkgo", "ginkgo"), f"--procs={processes}", f"--timeout={TIMEOUT}", "--no-color", "-v"),
        *(f"--focus={'|'.join(focuses)}", f"--skip={'|'.join(SKIPS)}"),
        *(f"--output-dir={folder}", f"--json-report={report.name}", build.program("e2e", "e2e.test"), "--"),
        *(f"--kubeconfig={cluster.kubeconfig}", "--provider=skeleton", f"--num-nodes={nodes}", "--disable-log-dump"),
        f"--kube-test-repo-list={_registries(folder)}",
    ]
    with (
        log.open("w") as out,
        subprocess.Popen(
            argv, env=cluster.environment(), stdout=out, stderr=out, cwd=folder, start_new_session=True
        ) as running,
    ):
        try:
            running.wait()
        except BaseException:
            os.killpg(running.pid, signal.SIGKILL)  # its processes, too: they would wait for a cluster that goes
            raise
    if not report.exists():
        raise RuntimeError(f"no report (exit {running.returncode}): {log.read_text(errors='replace')[-2000:]}")
    return report


def print_results(found: Mapping[str, list[Result]]) -> None:
    """What was left out by its reason, what failed, and a table."""
    every = [one for results in found.values() for one in results]
    for reason in sorted({one.reason for one in every if one.outcome == LEFT_OUT}):
        print(f"\nleft out: {reason.strip()}")
        for one in every:
            if (one.outcome, one.reason) == (LEFT_OUT, reason):
                print(f"  {one.name}")
    for one in every:
        if one.outcome == FAILED:
            print("\n  ".join((f"\nfailed: {one.name}", *one.reason.strip().splitlines()[:3])))
    print(f"\n| suite | {PASSED} | {FAILED} | {LEFT_OUT} |\n|---|---|---|---|")
    for name, results in found.items():
        counts = (str(sum(one.outcome == outcome for one in results)) for outcome in (PASSED, FAILED, LEFT_OUT))
        print(f"| {name} | {' | '.join(counts)} |")
