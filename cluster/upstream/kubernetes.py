"""Kubernetes' own end-to-end tests, as far as they are about what weft does.

``python -m cluster.upstream kubernetes [--suite NAME …] [--focus REGEX] [--folder FOLDER]``
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cluster import Cluster, build, images
from cluster.processes import command
from cluster.upstream import ginkgo, mesh
from cluster.upstream.ginkgo import FAILED, LEFT_OUT, PASSED, Result
from deploy.image import debian

TOOLS = ("bind9-dnsutils", "curl", "iperf", "netcat-openbsd", "wget")
"""Debian's names of what the tests run in upstream's images."""
HOURS = "5h"
LIST = "registries.yaml"
REGISTRIES = (
    "promoterE2eRegistry", "buildImageRegistry", "invalidRegistry", "gcEtcdRegistry", "gcRegistry",
    "sigStorageRegistry", "privateRegistry", "dockerLibraryRegistry", "cloudProviderGcpRegistry",
)  # fmt: skip
"""Of upstream's list of registries: all are ours."""

OUTSIDE = "traffic from outside of the cluster (NodePort, LoadBalancer, ExternalIP, HostPort) is not weft's yet"
INTERNET = "the machine that runs the tests need not reach the internet"
KUBE_PROXY = "about kube-proxy itself, which is not there"


@dataclass(frozen=True)
class Suite:
    """``focus``: pattern of the specs' names. ``skips``: pattern: why those that it matches are left out."""

    focus: str
    skips: Mapping[str, str] = field(default_factory=dict)


ALL_SKIPS = {
    r"SCTP": "tests with SCTP traffic: not every kernel has it (weft refuses none of it in policies)",
    r"NodePort|nodePort|LoadBalancer|ExternalIP|HostPort|externall?TrafficPolicy|[Hh]ealth ?[Cc]heck ?[Nn]ode": OUTSIDE,
}
SUITES = {
    "policy": Suite(
        r"\[sig-network\] Netpol",
        {r"using SCTP": "SCTP traffic: the kernel's, if it has it"},
    ),
    "services": Suite(r"\[sig-network\] (Services|Service endpoints|Service CIDRs|Traffic Distribution)", ALL_SKIPS),
    "endpoints": Suite(r"\[sig-network\] (EndpointSlice|Endpoints)"),
    "dns": Suite(
        r"\[sig-network\] DNS ",
        {r"Provider:GCE|Forward PTR lookup|Forward external name lookup": INTERNET},
    ),
    "networking": Suite(
        r"\[sig-network\] (Networking|NoSNAT|Connectivity|Conntrack|API Server|Proxy)",
        ALL_SKIPS | {r"Internet connection": INTERNET, "kube-proxy urls|iptables rules": KUBE_PROXY},
    ),
    "dual-stack": Suite(r"\[sig-network\] \[Feature:IPv6DualStack\]", ALL_SKIPS),
}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m cluster.upstream kubernetes", description=__doc__)
    parser.add_argument("--suite", action="append", choices=SUITES, help="this one (default: all)")
    parser.add_argument("--focus", default="", help="only specs whose names match, too")
    parser.add_argument("--folder", type=Path, help="keep logs and reports there")
    parser.add_argument("--attach", metavar="NAME", help="a cluster that is up, with weft")
    options = parser.parse_args(argv)
    chosen = {name: SUITES[name] for name in options.suite or SUITES}
    with tempfile.TemporaryDirectory(prefix="weft-e2e-") as scratch:
        folder = (options.folder or Path(scratch)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        if options.attach:
            return _run(Cluster.attach(options.attach), folder, chosen, options.focus)
        build.folder("e2e")
        with Cluster(f"e{os.getpid()}", nodes=2) as cluster:
            prepare(cluster, folder)
            return _run(cluster, folder, chosen, options.focus)


def prepare(cluster: Cluster, folder: Path) -> None:
    """weft, DNS, and the images that the tests want."""
    mesh.install(cluster)
    for tar in test_images(folder):
        cluster.load_image(tar)


def test_images(folder: Path) -> list[Path]:
    """Upstream's images as far as they can be had here, under the names by which the tests ask for them."""
    said = command(build.program("e2e", "e2e.test"), "--list-images", f"--kube-test-repo-list={_registries(folder)}")
    wanted = (line for line in said.split() if line.startswith(images.REGISTRY))
    newest = {name.partition(":")[0]: name for name in sorted(wanted, key=version)}
    tools, tars = debian(*TOOLS), []
    for kind, name in newest.items():
        match kind.removeprefix(f"{images.REGISTRY}/"):
            case "agnhost":
                tars.append(images.agnhost(name, rootfs=tools))
            case "busybox":
                tars.append(images.busybox(name))
            case "pause":
                tars.append(images.pause(name))
            case "nginx":  # pods that run, no more is asked of it
                tars.append(images.agnhost(name, "netexec", "--http-port=80"))
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


def _run(cluster: Cluster, folder: Path, suites: Mapping[str, Suite], focus: str) -> int:
    found = {}
    for name, suite in suites.items():
        began = time.monotonic()
        print(f"{name} …", flush=True)
        found[name] = run(cluster, folder, name, suite, focus)
        print_suite(name, found[name], time.monotonic() - began)
    print_table(found)
    return int(any(one.outcome == FAILED for results in found.values() for one in results))


def run(cluster: Cluster, folder: Path, name: str, suite: Suite, focus: str = "") -> list[Result]:
    """The suite's specs, one after the other. Raises RuntimeError if there is no report."""
    report, log = folder / f"{name}.json", folder / f"{name}.log"
    report.unlink(missing_ok=True)
    skip = "|".join(suite.skips)
    argv = [
        *(build.program("e2e", "e2e.test"), f"--kubeconfig={cluster.kubeconfig}", "--provider=skeleton"),
        *(f"--kube-test-repo-list={_registries(folder)}", "--disable-log-dump", "--num-nodes=2"),
        *(f"--ginkgo.focus={focus or suite.focus}", *((f"--ginkgo.skip={skip}",) if skip else ())),
        *(f"--ginkgo.json-report={report}", f"--ginkgo.timeout={HOURS}", "--ginkgo.no-color", "--ginkgo.v"),
    ]
    with log.open("w") as out:
        status = subprocess.run(
            argv, env=cluster.environment(), stdout=out, stderr=subprocess.STDOUT, check=False
        ).returncode
    if not report.exists():
        raise RuntimeError(f"{name}: no report (exit {status}): {log.read_text()[-2000:]}")
    return ginkgo.results(report, focus or suite.focus, suite.skips)


def print_suite(name: str, found: list[Result], seconds: float) -> None:
    for one in found:
        if one.outcome != PASSED:
            print(f"  {one.outcome}: {one.name}\n    {one.reason.strip().splitlines()[0]}")
    print(f"{name}: {ginkgo.count(found, PASSED)} passed, {ginkgo.count(found, FAILED)} failed, "
          f"{ginkgo.count(found, LEFT_OUT)} left out, {seconds:.0f} s", flush=True)  # fmt: skip


def print_table(found: Mapping[str, list[Result]]) -> None:
    print(f"\n| suite | {PASSED} | {FAILED} | {LEFT_OUT} |\n|---|---|---|---|")
    for name, results in found.items():
        counts = " | ".join(str(ginkgo.count(results, outcome)) for outcome in (PASSED, FAILED, LEFT_OUT))
        print(f"| {name} | {counts} |")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
