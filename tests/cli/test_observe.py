"""observe and monitor: flags that filter, both ends named, reasons told."""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import subprocess
from typing import Any
from unittest import mock

import pytest

from tests.cli.shop import POLICY
from tests.lab import Lab, Pod, Question, until
from tests.lab.tools import ROOT
from weft.cli import run


@pytest.fixture
def scene(lab: Lab) -> dict[str, Pod]:
    """A server, a friend who reached it and a stranger who did not; their flows are there."""
    server = lab.serve("server", "tcp:8080", labels={"app": "server"})
    pods = {"server": server} | {name: lab.run(name, labels={"app": name}) for name in ("friend", "stranger")}
    lab.apply(POLICY, "mine.yaml")
    assert pods["friend"].probe("tcp", server.v4, 8080).outcome == "open"
    assert pods["stranger"].probe("tcp", server.v6, 8080).outcome == "timeout"
    until(lambda: flows(lab, "--verdict", "DROPPED", "--ip", pods["stranger"].v6), "the drop is recorded")
    return pods


def flows(lab: Lab, *flags: str) -> list[dict[str, Any]]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), mock.patch.dict(os.environ):
        assert run(["--node-name", lab.name, "observe", "--all", "-o", "json", *flags]) == 0
    return [json.loads(line)["flow"] for line in said.getvalue().splitlines()]


def test_a_drop_says_who_and_why(lab: Lab, scene: dict[str, Pod]) -> None:
    dropped = flows(lab, "--verdict", "DROPPED", "--from-pod", "stranger")[-1]
    assert (dropped["drop_reason_desc"], dropped["traffic_direction"]) == ("POLICY_DENIED", "INGRESS")
    for end, name in (("source", "stranger"), ("destination", "server")):
        assert dropped[end]["pod_name"] == name and dropped[end]["namespace"] == "default"
        assert f"k8s:app={name}" in dropped[end]["labels"]
        assert dropped[end]["workloads"] == [{"name": name, "kind": "Pod"}]
        assert dropped[end]["identity"] > 255
    why = dropped["extensions"]["value"]["why"]
    assert why == "no ingress rule of the policies that select default/server allows it"
    passed = flows(lab, "--pod", "friend", "--type", "policy-verdict")[-1]
    assert passed["ingress_allowed_by"][0]["name"] == "server"


def test_flags_filter(lab: Lab, scene: dict[str, Pod]) -> None:
    server, friend, stranger = (scene[name] for name in ("server", "friend", "stranger"))
    addresses = {server.v4, server.v6, friend.v4, friend.v6, stranger.v4, stranger.v6}

    def seen(*flags: str) -> set[tuple[str, str]]:
        """(pod, verdict) of the scene's flows, from their initiator's side."""
        found = [flow for flow in flows(lab, *flags) if {flow["IP"]["source"], flow["IP"]["destination"]} <= addresses]
        return {(flow["source"]["pod_name"], flow["verdict"]) for flow in found if not flow.get("is_reply")}

    both = {("friend", "FORWARDED"), ("stranger", "DROPPED")}
    only_friend, only_stranger = {("friend", "FORWARDED")}, {("stranger", "DROPPED")}
    assert seen() == both
    for flags, wanted in (
        (("--verdict", "DROPPED"), only_stranger),
        (("--not", "--verdict", "DROPPED"), only_friend),
        (("--pod", "friend"), only_friend),
        (("--from-pod", "default/stranger"), only_stranger),
        (("--to-pod", "server"), both),
        (("--label", "app=friend"), only_friend),
        (("--ip", stranger.v6), only_stranger),
        (("--ip", "10.244.0.0/24"), only_friend),
        (("--port", "8080"), both),
        (("--port", "8081"), set()),
        (("--protocol", "tcp"), both),
        (("--protocol", "udp"), set()),
        (("--namespace", "default"), both),
        (("--namespace", "kube-system"), set()),
        (("--not", "--pod", "stranger"), only_friend),
        (("--type", "drop"), only_stranger),
    ):
        assert seen(*flags) == wanted, flags
    identity = flows(lab, "--from-pod", "friend", "--type", "policy-verdict")[-1]["source"]["identity"]
    assert seen("--identity", str(identity)) == only_friend
    assert len(flows(lab, "--pod", "server")) > 1
    assert len(lab.weft("observe", "--pod", "server", "--last", "1").splitlines()) == 1
    assert seen("--since", "10m") == both and seen("--until", "10m") == set()


