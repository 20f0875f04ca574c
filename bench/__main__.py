"""``make bench``: every limit, measured; docs/BENCHMARKS.md. Exit 0 also when a limit is missed: the table says so."""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from bench import agent, big_cluster, intake, kubernetes, l7, nodes, packets, recording, scale, services, traffic
from bench.arms import Arm, Nft, Plain
from bench.limits import Row
from bench.report import document, table
from bench.tools import ROOT
from bench.weft_arm import Weft

NO_MESH, AGAIN, WEFT, NFT = "no mesh", "no mesh again", "weft", "nft DNAT"
BEGAN = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - BEGAN:5.0f} s] {text}", file=sys.stderr, flush=True)


def _traffic(rounds: int, quick: bool) -> list[Row]:
    with contextlib.ExitStack() as stack:
        arms: list[Arm] = []
        for make in (lambda: Plain(NO_MESH), lambda: Plain(AGAIN), lambda: Weft(WEFT)):
            arms.append(make())
            stack.callback(arms[-1].close)
        return traffic.rows(traffic.measure(arms, rounds, quick, say), NO_MESH, AGAIN, WEFT)


def _services(rounds: int, quick: bool) -> list[Row]:
    many = 1000 if quick else services.MANY
    with contextlib.ExitStack() as stack:
        arms: dict[tuple[str, int], Arm] = {}
        for count in (services.FEW, many):
            arms[NFT, count] = Nft(NFT, count)
            stack.callback(arms[NFT, count].close)
            arms[WEFT, count] = Weft(WEFT, count)
            stack.callback(arms[WEFT, count].close)
            say(f"services: {count:,} in place")
        return services.rows(services.measure(arms, 3 * rounds, quick, say), many)


def _recording(rounds: int, quick: bool) -> list[Row]:
    with contextlib.closing(Weft(WEFT)) as arm:
        return recording.measure(arm, rounds, quick, say)


PARTS: dict[str, Callable[[int, bool], list[Row]]] = {
    "traffic": _traffic,
    "nodes": lambda rounds, quick: nodes.measure(rounds, quick, say),
    "services": _services,
    "packets": lambda rounds, quick: packets.measure(rounds, quick, say),
    "scale": lambda rounds, quick: scale.measure(quick, say),
    "agent": lambda rounds, quick: agent.measure(rounds, quick, say),
    "records": lambda rounds, quick: intake.measure(rounds, quick, say),
    "recording": _recording,
    "kubernetes": lambda rounds, quick: kubernetes.measure(rounds, quick, say),
    "big cluster": lambda rounds, quick: big_cluster.measure(quick, say),
    "l7": lambda rounds, quick: l7.measure(rounds, quick, say),
}


def with_tmpfs(words: Sequence[str]) -> None:
    """Start over with a /run of its own if the machine's is on a disk: wherever systemd runs it is a tmpfs, and what
    the agent writes there for a pod takes 10 ms longer on a full ext4. It goes with the last process that sees it."""
    if subprocess.run(["findmnt", "--types", "tmpfs", "/run"], stdout=subprocess.DEVNULL, check=False).returncode:
        mount = 'mount -t tmpfs -o mode=755 tmpfs /run && exec "$0" -m bench "$@"'
        os.execvp("unshare", ["unshare", "--mount", "sh", "-c", mount, sys.executable, *words])


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="a smoke: two rounds, small sizes, nothing is written")
    parser.add_argument("--only", action="append", choices=PARTS, help="only this part; nothing is written")
    options = parser.parse_args(words)
    if os.geteuid() != 0:
        parser.error("the benchmarks make network namespaces and load BPF programs: run them as root")
    with_tmpfs(words)
    rounds = 2 if options.quick else options.rounds
    rows: list[Row] = []
    for part in options.only or PARTS:
        found = PARTS[part](rounds, options.quick)
        print(table(found), flush=True)
        rows += found
    if not options.quick and not options.only:
        (ROOT / "docs" / "BENCHMARKS.md").write_text(document(rows, rounds))
        say("docs/BENCHMARKS.md written")
    missed = [row for row in rows if row.held is False]
    say(f"{sum(row.held is True for row in rows)} limits held, {len(missed)} missed")
    for row in missed:
        print("MISSED: " + " ".join(cell for cell in row.cells() if cell))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
