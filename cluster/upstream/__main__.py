"""``python -m cluster.upstream SUITE [OPTION …]``"""

from __future__ import annotations

import importlib
import sys

SUITES = ("kubernetes", "gateway")


def main(argv: list[str]) -> int:
    """Run one project's suite; its exit status."""
    if not argv or argv[0] not in SUITES:
        print(f"usage: python -m cluster.upstream {'|'.join(SUITES)} [--help]", file=sys.stderr)
        return 2
    status: int = importlib.import_module(f"cluster.upstream.{argv[0]}").main(argv[1:])
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
