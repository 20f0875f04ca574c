"""What a pod is told: resolv.conf, hosts, environment, mounts."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.node import DNS, manifest
from weft.model.kinds.core import Capabilities, Pod
from weft.model.objects import NamespacedName
from weft.runtime import capabilities, files
from weft.runtime.config import Limits, Place, container_config
from weft.runtime.environment import Downward, expand
from weft.runtime.errors import PodError
from weft.runtime.folder import sandbox_name

KEY = NamespacedName("shop", "web")


def spec(**fields: Any) -> Any:
    return manifest({"containers": [{"name": "main", "command": ["true"]}], **fields}).spec


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "nameserver 10.98.0.10\nsearch shop.svc.cluster.local svc.cluster.local cluster.local example.org\n"
             "options ndots:5\n"),
        ({"dnsPolicy": "Default"}, "nameserver 192.0.2.53\nsearch example.org\n"),
        ({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.9"], "options": [{"name": "edns0"}]}},
         "nameserver 192.0.2.9\noptions edns0\n"),
        ({"dnsConfig": {"searches": ["more.org"], "options": [{"name": "ndots", "value": "2"}]}},
         "nameserver 10.98.0.10\nsearch shop.svc.cluster.local svc.cluster.local cluster.local example.org more.org\n"
         "options ndots:2\n"),
    ],
)  # fmt: skip
def test_resolv_conf(fields: dict[str, Any], expected: str) -> None:
    assert files.resolv_conf("shop", spec(**fields), DNS) == expected


def test_hosts_and_hostname() -> None:
    addresses = [ipaddress.ip_address("10.0.0.2")]
    text = files.hosts(KEY, spec(hostname="first", subdomain="db"), addresses, "cluster.local")
    assert text.splitlines()[-1] == "10.0.0.2\tfirst.db.shop.svc.cluster.local\tfirst"
    assert files.hostname("a" * 62 + "-.b", spec()) == "a" * 62


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"), ("$$(A)", "$(A)"), ("$$$(A)", "$1"), ("$(NO)", "$(NO)"), ("$A $", "$A $"), ("$(A", "$(A"),
        ("$(A)$(B)", "1$(A)"),
    ],
)  # fmt: skip
def test_expansion(text: str, expected: str) -> None:
    assert expand(text, {"A": "1", "B": "$(A)"}) == expected


def test_capabilities() -> None:
    assert capabilities.mask(Capabilities()) == 0xA00425FB
    assert capabilities.mask(Capabilities(add=["CAP_SYS_PTRACE"], drop=["all"])) == 1 << 19
    assert capabilities.mask(Capabilities(add=["ALL"], drop=["KILL"])) & 1 << 5 == 0
    with pytest.raises(PodError, match="did you mean NET_RAW"):
        capabilities.mask(Capabilities(drop=["NET_ROW"]))


def config_of(what: Pod, hidden: tuple[Path, ...] = ()) -> list[str]:
    downward = Downward(KEY, what, "uid-1", "node", (), None)
    place = Place(Path("/n"), Path("/c"), Path("/e"), hidden)
    return container_config(what.spec.containers[0], downward, place, Limits()).decode().split("\0")


def test_hidden_directories_do_not_nest(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    hidden = (tmp_path / "link" / "node", tmp_path, tmp_path / "node")
    lines = config_of(manifest({"containers": [{"name": "main", "command": ["true"]}]}), hidden)
    assert [line for line in lines if line.startswith("hide=")] == [f"hide={tmp_path.resolve()}"]


@pytest.mark.parametrize(
    ("kind", "problem"), [("Directory", "not a Directory"), ("Socket", "not a Socket"), ("", "is not there")]
)
def test_volumes_that_do_not_fit(tmp_path: Path, kind: str, problem: str) -> None:
    path = tmp_path / "file"
    if kind:
        path.touch()
    container = {"name": "main", "command": ["true"], "volumeMounts": [{"name": "v", "mountPath": "/mnt"}]}
    volume = {"name": "v", "hostPath": {"path": str(path), "type": kind}}
    with pytest.raises(PodError, match=problem):
        config_of(manifest({"containers": [container], "volumes": [volume]}))


def test_volume_is_made_when_asked(tmp_path: Path) -> None:
    container = {"name": "main", "command": ["true"], "volumeMounts": [{"name": "v", "mountPath": "/mnt"}]}
    volume = {"name": "v", "hostPath": {"path": str(tmp_path / "new" / "one"), "type": "DirectoryOrCreate"}}
    config_of(manifest({"containers": [container], "volumes": [volume]}))
    assert (tmp_path / "new" / "one").is_dir()


def test_long_names_fit_a_file_name() -> None:
    long = {sandbox_name(NamespacedName("n" * 63, "p" * 252 + end)) for end in "ab"}
    assert len(long) == 2
    assert max(map(len, long)) < 255
