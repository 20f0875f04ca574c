"""``python -m tests.guest.suite 6.1 6.12``: the namespace suite on guest kernels; exit 0 only if it passes on each."""

from __future__ import annotations

import sys

from tests.guest import run
from tests.lab.tools import ROOT, build_all

NAMESPACE_TESTS = tuple(
    f"tests/{name}"
    for name in (
        "lab", "bpf", "datapath", "runtime", "services", "paths", "hostile", "cli", "conformance", "faults", "proxy",
        "layer7", "gateway", "nodes",
    )
)  # fmt: skip
COMPACT = ("tests/lab/test_node.py",)
"""Policy, services and flows: what `make test` runs on the oldest kernel."""
PYTEST = "-p no:cacheprovider -o addopts='-q -ra --strict-markers --strict-config'"


def run_tests(version: str, paths: tuple[str, ...], timeout: float, echo: bool = False) -> tuple[int, str]:
    """pytest's exit code and output in a fresh guest."""
    build_all()
    command = f"{ROOT}/.venv/bin/python -m pytest {PYTEST} {' '.join(paths)}"
    return run(version, command, timeout, memory="4G", echo=echo)


def main(versions: list[str]) -> int:
    failed = []
    for version in versions:
        print(f"--- Linux {version} ---", flush=True)
        code, _ = run_tests(version, NAMESPACE_TESTS, timeout=5400, echo=True)
        failed += [version] if code else []
    print(f"failed on {', '.join(failed)}" if failed else "passed on all of them")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
