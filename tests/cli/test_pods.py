"""run, exec, logs."""

from __future__ import annotations

import os
import pty
import signal
import subprocess

from tests.lab import Lab, until
from tests.lab.tools import ROOT
from tests.lab.waiting import SLOWNESS


def status_of(lab: Lab, name: str) -> str:
    return lab.weft("get", "pod", name).splitlines()[1].split()[2]


def result(lab: Lab, *words: str, stdin: str = "") -> tuple[int, str, str]:
    done = subprocess.run(
        [str(ROOT / "bin" / "weft"), *words],
        capture_output=True, text=True, input=stdin, check=False, timeout=60 * SLOWNESS,
        env={**os.environ, "WEFT_NODE": lab.name},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_run_and_its_refusals(lab: Lab) -> None:
    words = ("run", "--name", "a.b", "-l", "app=x,tier=y", "-e", "GREETING=a=b,c", "--port", "http=8080", "--")
    assert lab.weft(*words, "sleep", "1000") == "pod/a.b created\n"
    pod = lab.get("pods", "a.b", "default")
    assert pod["metadata"]["labels"] == {"app": "x", "tier": "y"}
    assert pod["spec"]["containers"][0]["ports"][0]["containerPort"] == 8080
    assert result(lab, "exec", "a.b", "--", "sh", "-c", 'echo "$GREETING"') == (0, "a=b,c\n", "")
    assert result(lab, *words, "true") == (1, "", 'error: pods "a.b" already exists\n')
    code, out, error = result(lab, "run", "--name", "wrong", "--", "no-such-command")
    assert (code, out) == (1, "pod/wrong created\n")
    assert error == "error: pod/wrong: cannot start: StartError: no-such-command: No such file or directory\n"
    for wrong, said in (
        (["--name", "Bad_Name"], "metadata.name: invalid name 'Bad_Name'"),
        (["--name", "x", "-l", "a b=c"], "invalid label key 'a b'"),
        (["--name", "x", "--cap-add", "NOPE"], "unknown capability 'NOPE'"),
        (["--name", "x", "--port", "8080/FOO"], "FOO"),
    ):
        code, out, error = result(lab, "run", *wrong, "--", "true")
        assert (code, out) == (1, "") and said in error and "Traceback" not in error


def test_exec_is_the_command(lab: Lab) -> None:
    lab.run("pod")
    assert result(lab, "exec", "pod", "--", "sh", "-c", "echo out; echo err >&2; exit 7") == (7, "out\n", "err\n")
    assert result(lab, "exec", "-i", "pod", "--", "cat", stdin="hi\n") == (0, "hi\n", "")
    assert result(lab, "exec", "pod", "--", "cat", stdin="hi\n") == (0, "", ""), "no -i, no standard input"
    assert result(lab, "exec", "pod", "--", "no-such-command")[0] == 127
    assert result(lab, "exec", "pod", "--", "/etc/hostname")[0] == 126
    assert result(lab, "exec", "pod", "--", "sh", "-c", "kill -TERM $$")[0] == 128 + signal.SIGTERM
    code, out, error = result(lab, "exec", "nobody", "--", "true")
    assert (code, out) == (1, "") and "default/nobody" in error
    assert result(lab, "exec", "default/pod", "--", "cat", "--", "/proc/self/comm")[1] == "cat\n"


def test_exec_with_a_terminal(lab: Lab) -> None:
    lab.run("pod")
    master, slave = pty.openpty()
    try:
        words = [str(ROOT / "bin" / "weft"), "--node-name", lab.name, "exec", "-it", "pod", "--", "tty"]
        done = subprocess.run(words, stdin=slave, capture_output=True, text=True, check=False, timeout=30 * SLOWNESS)
    finally:
        os.close(master)
        os.close(slave)
    assert done.returncode == 0 and done.stdout.startswith("/dev/pts/"), done


def test_logs(lab: Lab) -> None:
    lab.run("talker", ["sh", "-c", "for i in 1 2 3; do echo line $i; done; read x < /proc/self/fd/0; exec sleep 1000"])
    until(lambda: "line 3" in lab.weft("logs", "talker"), "all lines")
    assert lab.weft("logs", "talker") == "line 1\nline 2\nline 3\n"
    assert lab.weft("logs", "pod/talker", "--tail", "1") == "line 3\n"
    assert lab.weft("logs", "talker", "--tail=0") == ""
    assert "default/nobody" in lab.weft("logs", "nobody", ok=False)
    lab.run("counter", ["sh", "-c", "i=0; while true; do i=$((i+1)); echo $i; sleep 0.05; done"])
    # A shell starts what runs in its background deaf to SIGINT, and that is inherited.
    words = [
        "env",
        "--default-signal=INT",
        str(ROOT / "bin" / "weft"),
        "--node-name",
        lab.name,
        "logs",
        "-f",
        "counter",
    ]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        assert [follower.stdout.readline() for _ in range(10)] == [f"{i}\n" for i in range(1, 11)]
        follower.send_signal(signal.SIGINT)
        assert follower.wait(10) == 130


def test_pods_that_end(lab: Lab) -> None:
    lab.weft("run", "--name", "fails", "--restart", "Never", "--", "sh", "-c", "echo said; exit 3")
    lab.weft("run", "--name", "works", "--restart", "OnFailure", "--", "true")
    lab.weft("run", "--name", "crashes", "--", "false")
    until(lambda: status_of(lab, "fails") == "Error", "Error")
    until(lambda: status_of(lab, "works") == "Completed", "Completed")
    until(lambda: status_of(lab, "crashes") == "CrashLoopBackOff", "CrashLoopBackOff")
    assert lab.weft("logs", "fails") == "said\n"
    for name, code in (("fails", 3), ("works", 0), ("crashes", 1)):
        (state,) = [one["state"] for one in lab.get("pods", name, "default")["status"]["containerStatuses"]]
        last = state.get("terminated") or lab.get("pods", name, "default")["status"]["containerStatuses"][0]["state"]
        assert last.get("exitCode", 1) == code, (name, last)
    for name in ("works", "crashes"):
        code, out, error = result(lab, "exec", name, "--", "true")
        assert code and not out and "not running" in error
