"""``python -m tests.guest.suite 6.1 6.12 nodes faults``: the namespace suite on guest kernels, package by package.

Each package (a folder of tests, or ``faults/test_disk.py``) has a guest of its own, so that one that hangs or crashes
takes no other along. One line is printed for each, pytest's output goes to build/guest/log/; exit 0 only if all pass.
"""

from __future__ import annotations

import compileall
import re
import sys
import time
from pathlib import Path
from typing import NamedTuple

from cluster import build
from deploy import image
from tests.guest import VERSIONS, GuestError, run
from tests.lab.tools import ROOT, build_all

MINUTES = {
    "lab": 20, "bpf": 45, "datapath": 60, "runtime": 30, "services": 40, "paths": 30, "hostile": 30, "cli": 60,
    "conformance": 45, "faults": 90, "proxy": 90, "layer7": 60, "gateway": 60, "nodes": 60, "cni": 40,
    "property/test_kernel_agrees.py": 20,
}  # fmt: skip
"""The namespace suite: package → how long it may take."""
COMPACT = ("tests/lab/test_node.py",)
"""Policy, services and flows: what `make test` runs on the oldest kernel."""
PYTEST = (
    "-p tests.guest.instant -p no:cacheprovider -o faulthandler_timeout=1800 "
    "-o addopts='-v -ra --color=no --durations=9 --strict-markers'"
)
CLUSTERS = ("tests/guest/kubernetes.py",)
"""Those that bring a cluster up."""
CLUSTER_MACHINE = """
mount -o remount,nsdelegate /sys/fs/cgroup # as systemd has it
export XDG_CACHE_HOME={cache} WEFT_TEST_IMAGE={image}
mkdir /tmp/cache /tmp/cache.work
mount -t overlay -o lowerdir={cache},upperdir=/tmp/cache,workdir=/tmp/cache.work overlay {cache}
"""
"""What their guest does first: it finds the host's programs and images, and keeps what it adds."""
LOGS = ROOT / "build" / "guest" / "log"


class Outcome(NamedTuple):
    passed: int
    failed: int
    ended: bool
    """pytest came to its end and said that all passed."""


def run_tests(version: str, paths: tuple[str, ...], timeout: float, log: Path | None = None) -> tuple[int, str]:
    """pytest's exit code and output in a fresh guest; the output goes to ``log`` as it comes. Raises GuestError."""
    build_all()
    setup, memory = _cluster_machine() if set(paths) & set(CLUSTERS) else ("", "4G")
    for folder in ("weft", "tests", "cluster", "deploy"):  # a guest writes nothing here, and compiles at every start
        compileall.compile_dir(ROOT / folder, quiet=2)
    command = f"{setup}{ROOT}/.venv/bin/python -m pytest {PYTEST} {' '.join(paths)}"
    return run(version, command, timeout, memory=memory, log=log)


def _cluster_machine() -> tuple[str, str]:
    """(the guest's first commands, its memory); what the cluster needs is made now if it is not in the cache."""
    for group in (*build.NEEDED, "helm"):
        build.folder(group)
    return CLUSTER_MACHINE.format(cache=build.cache_folder().parent.parent, image=image.build()), "8G"


def run_package(version: str, package: str) -> Outcome:
    """One package in a guest of its own; what failed is in its log, and named on stdout."""
    log = LOGS / f"{version}-{package.replace('/', '-')}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    began, complaint = time.monotonic(), ""
    try:
        code, _ = run_tests(version, (f"tests/{package}",), MINUTES.get(package, 45) * 60, log)
    except GuestError as error:
        code, complaint = 1, str(error).partition("; its output:")[0]
    output = log.read_text(errors="replace")
    failed = sorted(set(re.findall(r"^(?:FAILED|ERROR) (tests/\S+::\S+)", output, re.M)))
    passed = len(re.findall(r" PASSED +\[", output))
    took = time.monotonic() - began
    print(f"{version:5} {package:32} {passed:4} passed {len(failed):3} failed {took:6.0f} s", flush=True)
    for line in filter(None, (*failed, complaint)):
        print(f"        {line}", flush=True)
    return Outcome(passed, len(failed), code == 0)


def main(arguments: list[str]) -> int:
    versions = [word for word in arguments if word in VERSIONS] or list(VERSIONS)
    packages = [word for word in arguments if word not in VERSIONS] or list(MINUTES)
    for package in packages:
        if not (ROOT / "tests" / package.partition("::")[0]).exists():
            sys.exit(f"no tests/{package}; kernels are {', '.join(VERSIONS)}, packages {', '.join(MINUTES)}")
    good = True
    for version in versions:
        outcomes = [run_package(version, package) for package in packages]
        ended = sum(outcome.ended for outcome in outcomes)
        passed, failed = sum(outcome.passed for outcome in outcomes), sum(outcome.failed for outcome in outcomes)
        print(f"{version:5} in all: {ended} of {len(packages)} packages, {passed} tests passed, {failed} failed")
        good &= ended == len(packages)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
