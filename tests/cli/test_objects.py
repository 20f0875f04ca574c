"""apply, get, delete, wait: kubectl's habits, all or nothing, errors that say where and what instead."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from tests.cli.shop import DEPLOYMENT, POLICY, SERVICE
from tests.lab import Lab, until
from tests.lab.waiting import SLOWNESS


def test_apply_says_what_it_did(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "deep" / "service.yaml").write_text(SERVICE)
    policy, service = "ciliumnetworkpolicy.cilium.io/server", "service/web"
    dry = lab.weft("apply", "-R", "-f", str(tmp_path), "--dry-run").splitlines()
    assert sorted(dry) == [f"{policy} created (server dry run)", f"{service} created (server dry run)"]
    assert lab.weft("get", "cnp") == "No resources found in default namespace.\n"
    assert lab.weft("apply", "-f", str(tmp_path)) == f"{policy} created\n"
    assert f"{service} created\n" in lab.weft("apply", "-R", "-f", str(tmp_path))
    edited = POLICY.replace("8080", "8081") + "---\n" + SERVICE
    assert lab.weft("apply", "-f", "-", stdin=edited).splitlines() == [f"{policy} configured", f"{service} unchanged"]
    assert lab.weft("delete", "-f", "-", stdin=edited).splitlines() == [
        'ciliumnetworkpolicy.cilium.io "server" deleted',
        'service "web" deleted',
    ]
    assert lab.weft("get", "svc") == "No resources found in default namespace.\n"


def test_apply_is_all_or_nothing_and_says_where(lab: Lab, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(SERVICE)
    bad.write_text(POLICY.replace("toPorts", "toPort"))
    said = lab.weft("apply", "-f", str(good), "-f", str(bad), ok=False)
    assert f"error: {bad}:8: " in said
    assert "toPort" in said and "did you mean" in said and "toPorts" in said
    assert lab.weft("get", "svc", "-o", "name") == ""
    said = lab.weft("apply", "-f", "-", ok=False, stdin="a: [")
    assert said.startswith("error: <stdin>:1")
    assert "no objects" in lab.weft("apply", "-f", "-", ok=False, stdin="")


def test_what_has_no_effect_is_warned_of(lab: Lab) -> None:
    named = DEPLOYMENT.replace("name: web, command", "name: web, image: nginx, command").replace(
        "replicas: 2", "replicas: 0"
    )
    assert "warning: <stdin>:11: spec.template.spec.containers[0].image: has no effect" in lab.weft(
        "apply", "-f", "-", stdin=named
    )


def test_get_in_every_output(lab: Lab) -> None:
    lab.run("one", labels={"app": "server"})
    lab.apply(SERVICE)
    rows = [line.split() for line in lab.weft("get", "pods").splitlines()]
    assert rows[0] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"] and rows[1][:4] == ["one", "1/1", "Running", "0"]
    everywhere = lab.weft("get", "po", "-A")
    assert everywhere.startswith("NAMESPACE ") and "kube-system" in everywhere
    assert lab.pods["default", "one"].v4 in lab.weft("get", "pod/one", "-o", "wide")
    assert lab.weft("get", "pods", "-o", "name") == "pod/one\n"
    assert json.loads(lab.weft("get", "pod", "one", "-o", "json"))["status"]["podIP"] == lab.pods["default", "one"].v4
    listed = yaml.safe_load(lab.weft("get", "svc", "-o", "yaml"))
    assert (listed["kind"], listed["items"][0]["metadata"]["name"]) == ("List", "web")
    assert "10.96." in lab.weft("get", "svc", "web")
    identities = lab.weft("get", "identities")
    assert "reserved:host" in identities and "k8s:app=server" in identities
    assert 'did you mean "pod' in lab.weft("get", "podz", ok=False)
    assert 'pods "two" not found' in lab.weft("get", "pod", "two", ok=False)
    assert 'pods "two" not found' in lab.weft("delete", "pod", "two", ok=False)
    assert lab.weft("delete", "pod", "two", "--ignore-not-found") == ""
    assert lab.weft("delete", "pod/one", "svc/web").splitlines() == ['pod "one" deleted', 'service "web" deleted']


def test_a_deployment_scales_rolls_and_goes(lab: Lab) -> None:
    def pods() -> set[str]:
        return set(lab.weft("get", "pods", "-o", "name").split())

    assert lab.weft("apply", "-f", "-", stdin=DEPLOYMENT) == "deployment.apps/web created\n"
    lab.weft("wait", "deployment/web")
    first = pods()
    assert len(first) == 2
    lab.weft("apply", "-f", "-", stdin=DEPLOYMENT.replace("replicas: 2", "replicas: 3"))
    lab.weft("wait", "deployment/web", "--timeout", "20s")
    assert first < pods() and len(pods()) == 3
    row = lab.weft("get", "deploy").splitlines()[1].split()
    assert row[:4] == ["web", "3/3", "3", "3"]
    lab.weft("apply", "-f", "-", stdin=DEPLOYMENT.replace("1000", "2000"))
    lab.weft("wait", "deploy/web", "--for=condition=Available")
    assert len(pods()) == 2 and not first & pods()
    assert lab.weft("delete", "deployment", "web") == 'deployment.apps "web" deleted\n'
    lab.weft("wait", "deployment/web", "--for", "delete")
    lab.weft("wait", "--for=delete")
    assert pods() == set()


DEAF = ["sh", "-c", "trap 'echo told' TERM; while true; do sleep 0.05; done"]
"""Ends by SIGKILL only; the grace period that it would have is Kubernetes' 30 seconds."""