def test_following_shows_what_comes(lab: Lab, scene: dict[str, Pod]) -> None:
    weft = [str(ROOT / "bin" / "weft"), "--node-name", lab.name]
    following = [*weft, "observe", "-f", "--last", "0", "--pod", "stranger", "-o", "compact"]
    monitor = [*weft, "monitor", "--type", "drop"]
    with (
        subprocess.Popen(following, stdout=subprocess.PIPE, text=True) as follower,
        subprocess.Popen(monitor, stdout=subprocess.PIPE, text=True) as monitoring,
    ):
        try:
            prober, question = scene["stranger"].prober(), Question("tcp", scene["server"].v4, 8080)
            assert follower.stdout is not None and monitoring.stdout is not None
            for stream in (follower.stdout, monitoring.stdout):
                line = _line_after(lambda: prober.ask([question], 50), stream)
                who = "default/stranger" if stream is follower.stdout else scene["stranger"].v4
                assert who in line and "policy-verdict:none INGRESS DENIED" in line
        finally:
            follower.terminate()
            monitoring.terminate()


def _line_after(act: Any, stream: Any) -> str:
    """What ``stream`` says once it listens: acts until there is a line."""

    def heard() -> bool:
        act()
        return bool(select.select([stream], [], [], 0.1)[0])

    until(heard, "a line of a follower")
    return str(stream.readline())


def test_a_cut_connection_says_so_at_both_ends(lab: Lab, scene: dict[str, Pod]) -> None:
    held = scene["friend"].hold(scene["server"].v4, 8080)
    lab.apply(POLICY.replace("app: friend", "app: nobody"), "mine.yaml")
    assert held.ended(5).outcome == "reset"

    def cut() -> list[dict[str, Any]]:
        found = flows(lab, "--verdict", "DROPPED", "--pod", "friend")
        return [flow for flow in found if flow["extensions"]["value"]["reason"] == "POLICY_REVOKED"]

    until(lambda: {flow["is_reply"] for flow in cut()} == {True, False}, "records of both directions")
    for flow in cut():
        assert flow["traffic_direction"] == "INGRESS", flow
        why = flow["extensions"]["value"]["why"]
        by = "policy changed by CiliumNetworkPolicy/default/server, revision "
        assert why.startswith(by), why
        assert why.endswith(": no ingress rule of the policies that select default/server allows it")
    shown = lab.weft("observe", "--verdict", "DROPPED", "--pod", "friend")
    assert "Policy changed: open connection cut; by CiliumNetworkPolicy/default/server, revision " in shown
    for flow in cut():
        said = lab.weft("explain", "--flow", "-", stdin=json.dumps({"flow": flow}) + "\n")
        assert "default/friend" in said.split("->")[0] and "ingress of default/server: refused" in said
        assert said.startswith(
            "recorded: DROPPED Policy changed: open connection cut; policy changed by CiliumNetworkP"
        )


def test_of_many_edits_the_one_that_cut_it_is_named(lab: Lab, scene: dict[str, Pod]) -> None:
    """Not one of others' policies, nor one that came before or after; not one that only moved in its file."""
    others = POLICY.replace("app: server", "app: stranger").replace("name: server", "name: others")
    lab.apply(others)
    held = scene["friend"].hold(scene["server"].v4, 8080)
    deny = "{fromEndpoints: [{matchLabels: {app: friend}}]}"
    egress = "  egressDeny:\n  - toEndpoints: [{matchLabels: {app: server}}]\n"
    cuts = POLICY.split("  ingress:")[0].replace("name: server", "name: cuts") + f"  ingressDeny: [{deny}]\n"
    lab.apply(
        "# moved\n" + others.replace("8080", "8081") + "---\n# moved too\n" + POLICY + "---\n" + cuts, "mine.yaml"
    )
    revision = lab.status()["policy"]["revision"]
    assert held.ended(5).outcome == "reset"
    lab.apply(POLICY.split("  ingress:")[0].replace("server", "nobody") + egress)
    lab.delete("cnp", "others")
    lab.apply(POLICY.replace("8080", "8082"), "mine.yaml")

    def cut() -> list[dict[str, Any]]:
        found = flows(lab, "--verdict", "DROPPED", "--ip", scene["friend"].v4)
        own = [flow["extensions"]["value"] for flow in found]
        return [each for each in own if each["reason"] == "POLICY_REVOKED"]

    first = until(cut, "the cut is recorded")[0]  # a straggler of later is decided again, under a later revision
    assert first["changed_by"] == ["CiliumNetworkPolicy/default/cuts"], first
    assert first["changed_in_revision"] == revision
    assert "denied by CiliumNetworkPolicy/default/cuts" in first["why"]


@pytest.mark.parametrize("output", ["compact", "dict", "json", "jsonpb", "table"])
def test_outputs(lab: Lab, scene: dict[str, Pod], output: str) -> None:
    said = lab.weft("observe", "--verdict", "DROPPED", "--pod", "stranger", "--last", "1", "-o", output)
    assert "stranger" in said and "server" in said
