"""Pods as real processes, in real namespaces and cgroups."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from tests.lab.waiting import SLOWNESS
from tests.runtime.node import DNS, Node, manifest, pod, shell, until
from weft.model.kinds.core import Pod
from weft.model.objects import NamespacedName
from weft.runtime.errors import PodError
from weft.runtime.pods import PodRuntime
from weft.runtime.state import ContainerState

KEY = NamespacedName("shop", "web")


async def up(runtime: PodRuntime, what: Pod, key: NamespacedName = KEY) -> None:
    await runtime.prepare(key, what, "uid-1")
    await runtime.start(key)


async def reaches(runtime: PodRuntime, state: str, reason: str = "", key: NamespacedName = KEY) -> ContainerState:
    def now() -> ContainerState | None:
        one = runtime.status(key).containers[0]
        return one if (one.state, one.reason) == (state, reason) else None

    return await until(now, f"{key} is {state} {reason}")


async def output(runtime: PodRuntime, what: Pod) -> list[str]:
    """What a pod prints that runs once."""
    await up(runtime, what)
    return [line.decode() async for line in runtime.logs(KEY, follow=True)]


def run(runtime: PodRuntime, *command: str, flags: tuple[str, ...] = (), stdin: str = "") -> tuple[int, str]:
    done = subprocess.run(
        [*runtime.exec_argv(KEY), *flags, "--", *command], input=stdin, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_life_of_a_pod(node: Node) -> None:
    async def scene(runtime: PodRuntime) -> None:
        prepared = await runtime.prepare(KEY, pod(["sleep", "infinity"]), "uid-1")
        assert [str(address) for address in prepared.addresses] == ["10.99.0.2", "fd99::2"]
        assert runtime.status(KEY).phase == "Pending"
        assert not runtime.status(KEY).containers[0].pid
        await runtime.start(KEY)
        running = await reaches(runtime, "Running")
        assert runtime.status(KEY).phase == "Running"
        await until(lambda: KEY in node.changes, "its change is told")
        text = Path(f"/proc/{running.pid}/cgroup").read_text()
        assert "/pods/shop_web\n" in text
        await runtime.stop(KEY)
        assert not Path(f"/proc/{running.pid}").exists()
        assert runtime.status(KEY).containers[0].exit_code == 128 + signal.SIGTERM
        await runtime.remove(KEY)
        assert runtime.pods() == []
        assert not list((node.paths.run_dir / "pods").iterdir())
        assert not list((node.paths.run_dir / "netns").iterdir())
        assert not [entry for entry in node.paths.cgroup.iterdir() if entry.is_dir()]
        await runtime.remove(KEY)

    node.run(scene)


def test_nothing_runs_before_start(node: Node, tmp_path: Path) -> None:
    async def scene(runtime: PodRuntime) -> None:
        await runtime.prepare(KEY, shell(f"echo > {tmp_path}/ran; sleep infinity"), "uid-1")
        links = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout
        assert any(line.startswith("wf") and " DOWN " in line for line in links.splitlines()), links
        assert not (tmp_path / "ran").exists()
        await runtime.start(KEY)
        await until((tmp_path / "ran").exists, "the command ran")
        first = await reaches(runtime, "Running")
        await runtime.start(KEY)
        await runtime.stop(KEY)
        assert runtime.status(KEY).containers[0].started == first.started, "told to start twice, it started twice"

    node.run(scene)


def test_own_view_of_the_host(node: Node) -> None:
    script = f"""
        hostname; cat /etc/hostname /etc/resolv.conf; grep web /etc/hosts
        ls -A {node.paths.run_dir} /sys/fs/cgroup /sys/fs/bpf 2>&1
        echo interfaces $(ls /sys/class/net)
        test $(ls -d /proc/[0-9]* | wc -l) -lt 9 && echo few processes
        touch /proc/sys/kernel/hostname /sys/x {node.paths.run_dir}/x 2>&1 | grep -c Read-only
        ls -l /dev | grep -c '^b'; grep -c -e nsfs -e ' cgroup' -e ' bpf ' /proc/self/mounts
    """

    async def scene(runtime: PodRuntime) -> None:
        lines = await output(runtime, shell(script, restartPolicy="Never"))
        interfaces = next(line for line in lines if line.startswith("interfaces"))
        lines.remove(interfaces)
        assert set(interfaces.split()[1:]) >= {"eth0", "lo"}
        assert not [name for name in interfaces.split() if name.startswith("wf")]
        assert lines == [
            "web", "web", f"nameserver {DNS.servers[0]}",
            "search shop.svc.cluster.local svc.cluster.local cluster.local example.org", "options ndots:5",
            "10.99.0.2\tweb", "fd99::2\tweb",
            f"{node.paths.run_dir}:", "", "/sys/fs/bpf:", "", "/sys/fs/cgroup:",
            "few processes", "3", "0", "0",
        ]  # fmt: skip

    node.run(scene)


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ({}, "00000000a00425fb"),
        ({"capabilities": {"add": ["NET_ADMIN"]}}, "00000000a00435fb"),
        ({"capabilities": {"drop": ["ALL"], "add": ["NET_RAW"]}}, "0000000000002000"),
        ({"capabilities": {"drop": ["NET_RAW"]}}, "00000000a00405fb"),
    ],
)
def test_capabilities(node: Node, context: dict[str, object], expected: str) -> None:
    what = shell(
        "grep -E 'Cap(Prm|Eff|Bnd)' /proc/self/status", restartPolicy="Never", container={"securityContext": context}
    )

    async def scene(runtime: PodRuntime) -> None:
        lines = await output(runtime, what)
        assert [line.split()[1] for line in lines] == [expected] * 3

    node.run(scene)


def test_other_user(node: Node) -> None:
    context = {"runAsUser": 65534, "runAsGroup": 100, "allowPrivilegeEscalation": False}
    what = shell(
        "id -u; id -g; grep -E 'CapEff|NoNewPrivs|Groups' /proc/self/status; kill -9 1 2>&1 | grep -c permitted",
        restartPolicy="Never",
        container={"securityContext": context},
    )

    async def scene(runtime: PodRuntime) -> None:
        lines = await output(runtime, what)
        assert [line.split() for line in lines] == [
            ["65534"], ["100"], ["Groups:"], ["CapEff:", "0" * 16], ["NoNewPrivs:", "1"], ["1"]
        ]  # fmt: skip

    node.run(scene)


def test_environment(node: Node) -> None:
    env = [
        {"name": "GREETING", "value": "hello $(HOSTNAME) $$(HOSTNAME) $(NOBODY)"},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
    ]
    what = pod(["printenv"], restartPolicy="Never", container={"args": ["GREETING", "IP", "APP", "HOME"], "env": env})

    async def scene(runtime: PodRuntime) -> None:
        lines = await output(runtime, what)
        assert lines == ["hello web $(HOSTNAME) $(NOBODY)", "10.99.0.2", "web", "/root"]

    node.run(scene)


def test_volumes(node: Node, tmp_path: Path) -> None:
    (tmp_path / "word").write_text("found\n")
    inside = node.paths.run_dir / "some" / "where"
    what = shell(
        f"cat {inside}/word; touch {inside}/new 2>&1 | grep -c Read-only; echo more > /srv/written",
        restartPolicy="Never",
        volumes=[{"name": "data", "hostPath": {"path": str(tmp_path), "type": "Directory"}}],
        container={
            "volumeMounts": [
                {"name": "data", "mountPath": str(inside), "readOnly": True},
                {"name": "data", "mountPath": "/srv"},
            ]
        },
    )

    async def scene(runtime: PodRuntime) -> None:
        assert await output(runtime, what) == ["found", "1"]
        assert (tmp_path / "written").read_text() == "more\n"
        assert not inside.exists()

    node.run(scene)


def test_command_not_found(node: Node) -> None:
    async def scene(runtime: PodRuntime) -> None:
        await up(runtime, pod(["no-such-program"], restartPolicy="Never"))
        ended = await reaches(runtime, "Terminated", "StartError")
        assert (ended.exit_code, ended.message) == (128, "no-such-program: No such file or directory")
        assert runtime.status(KEY).phase == "Failed"

    node.run(scene)


def test_refused_before_anything_is_left(node: Node) -> None:
    async def scene(runtime: PodRuntime) -> None:
        for container, word in (
            ({"securityContext": {"capabilities": {"add": ["NET_ADMIM"]}}}, "did you mean NET_ADMIN"),
            ({"command": ["echo", "a\0b"]}, "NUL"),
        ):
            with pytest.raises(PodError, match=word):
                await runtime.prepare(KEY, pod(["true"], container=container), "uid-1")
            assert not list((node.paths.run_dir / "pods").iterdir())

    node.run(scene)


def test_restart_policies(node: Node) -> None:
    async def scene(runtime: PodRuntime) -> None:
        cases = {
            ("Never", 0): ("Succeeded", 0), ("Never", 3): ("Failed", 0), ("OnFailure", 0): ("Succeeded", 0)
        }  # fmt: skip
        for number, ((policy, code), (phase, restarts)) in enumerate(cases.items()):
            key = NamespacedName("shop", f"case-{number}")
            await up(runtime, shell(f"exit {code}", restartPolicy=policy), key)
            await until(lambda key=key, phase=phase: runtime.status(key).phase == phase, f"{policy} {code}: {phase}")
            assert runtime.status(key).containers[0].restarts == restarts
            assert runtime.status(key).containers[0].exit_code == code

    node.run(scene)


def test_backoff_doubles_up_to_its_bound(node: Node) -> None:
    """The first restart at once, then 0.2, 0.4, 0.8, 0.8 s (the limits of these tests)."""

    async def scene(runtime: PodRuntime) -> None:
        await up(runtime, shell("date +%s%N; exit 1", restartPolicy="OnFailure"))
        waiting = await reaches(runtime, "Waiting", "CrashLoopBackOff")
        assert waiting.exit_code == 1
        moments: list[int] = []
        async for line in runtime.logs(KEY, follow=True):
            moments.append(int(line))
            if len(moments) == 6:
                break
        gaps = [(after - before) / 1e9 for before, after in pairwise(moments)]
        for gap, least in zip(gaps, (0, 0.2, 0.4, 0.8, 0.8), strict=True):
            assert least <= gap < least + 0.19 * SLOWNESS, gaps
        assert runtime.status(KEY).phase == "Running"

    node.run(scene)


def test_restart_on_request_is_immediate(node: Node) -> None:
    async def scene(runtime: PodRuntime) -> None:
        await up(runtime, pod(["sleep", "infinity"]))
        first = await reaches(runtime, "Running")
        await runtime.restart(KEY, "main")
        await until(lambda: runtime.status(KEY).containers[0].restarts == 1, "a restart")
        second = await reaches(runtime, "Running")
        assert second.pid != first.pid

    node.run(scene)


def test_deaf_to_sigterm_is_killed_after_the_grace_period(node: Node) -> None:
    async def scene(runtime: PodRuntime) -> None:
        await up(runtime, shell("trap '' TERM; echo ready; while :; do sleep 1000; done"))
        async for _ in runtime.logs(KEY, follow=True):
            break
        began = asyncio.get_running_loop().time()
        await runtime.stop(KEY, grace=0.3)
        assert 0.3 <= asyncio.get_running_loop().time() - began < 3
        assert runtime.status(KEY).containers[0].exit_code == 128 + signal.SIGKILL

    node.run(scene)


def test_orphans_are_reaped_and_end_with_the_pod(node: Node) -> None:
    async def scene(runtime: PodRuntime) -> None:
        await up(runtime, shell("(sleep 0.01 &) ; (setsid sleep 9753 &) ; exec sleep infinity"))
        await reaches(runtime, "Running")
        listing = await until(
            lambda: (text := run(runtime, "ps", "-eo", "stat,args")[1]).count("sleep") == 2 and text,
            "one sleep is over",
        )
        assert "Z" not in "".join(line.split()[0] for line in listing.splitlines()[1:]), listing
        procs = node.paths.cgroup / "shop_web" / "cgroup.procs"
        assert len(procs.read_text().split()) == 4
        await runtime.stop(KEY)
        assert procs.read_text() == ""

    node.run(scene)


def test_exec(node: Node) -> None:
    async def scene(runtime: PodRuntime) -> None:
        what = pod(["sleep", "infinity"], container={"env": [{"name": "A", "value": "1"}], "workingDir": "/usr"})
        await up(runtime, what)
        await reaches(runtime, "Running")
        assert run(runtime, "sh", "-c", "hostname; pwd; echo $A; exit 7") == (7, "web\n/usr\n1\n")
        assert run(runtime, "grep", "CapEff", "/proc/self/status")[1].split()[1] == "00000000a00425fb"
        assert run(runtime, "cat", flags=("-i",), stdin="given") == (0, "given")
        assert run(runtime, "cat", stdin="not given") == (0, "")
        assert run(runtime, "no-such-program")[0] == 127
        assert run(runtime, "sh", "-c", "kill -9 $$")[0] == 137
        assert run(runtime, "tty") == (1, "not a tty\n")
        assert run(runtime, "sh", "-c", "tty; exit 3", flags=("-t",)) == (3, "/dev/pts/0\n")
        assert run(runtime, "cat", flags=("-i", "-t"), stdin="word\n") == (0, "word\nword\n")
        assert "/pods/shop_web" in run(runtime, "cat", "/proc/self/cgroup")[1]
        await runtime.stop(KEY, grace=0)
        assert run(runtime, "true") == (126, "the container is not running\n")

    node.run(scene)


def test_exec_forwards_signals_and_ends_with_its_caller(node: Node) -> None:
    async def scene(runtime: PodRuntime) -> None:
        await up(runtime, pod(["sleep", "infinity"]))
        await reaches(runtime, "Running")
        procs = node.paths.cgroup / "shop_web" / "cgroup.procs"
        at_rest = len(procs.read_text().split())
        for number, code in ((signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)):
            caller = subprocess.Popen([*runtime.exec_argv(KEY), "--", "sleep", "8642"])
            await until(lambda: b"8642" in run_bytes(runtime), "it sleeps")
            caller.send_signal(number)
            assert caller.wait(10) == code
            await until(lambda: len(procs.read_text().split()) == at_rest, "nothing is left of it")

    node.run(scene)


def run_bytes(runtime: PodRuntime) -> bytes:
    return subprocess.run([*runtime.exec_argv(KEY), "--", "ps", "-eo", "args"], capture_output=True, check=True).stdout


def test_logs(node: Node) -> None:
    script = "for i in $(seq 5000); do echo line $i; done; echo oops >&2; printf end; sleep infinity"

    async def scene(runtime: PodRuntime) -> None:
        await up(runtime, shell(script))
        got: list[bytes] = []
        async for line in runtime.logs(KEY, follow=True):
            got.append(line)
            if line == b"oops":
                break
        newest = [line async for line in runtime.logs(KEY, tail=2)]
        assert newest[0] == b"oops" and newest[1].startswith(b"end")
        _cut, *whole = [line async for line in runtime.logs(KEY)]
        first = int(whole[0].split()[1])
        assert whole[: 5001 - first] == [b"line %d" % number for number in range(first, 5001)]
        folder = node.paths.run_dir / "pods" / "shop_web" / "containers" / "main"
        for name in ("log", "log.1"):
            assert 0 < (folder / name).stat().st_size <= 20_000
        assert first > 1

    node.run(scene)


def test_several_containers_share_the_network(node: Node) -> None:
    spec = {
        "containers": [
            {"name": "server", "command": ["python3", "-m", "http.server", "8080", "--bind", "127.0.0.1"]},
            {"name": "client", "command": ["sleep", "infinity"]},
        ]
    }
    fetch = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/').status)"

    async def scene(runtime: PodRuntime) -> None:
        await up(runtime, manifest(spec))
        argv = [*runtime.exec_argv(KEY, "client"), "--", "python3", "-c", fetch]
        await until(lambda: subprocess.run(argv, capture_output=True, check=False).stdout == b"200\n", "an answer")
        assert [one.name for one in runtime.status(KEY).containers] == ["server", "client"]
        with pytest.raises(PodError, match="it has server, client"):
            runtime.exec_argv(KEY, "nobody")

    node.run(scene)


def test_small(node: Node) -> None:
    async def scene(runtime: PodRuntime) -> None:
        await up(runtime, pod(["sleep", "infinity"]))
        await reaches(runtime, "Running")
        private = 0
        for pid in (node.paths.cgroup / "shop_web" / "cgroup.procs").read_text().split():
            if Path(f"/proc/{pid}/exe").readlink().name == "weft-shim":
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
                private += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_"))
        assert 0 < private < 300, f"{private} kB for supervisor and reaper"

    node.run(scene)


def test_supervisor_killed(node: Node) -> None:
    """It takes its processes with it: nothing runs that nobody watches."""

    async def scene(runtime: PodRuntime) -> None:
        await up(runtime, pod(["sleep", "infinity"], restartPolicy="Never"))
        running = await reaches(runtime, "Running")
        status = Path(f"/proc/{running.pid}/stat").read_text()
        os.kill(int(status.rpartition(")")[2].split()[1]), signal.SIGKILL)
        lost = await reaches(runtime, "Terminated", "ContainerStatusUnknown")
        assert lost.exit_code == 137
        await until(lambda: not Path(f"/proc/{running.pid}").exists(), "the container is gone")
        assert runtime.status(KEY).phase == "Failed"

    node.run(scene)
