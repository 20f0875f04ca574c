"""Envoy's life: refused configuration, restarts of agent and Envoy, listeners that come and go."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.waiting import until
from tests.proxy.scene import BACKENDS, SERVER, Client, Scene, again, cgroup_of, cluster, endpoints, rules, scene
from weft.model.http import HttpMatch
from weft.model.route import RouteTable
from weft.proxy.bootstrap import Paths
from weft.proxy.listening import listens
from weft.proxy.process import Limits, Process
from weft.proxy.spawn import USER

ONE, TWO, THREE = 10_101, 10_102, 10_103


@pytest.fixture
def own() -> Iterator[Scene]:
    with scene(f"life-{os.getpid()}") as made:
        for number in (ONE, TWO, THREE):
            made.serve(SERVER, number)
        yield made


def test_nothing_runs_without_a_listener(own: Scene) -> None:
    assert own.ensure({}) == []
    own.proxy.keep_only(())
    own.proxy.stop_if_idle(0)
    assert own.proxy.status().pid == 0
    assert not own.proxy.recover()


def test_one_that_has_not_said_its_number_yet(tmp_path: Path) -> None:
    """Its starter holds the lock for it before it runs."""
    process = Process(Paths(tmp_path), tmp_path, "n", Limits())
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for said in (None, "", "12"):
            if said is not None:
                (tmp_path / "pid").write_text(said)
            assert process.pid() == int(said or 0)
    assert process.pid() == 0 and process.find() is None


def test_refused_configuration_blocks_nobody(own: Scene) -> None:
    answers = own.ensure(
        {ONE: rules(HttpMatch(path="/a")), TWO: rules(HttpMatch(path="/(")), THREE: rules(HttpMatch())}
    )
    assert [answer.listener for answer in answers] == [TWO]
    assert "missing )" in answers[0].message
    assert own.ask(ONE, "/a").status == own.ask(THREE).status == 200
    until(lambda: not listens(TWO), "the refused listener does not listen")


def test_refused_change_leaves_what_was(own: Scene) -> None:
    assert own.ensure({ONE: rules(HttpMatch(path="/a"))}) == []
    assert [r.listener for r in own.ensure({ONE: rules(HttpMatch(path="/("))})] == [ONE]
    assert (own.ask(ONE, "/a").status, own.ask(ONE, "/b").status) == (200, 403)
    own.kill()
    until(lambda: own.exits and listens(ONE), "Envoy is back")
    assert (own.ask(ONE, "/a").status, own.ask(ONE, "/b").status) == (200, 403)


def test_change_holds_for_the_next_request_of_an_open_connection(own: Scene) -> None:
    own.ensure({ONE: rules(HttpMatch(path="/a"))})
    client = Client(ONE)
    assert [client.ask("/a").status, client.ask("/b").status] == [200, 403]
    own.ensure({ONE: rules(HttpMatch(path="/b"))})
    assert [client.ask("/a").status, client.ask("/b").status] == [403, 200]


def test_killed_envoy_comes_back_with_its_listeners(own: Scene) -> None:
    table = RouteTable(cluster("plain"))
    server = own.serve(BACKENDS[0], 8080)
    own.ensure({ONE: rules(HttpMatch(path="/a")), TWO: table}, {cluster("plain"): endpoints(BACKENDS[0])})
    for _ in range(3):
        before = own.pid
        own.exits.clear()
        began = time.perf_counter()
        own.kill()
        until(lambda: own.exits and listens(ONE) and listens(TWO), "both listen again")
        print(f"back after {time.perf_counter() - began:.3f} s")
        assert own.pid != before
        assert (own.ask(ONE, "/a").status, own.ask(ONE, "/b").status, own.ask(TWO).status) == (200, 403, 200)
    assert server.seen
    assert own.proxy.status().restarts == 3


def test_envoy_is_nobody_with_one_capability(own: Scene) -> None:
    own.ensure({ONE: rules(HttpMatch())})
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{own.pid}/status").read_text().splitlines())
    assert set(status["Uid"].split() + status["Gid"].split()) == {str(USER)}
    assert status["Groups"].strip() == ""
    assert {status[name] for name in ("CapEff", "CapPrm", "CapBnd")} == {f"{1 << 13:016x}"}
    assert status["NoNewPrivs"] == "1"
    assert Path(f"/proc/{own.pid}/cgroup").read_text().rstrip().endswith(f"/weft-life-{os.getpid()}")
    directory = own.proxy.paths.directory.stat()
    assert (directory.st_mode & 0o777, directory.st_uid) == (0o700, USER)


def test_agent_that_closes_leaves_envoy_and_its_connections(own: Scene) -> None:
    own.ensure({ONE: rules(HttpMatch(path="/a")), TWO: rules(HttpMatch(path="/b"))})
    client, pid = Client(ONE), own.pid
    assert client.ask("/a").status == 200
    own.proxy.close()
    assert client.ask("/a").status == 200
    own.proxy = again(own, cgroup_of(f"life-{os.getpid()}"))
    assert own.proxy.recover()
    assert own.ensure({ONE: rules(HttpMatch(path="/a"))}) == []
    assert client.ask("/a").status == 200
    assert listens(TWO), "what an earlier agent left stays until the new one says what it keeps"
    own.proxy.keep_only({ONE})
    until(lambda: not listens(TWO), "the earlier agent's listener is gone")
    assert own.ensure({THREE: rules(HttpMatch())}) == []
    assert client.ask("/a").status == own.ask(THREE).status == 200
    assert own.pid == pid


AGENT = """
import sys, time
from pathlib import Path
from tests.proxy.scene import rules
from weft.model.http import HttpMatch
from weft.proxy.proxy import Proxy
proxy = Proxy(Path(sys.argv[1]), Path(sys.argv[2]), "scene")
proxy.recover()
assert proxy.ensure({int(sys.argv[3]): rules(HttpMatch(path="/a"))}, {}, 20) == []
print("ready", flush=True)
time.sleep(1000)
"""


def test_agent_killed_in_a_loop(own: Scene) -> None:
    directory, cgroup = own.proxy.paths.directory, cgroup_of(f"life-{os.getpid()}")
    own.ensure({ONE: rules(HttpMatch(path="/a"))})
    client, pid = Client(ONE), own.pid
    own.proxy.close()
    for _ in range(3):
        command = [sys.executable, "-c", AGENT, str(directory), str(cgroup), str(ONE)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as agent:
            assert agent.stdout is not None
            assert agent.stdout.readline() == "ready\n"
            assert client.ask("/a").status == 200
            agent.kill()
        assert client.ask("/a").status == 200
    own.proxy = again(own, cgroup)
    assert own.proxy.recover()
    assert own.pid == pid


def test_envoy_dies_while_the_agent_is_away(own: Scene) -> None:
    own.ensure({ONE: rules(HttpMatch(path="/a"))})
    pid = own.pid
    own.proxy.close()
    os.kill(pid, signal.SIGKILL)
    own.proxy = again(own, cgroup_of(f"life-{os.getpid()}"))
    until(lambda: own.proxy.process.pid() == 0, "it is dead")
    assert not own.proxy.recover()
    assert own.ensure({ONE: rules(HttpMatch(path="/b"))}) == []
    assert own.ask(ONE, "/b").status == 200


def test_last_listener_goes_and_envoy_goes(own: Scene) -> None:
    own.ensure({ONE: rules(HttpMatch()), TWO: rules(HttpMatch(path="/b"))})
    own.proxy.keep_only({TWO})
    own.proxy.stop_if_idle(0)
    until(lambda: not listens(ONE), "the listener is gone")
    assert listens(TWO)
    own.proxy.keep_only(())
    own.proxy.stop_if_idle(0)
    until(lambda: own.proxy.status().pid == 0, "Envoy is gone")
    assert own.exits == []
    assert own.ensure({ONE: rules(HttpMatch())}) == []
    assert own.ask(ONE).status == 200


def test_ensure_keeps_an_envoy_that_was_about_to_go(own: Scene) -> None:
    own.ensure({ONE: rules(HttpMatch())})
    pid = own.pid
    own.proxy.keep_only(())
    own.proxy.stop_if_idle(0.3)
    own.ensure({TWO: rules(HttpMatch())})
    own.proxy.stop_if_idle(0)
    time.sleep(0.4)
    assert own.pid == pid


def test_agent_without_listeners_loads_nothing_of_envoys() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, weft.proxy.proxy as p; from pathlib import Path;"
         "x = p.Proxy(Path('/run/nobody'), Path('/nobody'), 'n'); x.ensure({}, {}, 1); x.keep_only(()); x.status();"
         "print([m for m in sys.modules if m.split('.')[0] in ('envoy', 'grpclib', 'google', 'h2')])"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "[]\n"


def test_node_without_ipv6(own: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.proxy.listening._IPV6_TRANSPARENT", -1)  # the kernel says no, as without IPv6
    assert own.ensure({ONE: rules(HttpMatch())}) == []
    assert own.ask(ONE).status == 200
    assert listens(ONE, v6=False)
    assert not listens(ONE)


def test_connections_of_a_listener_that_goes_end(own: Scene) -> None:
    own.ensure({ONE: rules(HttpMatch()), TWO: rules(HttpMatch())})
    going, staying = Client(ONE), Client(TWO)
    assert going.ask("/").status == staying.ask("/").status == 200
    own.proxy.keep_only({TWO})
    until(lambda: going.over, "the connection ends", 15)
    assert staying.ask("/").status == 200


def test_hundred_rule_sets(own: Scene) -> None:
    own.ensure({ONE: rules(HttpMatch())})
    one = own.proxy.status()
    many = {20_000 + n: rules(HttpMatch(path=f"/{n}"), HttpMatch(method="GET", path=f"/a/{n}")) for n in range(99)}
    began = time.perf_counter()
    assert own.ensure(many) == []
    took = time.perf_counter() - began
    hundred = own.proxy.status()
    print(f"1 listener: {one.memory_bytes >> 20} MB; 100: {hundred.memory_bytes >> 20} MB; in force after {took:.3f} s")
    assert (one.listeners, hundred.listeners) == (1, 100)