@pytest.mark.parametrize(
    ("words", "least", "most"),
    [(("--grace-period", "2"), 2.0, 10), (("--now",), 1.0, 9), (("--grace-period=0",), 1.0, 9), (("--force",), 0.0, 8)],
)
def test_the_grace_period_of_a_deletion(lab: Lab, words: tuple[str, ...], least: float, most: float) -> None:
    """kubectl's: 0 counts as 1 without --force."""
    lab.run("deaf", DEAF)
    began = time.monotonic()
    assert lab.weft("delete", "pod", "deaf", *words) == 'pod "deaf" deleted\n'
    assert least <= time.monotonic() - began < most * SLOWNESS
    assert lab.weft("get", "pods", "-o", "name") == ""


def test_a_pod_that_ends_already_is_hurried(lab: Lab) -> None:
    lab.run("deaf", DEAF)
    with ThreadPoolExecutor() as beside:
        waiting = beside.submit(lab.weft, "delete", "pod", "deaf")
        until(lambda: "told" in lab.weft("logs", "deaf"), "SIGTERM has come")
        assert "Terminating" in lab.weft("get", "pod", "deaf")
        began = time.monotonic()
        lab.weft("delete", "pod/deaf", "--grace-period=0", "--force")
        waiting.result(10)
    assert time.monotonic() - began < 10 * SLOWNESS
    began = time.monotonic()
    lab.run("deaf", DEAF)  # whose grace period is its own again
    lab.client.post("/v1/delete", {"kind": "pods", "names": ["deaf"], "namespace": "default", "sources": [],
        "gracePeriodSeconds": 1})  # fmt: skip
    assert time.monotonic() - began >= 1


def test_waiting_in_vain_says_for_what(lab: Lab) -> None:
    assert "pod/nobody: not found" in lab.weft("wait", "nobody", "--timeout", "100ms", ok=False)
    assert "no pods in namespace default" in lab.weft("wait", "--timeout", "100ms", ok=False)
    assert "known: Ready, Running" in lab.weft("wait", "nobody", "--for", "Redy", ok=False)
    lab.run("still")
    assert "pod/still: still there" in lab.weft("wait", "still", "--for", "delete", "--timeout", "100ms", ok=False)
