"""What is in weft's way on a machine is found and named, each with its remedy."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from weft.cli import run
from weft.datapath import features, netns
from weft.datapath.features import Feature
from weft.datapath.layouts import TUNNEL_PORT
from weft.datapath.preflight import probes

PORT = 9879


@pytest.fixture(autouse=True)
def machine() -> Iterator[None]:
    """A network namespace in which nothing is yet."""
    with netns.scratch():
        yield


def look(conf_dir: Path) -> dict[str, Feature]:
    return {each.name: each for each in features.probe(probes(conf_dir, (PORT,)))}


def test_nothing_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "05-weft.conflist").touch()
    (tmp_path / "readme").touch()
    found = look(tmp_path)
    assert all(each.ok for each in found.values()), found
    assert "not there yet" in look(tmp_path / "net.d")["no other CNI plugin"].detail


def test_other_plugins(tmp_path: Path) -> None:
    for name in ("00-first.conf", "10-calico.conflist", "87-podman.json"):
        (tmp_path / name).touch()
    found = look(tmp_path)
    first, second = found["no CNI plugin before weft's"], found["no other CNI plugin"]
    assert not first.ok and first.needed and first.detail.endswith("has 00-first.conf")
    assert not second.ok and not second.needed and second.detail.endswith("has 10-calico.conflist, 87-podman.json")


@pytest.mark.parametrize("name", ["cilium_host", "cali0123456789a", "flannel.1", "cni0"])
def test_other_networks(tmp_path: Path, name: str) -> None:
    subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True)
    found = look(tmp_path)["no other pod network"]
    assert (
        not found.ok and found.needed and found.detail.endswith(f"has {name}") and "remove its devices" in found.remedy
    )


@pytest.mark.parametrize(
    "rules",
    ["add table ip kube-proxy; add chain ip kube-proxy services", "add table ip nat; add chain ip nat KUBE-SERVICES"],
)
def test_kube_proxy(tmp_path: Path, rules: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
    found = look(tmp_path)["no kube-proxy"]
    assert not found.ok and not found.needed and "nftables chain ip" in found.detail


def test_ports_that_are_taken(tmp_path: Path) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with socket.create_server(("127.0.0.1", PORT)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tunnel:
        tunnel.bind(("", TUNNEL_PORT))
        found = look(tmp_path)
    health, vxlan = found[f"port {PORT} free"], found[f"UDP port {TUNNEL_PORT} free"]
    assert not health.ok and health.needed and "somebody listens there" in health.detail
    assert not vxlan.ok and "routingMode=native" in vxlan.remedy


def test_doctor_says_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "00-first.conf").touch()
    assert run(["doctor", "--kubernetes", "--cni-conf-dir", str(tmp_path)]) == 1
    assert "MISSING  no CNI plugin before weft's" in capsys.readouterr().out
    (tmp_path / "00-first.conf").unlink()
    assert run(["doctor", "--kubernetes", "--cni-conf-dir", str(tmp_path), "-o", "json"]) == 0
    assert {"VXLAN", "tcx"} <= {each["name"] for each in json.loads(capsys.readouterr().out)}
