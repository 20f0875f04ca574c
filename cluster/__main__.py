"""``python -m cluster``: a real Kubernetes on this machine, from the command line."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

from cluster import build
from cluster.cluster import Cluster


def main(argv: list[str]) -> int:
    """Run one command; its exit status."""
    parser = argparse.ArgumentParser(prog="python -m cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("--name", default="lab", help="the cluster's name (default: lab)")
    up = commands.add_parser("up", parents=[named], help="bring a cluster up and leave it up; prints its KUBECONFIG")
    commands.add_parser("down", parents=[named], help="remove every trace of it")
    run = commands.add_parser("run", parents=[named], help="bring a cluster up, run a command with it, take it down")
    execute = commands.add_parser("exec", parents=[named], help="run a command with the KUBECONFIG of one that is up")
    node = commands.add_parser("node", parents=[named], help="run a command on a node of one that is up")
    make = commands.add_parser("build", help="build programs; prints the folder of each group")
    make.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(build.GROUPS)} (default: all)")
    for one in (up, run):
        one.add_argument("--nodes", type=int, default=2, help="how many nodes (default: 2)")
        one.add_argument("--kube-proxy", action="store_true", help="with kube-proxy on each node")
    node.add_argument("number", type=int, help="the node's number, from 1")
    for one in (run, execute, node):
        one.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- COMMAND …")
    options = parser.parse_args(argv)
    words = [word for at, word in enumerate(getattr(options, "argv", [])) if at or word != "--"] or ["sh"]
    try:
        return _do(options, words)
    except (build.BuildError, RuntimeError, ValueError, TimeoutError, OSError) as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1


def _do(options: argparse.Namespace, words: list[str]) -> int:
    match options.command:
        case "build":
            if unknown := set(options.groups) - set(build.GROUPS):
                raise ValueError(f"no group {', '.join(sorted(unknown))}: there are {', '.join(build.GROUPS)}")
            for group in options.groups or build.GROUPS:
                print(build.folder(group))
        case "up":
            started = time.monotonic()
            cluster = Cluster(options.name, options.nodes, kube_proxy=options.kube_proxy)
            cluster.up()
            took = time.monotonic() - started
            print(
                f"cluster: up after {took:.1f} s; end it: python -m cluster down --name {options.name}", file=sys.stderr
            )
            print(f"export KUBECONFIG={cluster.kubeconfig}\nexport PATH={build.folder('kubernetes')}:$PATH")
        case "down":
            Cluster(options.name).down()
        case "run":
            with Cluster(options.name, options.nodes, kube_proxy=options.kube_proxy) as fresh:
                return subprocess.run(words, env=fresh.environment(), check=False).returncode
        case "exec":
            environment = Cluster.attach(options.name).environment()
            os.execvpe(words[0], words, environment)
        case "node":
            named = [one for one in Cluster.attach(options.name).nodes if one.number == options.number]
            if not named:
                raise ValueError(f"cluster {options.name} has no node {options.number}")
            enter = named[0].enter()
            os.execvp(enter[0], [*enter, *words])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
