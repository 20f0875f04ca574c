"""The agent as a process: its options, its socket, its end, and what it leaves."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, traces, until
from tests.lab.netns import inside
from tests.lab.tools import ROOT
from tests.lab.waiting import SLOWNESS
from weft.agent.errors import OptionError
from weft.agent.main import Options
from weft.agent.main import _collector as read_collector
from weft.agent.main import _node as read_options

OPTIONS = {
    "--pod-cidr 10.1.0.0/33": "--pod-cidr 10.1.0.0/33: '10.1.0.0/33' does not appear to be an IPv4 or IPv6 network",
    "--pod-cidr 10.1.0.1/24": "--pod-cidr 10.1.0.1/24: 10.1.0.1/24 has host bits set",
    "--pod-cidr 10.1.0.0/24 --pod-cidr 10.2.0.0/24": "a second IPv4 range",
    "--pod-cidr 10.1.0.0/31": "too small",
    "--pod-cidr 10.96.1.0/24": "overlap; choose apart ranges",
    "--service-cidr fd00::/64 --pod-cidr fd00::/112": "overlap; choose apart ranges",
    "--node-name a/b": "--node-name a/b: ",
    "--node-name ..": "--node-name ..: ",
}


@pytest.mark.parametrize("words", OPTIONS)
def test_a_wrong_option_is_named(words: str) -> None:
    """Read only, never started: an agent in this process would be the machine's own node."""
    pairs = list(zip(words.split()[::2], words.split()[1::2], strict=True))

    def given(option: str, *default: str) -> tuple[str, ...]:
        return tuple(value for name, value in pairs if name == option) or default

    options = Options(
        node_name=given("--node-name", "fine")[0],
        pod_cidrs=given("--pod-cidr"),
        service_cidrs=given("--service-cidr", "10.96.0.0/16"),
    )
    with pytest.raises(OptionError) as refused:
        read_options(options)
    assert OPTIONS[words] in str(refused.value)


def test_a_wrong_collector_is_named() -> None:
    assert read_collector("") is None
    with pytest.raises(OptionError, match="--otlp-endpoint http://a:1: expected HOST:PORT, without a scheme"):
        read_collector("http://a:1")


def test_its_socket_is_roots(lab: Lab) -> None:
    path = Path("/run/weft") / lab.name / "agent.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and path.stat().st_uid == 0


def test_a_pod_cannot_reach_the_agent_its_pins_or_cgroups(lab: Lab) -> None:
    pod = lab.run("nosy")
    for hidden in (f"/run/weft/{lab.name}/agent.sock", f"/var/lib/weft/{lab.name}/store.sqlite"):
        assert Path(hidden).exists() and pod.exec("test", "-e", hidden).returncode == 1, hidden
    for made in (*traces.node_pins(lab.name), *traces.node_cgroups(lab.name)):
        found = pod.exec("sh", "-c", f"ls {made} && rmdir {made}/* 2>/dev/null; echo $$ > {made}/cgroup.procs")
        assert found.returncode, (made, found.stdout)


def test_a_second_agent_is_refused(lab: Lab) -> None:
    done = subprocess.run(
        lab.agent_argv(), capture_output=True, text=True, timeout=30 * SLOWNESS, check=False, cwd=ROOT
    )
    assert done.returncode == 1
    assert f"node {lab.name} has an agent already" in done.stderr and "Traceback" not in done.stderr
    done = subprocess.run(
        lab.agent_argv("--cleanup"), capture_output=True, text=True, timeout=30 * SLOWNESS, check=False, cwd=ROOT
    )
    assert done.returncode == 1 and lab.status()["node"]["name"] == lab.name


def test_two_nodes_on_one_machine(lab: Lab, own_lab: Lab) -> None:
    lab.run("here")
    own_lab.run("there")
    assert lab.weft("get", "pods", "-o", "name") == "pod/here\n"
    assert lab.weft("--node-name", own_lab.name, "get", "pods", "-o", "name") == "pod/there\n"
    assert lab.weft("get", "pods", "-o", "name", "--node-name", own_lab.name) == "pod/there\n"
    environment = {name: value for name, value in os.environ.items() if name != "WEFT_NODE"}
    words = [str(ROOT / "bin" / "weft"), "status"]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1 and "choose one with --node-name or WEFT_NODE" in done.stderr


@pytest.fixture
def notified(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[socket.socket]:
    """What systemd would hear."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(20 * SLOWNESS)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listener


def test_it_ends_and_begins_while_pods_live_on(notified: socket.socket) -> None:
    with Lab() as node:
        assert notified.recv(100) == b"READY=1"
        server, client = node.serve("server", "tcp:8080"), node.run("client")
        held = client.hold(server.v4, 8080, 20)
        node.stop_agent(signal.SIGTERM)
        assert notified.recv(100) == b"STOPPING=1"
        assert node._agent is not None and node._agent.returncode == 0
        assert not (Path("/run/weft") / node.name / "agent.sock").exists()
        assert "Traceback" not in node.log.read_text()
        assert client.probe("tcp", server.v4, 8080).outcome == "open"
        node.start_agent()
        assert {pod["metadata"]["name"] for pod in node.get("pods", namespace="default")["items"]} == {
            "client",
            "server",
        }
        ending = held.stop()
        assert ending.outcome == "held" and ending.longest_ms < 5000
        node.stop_agent()
        _leaves_nothing(node)


def _leaves_nothing(node: Lab) -> None:
    """``--cleanup``: not a process, mount, cgroup, pin, table, route, device or file is left."""
    argv = node.agent_argv("--cleanup")
    done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, timeout=60 * SLOWNESS, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert traces.remains(node.name) == []
    for command, never in (
        (["nft", "list", "tables"], "weft"),
        (["ip", "link"], "weft"),
        (["ip", "route", "show", "table", "all"], "10.244."),
        (["ip", "-6", "route", "show", "table", "all"], "fd00:244"),
        (["ip", "rule"], "weft"),
    ):
        listed = subprocess.run(inside(node.namespaces.node, *command), capture_output=True, text=True, check=True)
        assert never not in listed.stdout, listed.stdout
    gone = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, timeout=60 * SLOWNESS, check=False)
    assert gone.returncode == 0, "once more does no harm"


def test_status_shows_problems_by_its_exit_code(lab: Lab) -> None:
    shown = lab.weft("status")
    for section in ("Node ", "Datapath ", "Policy ", "Flows ", "Drops ", "Memory ", "MAP "):
        assert section in shown
    until(lambda: lab.status()["memory"]["anonymousBytes"] > 0, "a size")
    assert lab.status()["memory"]["anonymousBytes"] < 44e6
