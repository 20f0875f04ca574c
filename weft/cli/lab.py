"""``weft lab up | down | status | exec NODE -- CMD``: several nodes on this machine, which share one store.

Each node NAME-N is a network namespace with an agent, joined by a bridge in a namespace of its own; nothing of the
host's network is touched. ``weft --node-name NAME-N ...`` talks to one of them; objects are the same at each.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from weft.api.client import AgentError, Client
from weft.cli.arguments import Options, Parser, UsageError, no_command

USAGE = "up [--nodes N] [--name NAME] | down | status | exec NODE -- COMMAND [ARG...]"
_ROOT = Path("/run/weft-lab")
_PATIENCE = 60.0


def arguments(parser: Parser) -> None:
    parser.add_argument("verb", choices=("up", "down", "status", "exec"))
    parser.add_argument("node", nargs="?", default="", metavar="NODE", help="for exec: lab-1")
    parser.add_argument("--nodes", type=int, default=2, metavar="N", help="1 to 200; default: %(default)s")
    parser.add_argument("--name", default="lab", help="nodes are called NAME-1, NAME-2, ...; default: %(default)s")
    parser.add_argument(
        "--tunnel", default="", choices=("", "vxlan"), help="between the nodes; default: direct routing"
    )


def main(options: Options) -> int:
    if not options.name.isalnum() or not options.name.isascii() or len(options.name) > 20:
        raise UsageError(f"--name {options.name}: expected up to 20 letters and digits")
    if options.verb == "exec":
        if not options.node or not options.command:
            raise UsageError(f"expected a node and a command: weft lab {USAGE}")
        _exec(options.node, options.command)
    no_command(options)
    if options.verb == "up":
        if not 1 <= options.nodes <= 200:
            raise UsageError(f"--nodes {options.nodes}: expected 1 to 200")
        return _up(options.name, options.nodes, options.tunnel)
    return _down(options.name) if options.verb == "down" else _status(options.name)


def _exec(node: str, command: list[str]) -> None:
    namespace = Path("/run/netns", node)
    if not namespace.exists():
        raise UsageError(f"{node}: there is no such node; weft lab status shows them")
    os.execvp("nsenter", ["nsenter", f"--net={namespace}", "--", *command])


def _up(name: str, nodes: int, tunnel: str) -> int:
    folder = _ROOT / name
    try:
        folder.mkdir(parents=True, mode=0o700)
    except FileExistsError:
        raise UsageError(f"lab {name} is there already; weft lab down --name {name} removes it") from None
    agents: dict[str, int] = {}
    try:
        _switch(name)
        for number in range(1, nodes + 1):
            _join(name, number)
            agents[f"{name}-{number}"] = _start(folder, name, number, tunnel)
            (folder / "agents.json").write_text(json.dumps(agents))
        for node, pid in agents.items():
            _wait(folder, node, pid)
    except BaseException:
        _down(name)
        raise
    print(f"lab {name} is up: {', '.join(agents)}; for example: weft --node-name {name}-1 get nodes")
    return 0


def _switch(name: str) -> None:
    """A namespace with the bridge, which is also the nodes' way to anywhere else: there is nothing."""
    space = f"{name}-switch"
    _ip("netns", "add", space)
    _ip("-n", space, "link", "add", "switch", "type", "bridge")
    for address in ("198.18.0.254/24", "fd00:198:18::fe/64"):
        _ip("-n", space, "address", "add", address, "dev", "switch", *(["nodad"] if ":" in address else []))
    _ip("-n", space, "link", "set", "switch", "up")


def _join(name: str, number: int) -> None:
    node, space = f"{name}-{number}", f"{name}-switch"
    _ip("netns", "add", node)
    _ip("-n", node, "link", "set", "lo", "up")
    _ip("-n", node, "link", "add", "uplink", "type", "veth", "peer", "name", f"port{number}", "netns", space)
    _ip("-n", space, "link", "set", f"port{number}", "master", "switch", "up")
    for address in (f"198.18.0.{number}/24", f"fd00:198:18::{number:x}/64"):
        _ip("-n", node, "address", "add", address, "dev", "uplink", *(["nodad"] if ":" in address else []))
    _ip("-n", node, "link", "set", "uplink", "up")
    _ip("-n", node, "route", "add", "default", "via", "198.18.0.254")
    _ip("-n", node, "-6", "route", "add", "default", "via", "fd00:198:18::fe")


def _argv(name: str, number: int) -> list[str]:
    node = f"{name}-{number}"
    cidrs = ["--pod-cidr", f"10.244.{number}.0/24", "--pod-cidr", f"fd00:244:0:{number:x}::/64"]
    enter = ["nsenter", f"--net=/run/netns/{node}", "--"]
    return [*enter, sys.executable, "-m", "weft.cli", "--node-name", node, "agent", *cidrs]


def _start(folder: Path, name: str, number: int, tunnel: str) -> int:
    words = [*_argv(name, number), "--store", str(folder / "store.sqlite"), *(["--tunnel", tunnel] if tunnel else [])]
    with (folder / f"{name}-{number}.log").open("ab") as log:
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True).pid


def _wait(folder: Path, node: str, pid: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not _answers(node):
        if not _is_agent(pid, node) or time.monotonic() > deadline:
            log = (folder / f"{node}.log").read_text().splitlines()[-3:]
            raise UsageError(f"the agent of {node} does not answer: {' / '.join(log)}")
        time.sleep(0.05)


def _answers(node: str) -> bool:
    try:
        Client(node, timeout=5).get("/v1/status")
    except AgentError as error:
        if error.status:
            raise
        return False
    return True


def _is_agent(pid: int, node: str) -> bool:
    """Whether the process is still ours."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return node.encode() in words


def _down(name: str) -> int:
    folder = _ROOT / name
    if not folder.exists():
        raise UsageError(f"there is no lab {name}")
    with contextlib.suppress(FileNotFoundError):
        agents: dict[str, int] = json.loads((folder / "agents.json").read_text())
        for node, pid in agents.items():
            _end(node, pid)
        for node in agents:
            number = int(node.rpartition("-")[2])
            done = subprocess.run([*_argv(name, number), "--cleanup"], capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"warning: {node}: {done.stderr.strip()}", file=sys.stderr)
    for space in sorted(Path("/run/netns").glob(f"{name}-*")):
        if (rest := space.name.removeprefix(f"{name}-")) == "switch" or rest.isdigit():
            _ip("netns", "del", space.name)
    shutil.rmtree(folder)
    with contextlib.suppress(OSError):
        _ROOT.rmdir()
    return 0


def _end(node: str, pid: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while _is_agent(pid, node):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM if time.monotonic() < deadline - _PATIENCE / 2 else signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        if time.monotonic() > deadline:
            raise UsageError(f"the agent of {node} (process {pid}) does not end")
        time.sleep(0.1)


def _status(name: str) -> int:
    try:
        agents: dict[str, int] = json.loads((_ROOT / name / "agents.json").read_text())
    except FileNotFoundError:
        raise UsageError(f"there is no lab {name}") from None
    alive = {node: _is_agent(pid, node) for node, pid in agents.items()}
    for node, answer in alive.items():
        print(f"{node}  {'up' if answer else 'its agent is gone'}")
    return 0 if all(alive.values()) else 1


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UsageError(f"ip {' '.join(words)}: {done.stderr.strip()}")
