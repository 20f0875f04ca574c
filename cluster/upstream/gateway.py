"""Gateway API's own conformance suite for meshes, profiles MESH-HTTP and MESH-GRPC.

``python -m cluster.upstream gateway [--run-test NAME] [--folder FOLDER] [--attach NAME]``

The suite's clients and servers are pods of an image that is no Go module; programs/echo stands for it, under its name.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import tempfile
from pathlib import Path

from cluster import Cluster, build, gateway, images
from cluster.upstream import mesh
from cluster.upstream.ginkgo import FAILED, LEFT_OUT, PASSED, Result
from tools.gen_gateway_api import FEATURES, WITHOUT

PROFILES = ("MESH-HTTP", "MESH-GRPC")
SUPPORTED = tuple(name for names in FEATURES.values() for name in names.split() if name not in WITHOUT)
"""What docs/GATEWAY-API.md says weft has, by upstream's names."""
PATIENCE = {"MaxTimeToConsistency": 30, "DeleteTimeout": 30, "RequestTimeout": 30}
"""Seconds: no more than conformance allows (utils/config/timeout.go), but a machine may be slow."""
LABEL = "gateway-conformance"
"""Of the suite's namespaces."""
_IMAGE = re.compile(r"^\s*(?:- )?image: (\S+)$", re.MULTILINE)
_BEGINS = re.compile(r"^=== RUN   TestConformance/(\w+)$", re.MULTILINE)
_ENDED = re.compile(r"^    --- (PASS|FAIL|SKIP): TestConformance/(Mesh\w+) \([\d.]+s\)$", re.MULTILINE)
_OUTCOMES = {"PASS": PASSED, "FAIL": FAILED, "SKIP": LEFT_OUT}
_REASONS = re.compile(r"(?:Skipping \w+: |not ready yet: |Error:\s+)(.+)")


def main(argv: list[str]) -> int:
    """0: tests were run, and all passed."""
    parser = argparse.ArgumentParser(prog="python -m cluster.upstream gateway", description=__doc__)
    parser.add_argument("--run-test", default="", metavar="NAME", help="this one only")
    parser.add_argument("--folder", type=Path, help="keep the log and upstream's report there")
    parser.add_argument("--attach", metavar="NAME", help="a cluster that is up, with weft")
    options = parser.parse_args(argv)
    build.folder(gateway.GROUP)
    with tempfile.TemporaryDirectory(prefix="weft-gateway-") as scratch:
        folder = (options.folder or Path(scratch)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        if options.attach:
            found = run(Cluster.attach(options.attach), folder, options.run_test)
        else:
            with Cluster(f"g{os.getpid()}", nodes=2) as cluster:
                mesh.install(cluster)
                found = run(cluster, folder, options.run_test)
    print_table(found)
    return int(_count(found, FAILED) > 0 or not _count(found, PASSED))


def run(cluster: Cluster, folder: Path, only: str = "") -> list[Result]:
    """The suite's tests for meshes. ``folder`` gets ``gateway.log`` and upstream's report, ``gateway.yaml``.

    Raises RuntimeError if the suite failed but no test did.
    """
    for tar in test_images():
        cluster.load_image(tar)
    # Those of a run before may still be going.
    cluster.kubectl("wait", "--for=delete", "namespaces", f"-l={LABEL}", "--timeout=100s")
    argv = [
        *(build.program(gateway.GROUP, "conformance.test"), "-test.v", "-test.run=^TestConformance$"),
        *("-test.timeout=2h", f"-conformance-profiles={','.join(PROFILES)}", f"-run-test={only}"),
        *(f"-supported-features={','.join(SUPPORTED)}", f"-report-output={folder / 'gateway.yaml'}"),
        f"-timeout-config-overrides={';'.join(f'{name}:{seconds}' for name, seconds in PATIENCE.items())}",
        *("-organization=weft", "-project=weft", "-url=weft.test", "-version=0", "-contact=weft.test"),
    ]
    log = folder / "gateway.log"
    with log.open("w") as out:
        done = subprocess.run(argv, env=cluster.environment(), stdout=out, stderr=subprocess.STDOUT, check=False)
    said = log.read_text()
    found = results(said)
    if done.returncode and not _count(found, FAILED):
        raise RuntimeError(f"the suite failed (exit {done.returncode}): {said[-3000:]}")
    return found


def test_images() -> list[Path]:
    """The stand-in, under each name of an image in the suite's manifests."""
    program = Path(build.program("echo", "echo"))
    server, client = "/bin/server", "/bin/client"
    return [
        images.build_image(name, {server: program}, links={client: "server"}, entrypoint=(server,))
        for name in sorted(set(_IMAGE.findall(gateway.mesh_manifests())))
    ]


def results(log: str) -> list[Result]:
    """What ``-test.v`` printed of the tests for meshes; those that need a Gateway are no mesh's matter."""
    parts = _BEGINS.split(log)[1:]
    said = dict(zip(parts[::2], parts[1::2], strict=True))
    found = []
    for word, test in _ENDED.findall(log):
        outcome, reasons = _OUTCOMES[word], _REASONS.findall(said.get(test, ""))
        found.append(Result(test, outcome, reasons[-1] if reasons and outcome != PASSED else ""))
    return sorted(found, key=lambda result: result.name)


def print_table(found: list[Result]) -> None:
    print("| test | outcome | why |\n|---|---|---|")
    for one in found:
        print(f"| {one.name} | {one.outcome} | {one.reason} |")
    counts = ", ".join(f"{_count(found, outcome)} {outcome}" for outcome in (PASSED, FAILED, LEFT_OUT))
    print(f"\n{counts}: {gateway.SUITE} {build.required(gateway.GROUP, gateway.SUITE)}, unmodified", flush=True)


def _count(found: list[Result], outcome: str) -> int:
    return sum(one.outcome == outcome for one in found)
