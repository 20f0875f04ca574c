"""lint: everything that MISSION.md's list and the field's common mistakes give to warn of, through the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.shop import SERVICE
from tests.lab import Lab


def cnp(spec: str, name: str = "mine") -> str:
    """A policy whose spec begins in line 5; ``spec`` is YAML in flow style, one field a line."""
    return f"apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: {name}}}\nspec:\n" + "".join(
        f"  {line}\n" for line in spec.strip().splitlines()
    )


def netpol(spec: str) -> str:
    return cnp(spec).replace("cilium.io/v2", "networking.k8s.io/v1").replace("CiliumNetworkPolicy", "NetworkPolicy")


SERVER, CLIENT = "endpointSelector: {matchLabels: {app: server}}\n", "endpointSelector: {matchLabels: {app: client}}\n"
DNS = (
    "- {toEndpoints: [{matchLabels: {k8s:io.kubernetes.pod.namespace: kube-system, k8s-app: kube-dns}}],"
    ' toPorts: [{ports: [{port: "53", protocol: ANY}]}]}\n'
)
CLEAN = cnp(SERVER + "ingress:\n- fromEndpoints: [{matchLabels: {app: client}}]\n") + "---\n"
CLEAN += cnp(CLIENT + "egress:\n" + DNS + "- toEndpoints: [{matchLabels: {app: server}}]\n", "other")

WARNINGS = {
    # MISSION.md, "Where the documents are wrong": database-lockdown says block, and allows.
    "world-allowed": (
        cnp(SERVER + "egress:\n- toEntities: [world]\n"),
        7,
        "spec.egress[0].toEntities[0]: this allows every address outside the cluster, and everything inside the "
        "cluster is blocked; to block the outside, write it under egressDeny",
    ),
    # MISSION.md: egress policies without a DNS rule block DNS.
    "egress-without-dns": (
        cnp(CLIENT + "egress:\n- toEndpoints: [{matchLabels: {app: server}}]\n"),
        6,
        "spec.egress: egress is isolated and no rule allows DNS, so the selected pods can resolve no name; allow UDP "
        "and TCP port 53 to pods with k8s-app=kube-dns in namespace kube-system",
    ),
    "matches-nothing": (
        cnp(SERVER + "ingress:\n- fromEndpoints: [{matchLabels: {app: clint}}]\n"),
        7,
        "this peer is no pod that exists: none has app=clint; did you mean app=client?",
    ),
    "label-outside-identity": (
        cnp("endpointSelector: {matchLabels: {pod-template-hash: abc}}\ningress: [{}]\n"),
        5,
        "no pod has it; select by a label of your own",
    ),
    "shadowed-by-deny": (
        cnp(
            SERVER
            + "ingress:\n- fromEndpoints: [{matchLabels: {app: client}}]\n"
            + "ingressDeny:\n- fromEndpoints: [{matchLabels: {app: client}}]\n"
        ),
        7,
        "spec.ingress[0]: this never allows anything: ",
    ),
    "no-peer": (cnp(SERVER + "ingress:\n- fromEndpoints: []\n"), 7, "this rule names no peer, so it allows nothing"),
    "no-such-service": (
        cnp(CLIENT + "egress:\n" + DNS + "- toServices: [{k8sService: {serviceName: webb, namespace: default}}]\n"),
        8,
        "the rule allows nothing there; did you mean default/web?",
    ),
    "no-such-port": (
        cnp(SERVER + "ingress:\n- toPorts: [{ports: [{port: htp, protocol: TCP}]}]\n"),
        7,
        "no pod that this can be about has a port named htp; did you mean http?",
    ),
    "service-port": (
        cnp(
            CLIENT
            + "egress:\n"
            + DNS
            + '- {toEndpoints: [{matchLabels: {app: server}}], toPorts: [{ports: [{port: "80", protocol: TCP}]}]}\n'
        ),
        8,
        "80 is the port of service default/web; its pods listen on 8080; write 8080: policy applies to the pod's port",
    ),
    "cidr-inside-cluster": (
        cnp(CLIENT + "egress:\n" + DNS + "- toCIDR: [10.244.0.0/24]\n"),
        8,
        "10.244.0.0/24 is the range of pods, and a CIDR of a CiliumNetworkPolicy never means those",
    ),
    "rules-without-effect": (
        netpol("podSelector: {matchLabels: {app: server}}\npolicyTypes: [Ingress]\negress: [{}]\n"),
        7,
        "spec.egress: these rules have no effect: policyTypes leaves out Egress; add Egress to policyTypes",
    ),
}


@pytest.fixture(scope="module")
def scene(session_lab: Lab) -> Iterator[Lab]:
    session_lab.apply(SERVICE)
    for name in ("server", "client"):
        session_lab.run(name, labels={"app": name}, ports=[("http", 8080, "TCP")])
    yield session_lab
    session_lab.empty()


@pytest.mark.parametrize("code", WARNINGS)
def test_every_warning(scene: Lab, code: str) -> None:
    """Exit 1; each warning is one line: file, line, field, what is odd, what to write, and its code."""
    text, line, said = WARNINGS[code]
    lines = scene.weft("lint", "-f", "-", ok=False, stdin=text).splitlines()
    (found,) = [one for one in lines if one.endswith(f"[{code}]")]
    assert found.startswith(f"<stdin>:{line}: ") and said in found, found
    warnings = json.loads(scene.weft("lint", "-f", "-", "-o", "json", ok=False, stdin=text))
    assert [one["text"] for one in warnings] == lines
    (one,) = [one for one in warnings if one["code"] == code]
    assert (one["file"], one["line"]) == ("<stdin>", line) and one["message"] and one["remedy"] and one["field"]


def test_what_is_well_is_said_nothing_of(scene: Lab, tmp_path: Path) -> None:
    """... by exit 0; all files are taken together, and nothing is applied."""
    one, two = CLEAN.split("---\n")
    (tmp_path / "one.yaml").write_text(one)
    (tmp_path / "two.yaml").write_text(two)
    assert scene.weft("lint", "-f", str(tmp_path)) == ""
    assert scene.weft("lint", "-f", "-", "-o", "json", stdin=CLEAN) == "[]\n"
    assert scene.weft("get", "cnp", "-o", "name") == ""


def test_dns_may_be_allowed_by_another_file(scene: Lab, tmp_path: Path) -> None:
    """What counts is what all policies together let through."""
    (tmp_path / "egress.yaml").write_text(WARNINGS["egress-without-dns"][0])
    assert "[egress-without-dns]" in scene.weft("lint", "-f", str(tmp_path), ok=False)
    (tmp_path / "dns.yaml").write_text(cnp(CLIENT + "egress:\n" + DNS, "dns"))
    assert scene.weft("lint", "-f", str(tmp_path)) == ""


def test_what_cannot_be_meant_is_refused(scene: Lab) -> None:
    """MISSION.md: no name, and authentication inside toPorts, are errors; so is a file that is no manifest."""
    nameless = scene.weft("lint", "-f", "-", ok=False, stdin=CLEAN.replace("{name: mine}", "{}"))
    assert nameless == 'error: <stdin>:3: metadata: field "name" is missing\n'
    inside = cnp(SERVER + 'ingress:\n- toPorts: [{ports: [{port: "80"}], authentication: {mode: required}}]\n')
    refused = scene.weft("lint", "-f", "-", ok=False, stdin=inside)
    assert refused.startswith("error: <stdin>:7: spec.ingress[0].toPorts[0].authentication: "), refused
    assert scene.weft("lint", "-f", "-", ok=False, stdin="a: [").startswith("error: <stdin>:1")


def test_what_has_no_effect(scene: Lab) -> None:
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [{name: x, image: nginx, args: [x]}]}\n"
    said = scene.weft("lint", "-f", "-", ok=False, stdin=pod)
    assert "<stdin>:4: spec.containers[0].image: has no effect" in said
