"""The command line itself: what is understood, how a wrong word is answered, and how little it takes to start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from weft.api.client import AgentError, Client, find_socket
from weft.cli import COMMANDS, run
from weft.cli.arguments import UsageError
from weft.cli.common import kinds_and_names, read_sources, split_name


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("stauts", "did you mean status?"),
        ("frobnicate", "known: agent, status"),
        ("get", "KIND"),
        ("get pods -o xml", "choose from 'json', 'yaml', 'wide', 'name'"),
        ("get pods one two", "one kind and one name"),
        ("get pod one -A", "do not go together"),
        ("get pods --name", "unrecognized arguments: --name"),
        ("delete pod", "name what to delete"),
        ("delete pod x -f y", "name what to delete"),
        ("delete pod x --now --grace-period 3", "--now and --grace-period cannot"),
        ("delete pod x --force --grace-period 3", "--force and --grace-period greater than 0 cannot"),
        ("delete pod x --grace-period soon", "invalid int value"),
        ("run --name x", "the command is missing"),
        ("run --name x --", "the command is missing"),
        ("run -- sleep 1", "--name"),
        ("run --name x --port http -- y", "expected [NAME=]NUMBER[/PROTOCOL]"),
        ("run --name x --port 0 -- y", "expected [NAME=]NUMBER[/PROTOCOL]"),
        ("run --name x --port 70000 -- y", "expected [NAME=]NUMBER[/PROTOCOL]"),
        ("run --name x -l app -- y", "expected KEY=VALUE"),
        ("run --name x -e =v -- y", "expected KEY=VALUE"),
        ("run --name x --ready tcp:http -- y", "expected tcp:PORT or http:PORT/PATH"),
        ("run --name x --ready soon -- y", "expected tcp:PORT or http:PORT/PATH"),
        ("run --name x --restart Sometimes -- y", "choose from 'Always', 'OnFailure', 'Never'"),
        ("run --name x --timeout long -- y", "for example 30s"),
        ("exec x", "the command is missing"),
        ("exec x ls", "unrecognized arguments: ls"),
        ("logs x --tail -1", "expected a whole number"),
        ("status now", "unrecognized arguments: now"),
        ("status -- now", "nothing may follow --"),
        ("explain a", "name a connection"),
        ("explain a b:1 --flow x", "name a connection"),
        ("explain --flow=", "nothing there"),
        ("bpf tables", "choose from 'policy'"),
        ("observe --verdict MAYBE", "is no verdict"),
        ("observe --folow", "did you mean --follow?"),
        ("monitor --type drops", "choose from 'drop'"),
        ("apply", "-f/--filename"),
        ("agent --map-size polcy=1000", "expected MAP=ENTRIES with one of the maps endpoints, ipcache, policy"),
        ("agent --map-size policy", "expected 256 to 16777216 entries"),
        ("agent --map-size policy=255", "expected 256 to 16777216 entries"),
        ("agent --map-size flows=1e6", "expected 256 to 16777216 entries"),
        ("apply -f /nonexistent.yaml", "No such file"),
    ],
)
def test_a_wrong_word_is_answered_in_a_line(words: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        run(words.split())
    assert said in str(refused.value)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run([command, "--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert said.startswith(f"usage: weft {command} ") and "--node-name" in said


def test_observe_help_lists_hubbles_flags(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(["observe", "-h"])
    said = capsys.readouterr().out
    for flag in ("--last N", "--follow", "--verdict", "--from-pod", "--not", "--output"):
        assert flag in said


def test_kinds_and_names_as_kubectl_reads_them() -> None:
    assert kinds_and_names(["pod", "a", "b"]) == {"pod": ["a", "b"]}
    assert kinds_and_names(["pod/a", "svc/b", "pod/c"]) == {"pod": ["a", "c"], "svc": ["b"]}
    assert split_name("shop/web", "default") == ("shop", "web")
    assert split_name("web", "shop") == split_name("pod/web", "shop") == ("shop", "web")
    for wrong in (["pod", "svc/a"], ["pod/a", "b"], ["/a"], ["pod/"]):
        with pytest.raises(UsageError):
            kinds_and_names(wrong)


def test_files_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.yaml", "a.yml", "c.json", "d.txt", "deep/e.yaml"):
        (tmp_path / name).write_text(name)
    assert [source["text"] for source in read_sources([str(tmp_path)], False)] == ["a.yml", "b.yaml", "c.json"]
    assert len(read_sources([str(tmp_path)], True)) == 4
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"b\.yaml: not UTF-8"):
        read_sources([str(tmp_path)], False)
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"no \.yaml"):
        read_sources([str(empty)], True)


def test_no_agent_and_several_agents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.api.client.RUN_ROOT", tmp_path)
    with pytest.raises(AgentError, match="no agent runs on this machine"):
        find_socket(None)
    for node in ("one", "two"):
        (tmp_path / node).mkdir()
        (tmp_path / node / "agent.sock").touch()
    with pytest.raises(AgentError, match=r"several nodes run .*one, two.*--node-name or WEFT_NODE"):
        find_socket(None)
    assert find_socket("two") == tmp_path / "two" / "agent.sock"
    with pytest.raises(AgentError, match="does not answer on"):
        Client("two").get("/v1/status")


def test_status_starts_with_little() -> None:
    """What takes long to import is imported by those who need it only (0.2 s is the aim)."""
    script = "import sys; import weft.cli, weft.cli.status; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    )
    heavy = {"asyncio", "msgspec", "starlette", "uvicorn", "yaml", "dnslib", "sqlite3", "ctypes", "rich", "typer"}
    assert not heavy & loaded
    assert not {name for name in loaded if name.startswith(("weft.agent", "weft.datapath", "weft.sources"))}


def test_the_agent_loads_nothing_that_only_others_need() -> None:
    script = "import sys; import weft.cli.agent, weft.agent.main; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not {"typer", "rich", "pydantic", "pyroute2", "hypothesis", "dnslib"} & loaded
