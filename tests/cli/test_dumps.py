"""bpf and doctor: what the kernel holds, and what it can do."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cli.shop import POLICY, SERVICE
from tests.lab import Lab, Pod, until
from tests.lab.probes import Held
from tests.lab.tools import ROOT
from weft.cli import run
from weft.datapath import features
from weft.datapath.errors import FeatureError
from weft.datapath.features import Probe

RULE = "CiliumNetworkPolicy/default/server:spec.ingress[0]"


class Scene:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.server = lab.serve("server", "tcp:8080", labels={"app": "server"})
        self.friend, self.stranger = (lab.run(name, labels={"app": name}) for name in ("friend", "stranger"))
        lab.apply(POLICY + "---\n" + SERVICE)
        self.held: Held = self.friend.hold(self.server.v4, 8080)
        assert self.stranger.probe("tcp", self.server.v4, 8080).outcome == "timeout"

    def rows(self, name: str) -> list[dict[str, Any]]:
        """As JSON, which says what the table says."""
        found: list[dict[str, Any]] = json.loads(self.lab.weft("bpf", name, "-o", "json"))
        head, *lines = self.lab.weft("bpf", name).splitlines()
        assert found and head.split() == list(found[0])
        assert name in ("flows", "metrics") or len(lines) == len(found)  # those move meanwhile
        return found

    def endpoint(self, pod: Pod) -> dict[str, Any]:
        (found,) = [row for row in self.rows("endpoints") if row["ADDRESS"] == pod.v4]
        return found


@pytest.fixture(scope="module")
def scene(session_lab: Lab) -> Iterator[Scene]:
    made = Scene(session_lab)
    yield made
    made.held.stop()
    session_lab.empty()


def test_endpoints(scene: Scene) -> None:
    server, friend = scene.endpoint(scene.server), scene.endpoint(scene.friend)
    assert server["INGRESS"] != "open" and server["EGRESS"] == "open" == friend["INGRESS"]
    assert len({row["IDENTITY"] for row in (server, friend)}) == 2 and server["ENDPOINT"] != friend["ENDPOINT"]
    identities = scene.lab.weft("get", "identities")
    assert str(server["IDENTITY"]) in identities and len(server["MAC"].split(":")) == 6


def test_policy(scene: Scene) -> None:
    """The server's own table: the friend's class may reach the port, everybody may ping, and all else is refused."""
    table, class_ = scene.endpoint(scene.server)["INGRESS"], scene.endpoint(scene.friend)["CLASS"]
    rows = [tuple(row.values())[1:] for row in scene.rows("policy") if row["TABLE"] == table]
    assert (class_, "TCP", "8080", "allow", RULE) in rows
    assert (class_, "ICMP", "type 8", "allow", RULE.replace("[0]", "[1]")) in rows
    assert not [row for row in rows if row[1] == "TCP" and row[0] != class_]


def test_ipcache(scene: Scene) -> None:
    flags = {row["PREFIX"]: row["FLAGS"] for row in scene.rows("ipcache")}
    assert flags["198.51.100.2/32"] == "host" and flags["10.96.0.0/16"] == "service"
    assert flags["10.244.0.0/24"] == "unassigned" and flags["0.0.0.0/0"] == flags["::/0"] == ""


def test_services(scene: Scene) -> None:
    address = scene.lab.get("services", "web", "default")["spec"]["clusterIP"]
    (row,) = [row for row in scene.rows("services") if row["FRONTEND"] == f"{address} 80/TCP"]
    assert row == {"FRONTEND": f"{address} 80/TCP", "AFFINITY": "", "BACKENDS": f"{scene.server.v4} 8080"}


def test_flows(scene: Scene) -> None:
    """The initiator first, whichever address is the smaller one."""
    rows = [row for row in scene.rows("flows") if row["TO"] == f"{scene.server.v4} 8080" and row["STATE"] == "open"]
    assert [row["FROM"].split()[0] for row in rows] == [scene.friend.v4]
    assert rows[0]["INGRESS"] == RULE and rows[0]["EGRESS"] == "" and rows[0]["PROTO"] == "TCP"
    assert 0 < rows[0]["REVISION"] <= scene.lab.status()["policy"]["revision"]
    assert not [row for row in scene.rows("flows") if row["FROM"].startswith(f"{scene.stranger.v4} ")]


def test_metrics(scene: Scene) -> None:
    def denied() -> int:
        rows = [row for row in scene.rows("metrics") if row["REASON"] == "POLICY_DENIED"]
        assert all(row["MEANING"] == "Policy denied" and row["BYTES"] >= 40 * row["PACKETS"] for row in rows)
        return sum(row["PACKETS"] for row in rows)

    before = denied()
    assert scene.stranger.probe("tcp", scene.server.v4, 8080).outcome == "timeout"
    until(lambda: denied() > before, "the drop is counted")


def test_doctor_needs_no_agent() -> None:
    words = [str(ROOT / "bin" / "weft"), "doctor"]
    environment = {**os.environ, "WEFT_NODE": "nobody"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0 and "tcx" in done.stdout and "MISSING" not in done.stdout
    listed = json.loads(subprocess.run([*words, "-o", "json"], capture_output=True, check=True, env=environment).stdout)
    assert len(listed) == len(features.PROBES) and all(one["ok"] for one in listed if one["needed"])


@pytest.mark.parametrize(("needed", "code", "mark"), [(True, 1, "MISSING"), (False, 0, "absent")])
def test_doctor_names_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], needed: bool, code: int, mark: str
) -> None:
    """Only what weft cannot do without makes the exit code 1; a remedy is told for either."""

    def attempt() -> str:
        raise FeatureError("flying", "EPERM (Operation not permitted)", "grow wings")

    probes = (features.PROBES[0], Probe("flying", needed, attempt, "grow wings"))
    monkeypatch.setattr(features, "PROBES", probes)
    assert run(["doctor"]) == code
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("ok ") and second.split()[:2] == [mark, "flying"] and "EPERM" in second
    assert third.strip() == "grow wings"
