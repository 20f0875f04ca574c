"""``weft run --name N -- CMD``: run a command as a pod: own network namespace and cgroup, own identity, policy from its
first packet."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

from weft.cli.arguments import Options, Parser, UsageError, add_namespace, seconds
from weft.cli.common import client

USAGE = "--name NAME [-l KEY=VALUE] [OPTIONS] -- COMMAND [ARG...]"


def arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("--name", required=True)
    add(
        "-l", "--label", "--labels", action="append", default=[], metavar="K=V", help="may be given again, or K=V,K2=V2"
    )
    add_namespace(parser)
    add("--service-account", default="default", metavar="NAME", help="default: %(default)s")
    add("-e", "--env", action="append", default=[], metavar="K=V", help="may be given again")
    add("--port", action="append", default=[], metavar="[NAME=]N[/PROTO]", help="a port that the command serves")
    add("--ready", default="", metavar="PROBE", help="readiness: tcp:PORT or http:PORT/PATH")
    add("--restart", default="Always", choices=("Always", "OnFailure", "Never"), metavar="WHEN",
        help="Always (default), OnFailure or Never")  # fmt: skip
    add("--cap-add", action="append", default=[], metavar="CAP", help="a capability on top of Kubernetes' default ones")
    add("--workdir", default="", metavar="DIR", help="where the command starts; here if left out")
    add("--timeout", type=seconds, default=30.0, metavar="TIME", help="how long to wait until it runs (default 30s)")


def main(options: Options) -> None:
    if not options.command:
        raise UsageError(f"the command is missing: weft run {USAGE}")
    wanted = {"namespace": options.namespace, "name": options.name}
    pod = manifest(options)
    agent = client(options.timeout + 10)
    agent.post("/v1/run", {"pod": pod})
    print(f"pod/{options.name} created", flush=True)
    condition = "Running" if options.restart == "Always" else "Started"
    body = {"pods": [wanted], "namespace": options.namespace, "condition": condition, "timeout": options.timeout}
    agent.post("/v1/wait", body)


def manifest(options: Options) -> dict[str, Any]:
    """A Kubernetes Pod; the agent checks it as it checks any other."""
    container: dict[str, Any] = {
        "name": re.sub(r"\.", "-", options.name)[:63],
        "image": "host",
        "command": options.command,
        "workingDir": options.workdir or os.getcwd(),  # noqa: PTH109 - text
    }
    if options.env:
        container["env"] = [{"name": key, "value": value} for key, value in pairs(options.env, "--env", ())]
    if options.port:
        container["ports"] = [port(text) for text in options.port]
    if options.cap_add:
        container["securityContext"] = {"capabilities": {"add": options.cap_add}}
    if options.ready:
        container["readinessProbe"] = readiness(options.ready)
    labels = dict(pairs(options.label, "--label", (",",)))
    spec = {
        "serviceAccountName": options.service_account,
        "restartPolicy": options.restart,
        "containers": [container],
    }
    meta = {"name": options.name, "namespace": options.namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def pairs(items: Sequence[str], option: str, separators: Sequence[str]) -> list[tuple[str, str]]:
    """``["a=b", "c=d"]`` → pairs; labels may also be joined by commas. Errors: UsageError for one without ``=``."""
    parts = [part for text in items for part in (text.split(",") if separators else [text])]
    found = []
    for item in parts:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise UsageError(f"{option} {item}: expected KEY=VALUE")
        found.append((key, value))
    return found


def port(text: str) -> dict[str, str | int]:
    """``[NAME=]NUMBER[/PROTOCOL]`` → a container's port."""
    match = re.fullmatch(r"(?:([^=]+)=)?(\d{1,5})(?:/(\w+))?", text)
    if not match or not 1 <= int(match[2]) <= 65535:
        raise UsageError(f"--port {text}: expected [NAME=]NUMBER[/PROTOCOL], for example http=8080/TCP")
    found: dict[str, str | int] = {"containerPort": int(match[2]), "protocol": (match[3] or "TCP").upper()}
    return found | ({"name": match[1]} if match[1] else {})


def readiness(text: str) -> dict[str, Any]:
    """``tcp:PORT`` or ``http:PORT/PATH`` → a probe."""
    match = re.fullmatch(r"(tcp):(\d{1,5})|(http):(\d{1,5})(/.*)?", text)
    number = int(match[2] or match[4]) if match else 0
    if not match or not 1 <= number <= 65535:
        raise UsageError(f"--ready {text}: expected tcp:PORT or http:PORT/PATH")
    if match[1]:
        return {"tcpSocket": {"port": number}, "periodSeconds": 1}
    return {"httpGet": {"port": number, "path": match[5] or "/"}, "periodSeconds": 1}
