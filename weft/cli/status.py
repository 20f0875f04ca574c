"""``weft status``: what this node enforces, and at what cost. Exit 1 when something is wrong."""

from __future__ import annotations

from typing import Any

from weft.cli.arguments import Options, Parser, UsageError, add_output, no_command
from weft.cli.common import client, emit_json

USAGE = "[--all [--kubeconfig FILE]] [-o json]"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def render(status: dict[str, Any]) -> str:
    """The screen that a person reads; sections in the order in which one asks."""
    node, pods, policy = status["node"], status["pods"], status["policy"]
    flows, memory = status["flows"], status["memory"]
    lines = [
        f"Node      {node['name']}  weft {node['version']}  Linux {node['kernel']}  up {node['uptimeSeconds']:.0f} s",
        f"Datapath  {node['attach']}  revision {policy['revision']}  pods {', '.join(node['podCIDRs'])}",
        f"Source    {status['source']}",
        f"Pods      {pods['running']} running, {pods['ready']} ready, of {pods['total']}",
        f"Services  {status['services']['ports']} ports, {status['services']['backends']} backends",
        f"Policy    {policy['policies']} policies, {policy['rules']} rules in force; "
        f"{policy['tables']} tables for {policy['isolated']} isolated pods; {policy['classes']} peer classes",
        f"Flows     {flows['seen']} seen, {flows['kept']} kept, {flows['lost']} lost; {flows['open']} open",
        f"Envoy     {_envoy(status['envoy'])}",
        f"Drops     {_drops(status['drops'])}",
        f"Memory    agent {_size(memory['anonymousBytes'])} anonymous ({_size(memory['rssBytes'])} resident)",
        "",
        f"{'MAP':<18} {'ENTRIES':>9} {'OF':>9}",
    ]
    lines += [f"{row['name']:<18} {row['entries']:>9} {row['max']:>9}" for row in status["maps"]]
    for problem in status["problems"]:
        lines.append(f"PROBLEM   {problem}")
    return "\n".join(lines)


def _envoy(envoy: dict[str, Any]) -> str:
    sent = sum(envoy["sent"].values())
    if not envoy["pid"]:
        return f"not running; {sent} connections sent to it so far"
    return (
        f"pid {envoy['pid']}, {envoy['listeners']} listeners, {_size(envoy['memoryBytes'])}; "
        f"{sent} connections sent to it so far"
    )


def _drops(drops: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(drops.items(), key=lambda item: -item[1])) or "none"


def arguments(parser: Parser) -> None:
    add_output(parser)
    parser.add_argument("--all", action="store_true", help="every node of the Kubernetes cluster")
    parser.add_argument("--kubeconfig", default="", metavar="FILE", help="with --all: default: the pod's own account")
    parser.add_argument("-n", "--namespace", default="", help="with --all: where weft is; default: kube-system")


def main(options: Options) -> int:
    no_command(options)
    if options.all:
        from weft.cli import clusterstatus

        return clusterstatus.main(options)
    if options.kubeconfig or options.namespace:
        raise UsageError("--kubeconfig and --namespace go with --all")
    answer = client().get("/v1/status")
    if options.output:
        emit_json(answer)
    else:
        print(render(answer))
    return int(bool(answer["problems"]))
