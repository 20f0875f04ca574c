"""Pulled plugs: nothing is lost, nothing is made up, and it catches up by itself."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import Cluster
from cluster.processes import until
from tests.sources.kubernetes import crds
from tests.sources.kubernetes.conftest import NODE, api_port
from tests.sources.kubernetes.following import Following
from tests.sources.kubernetes.rest import Rest, pod_spec, pod_status
from tests.sources.kubernetes.wire import Wire
from weft.model.objects import NamespacedName
from weft.model.policy import PolicyRef
from weft.model.world import World
from weft.sources.kubernetes import reflector
from weft.sources.kubernetes.api import Api, ApiConfigError, ApiError, UnreachableError

GOOD = {"endpointSelector": {"matchLabels": {"app": "web"}}, "ingress": [{}]}


@pytest.fixture
def behind(control_plane: Cluster, wire: Wire) -> Iterator[Following]:
    with Following(control_plane.kubeconfig, NODE, wire.port) as source:
        yield source


def expire(source: Following) -> None:
    """Every resourceVersion that it holds is too old: what a compaction does."""

    def now() -> None:
        for one in source.source._reflectors:
            one._version = one._version and "1"

    source.run(now)


@pytest.mark.parametrize("too_old", [False, True])
def test_a_cut_wire(rest: Rest, namespace: str, wire: Wire, behind: Following, too_old: bool) -> None:
    stays, goes, comes = (NamespacedName(namespace, name) for name in ("stays", "goes", "comes"))
    for key in (stays, goes):
        rest.create("Pod", *key, spec=pod_spec("node-2"), status=pod_status("10.9.2.1"))
    behind.until(lambda world: world.workloads[stays].ready and world.workloads[goes].ready, "the pods")
    wire.cut()
    until(lambda: "out of reach" in behind.source.problems.get("api-server", ""), "the problem is shown")
    before = behind.world
    rest.delete("Pod", *goes)
    rest.create("Pod", *comes, spec=pod_spec("node-2"))
    rest.patch("Pod", *stays, metadata={"labels": {"app": "web"}})
    if too_old:
        expire(behind)
    assert behind.world is before, "it is frozen"
    wire.heal()

    def caught_up(world: World) -> bool:
        return comes in world.workloads and goes not in world.workloads and bool(world.workloads[stays].labels)

    behind.until(caught_up, "it catches up")
    assert behind.world.nodes == before.nodes
    until(lambda: not behind.source.problems, "the problem is gone")


def test_connections_that_carry_nothing_any_more(
    rest: Rest, namespace: str, wire: Wire, behind: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody says that they are gone."""
    monkeypatch.setattr(reflector, "SILENCE", 2.0)
    wire.cut()  # so that every watch is begun anew, with this patience
    until(lambda: behind.source.problems, "it is noticed")
    wire.heal()
    until(lambda: not behind.source.problems, "all is well")
    before = NamespacedName(namespace, "before")
    rest.create("Pod", *before, spec=pod_spec("node-2"))
    behind.until(lambda world: world.workloads[before], "it goes on")
    wire.strand()
    after = NamespacedName(namespace, "after")
    rest.create("Pod", *after, spec=pod_spec("node-2"))
    behind.until(lambda world: world.workloads[after], "silence is noticed")


def test_nobody_waits_longer_than_the_api_server_is_away(control_plane: Cluster, wire: Wire) -> None:
    async def ask() -> None:
        api = Api.from_kubeconfig(control_plane.kubeconfig, "127.0.0.1", wire.port)
        wire.cut()
        with pytest.raises(UnreachableError):
            await api.get("/version")
        waiting = asyncio.create_task(api.pause(3600))
        wire.heal()
        await api.get("/version")
        async with asyncio.timeout(30):
            await waiting
        await api.close()

    asyncio.run(ask())


def test_a_watch_that_is_silent_for_good_reasons_is_resumed(
    control_plane: Cluster,
    rest: Rest,
    namespace: str,
    wire: Wire,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(reflector, "SILENCE", 1.1)
    with Following(control_plane.kubeconfig, NODE, wire.port) as source:
        enough = wire.connections + 3 * len(source.source._reflectors)
        until(lambda: wire.connections > enough, "watches are resumed")
        assert not source.source.problems and "out of reach" not in caplog.text
        for number in range(20):
            rest.create("NetworkPolicy", namespace, f"n{number}", spec={"podSelector": {}})
            ref = PolicyRef("NetworkPolicy", namespace, f"n{number}")
            source.until(lambda world, ref=ref: world.policies[ref], "it")  # type: ignore[misc]
        edits = [edit.key.name for batch in source.batches for edit in batch if edit.field == "policies"]
    assert sorted(edits) == sorted(f"n{number}" for number in range(20)), "nothing is said twice"


def test_the_api_server_is_killed_and_comes_back(
    control_plane: Cluster, rest: Rest, namespace: str, following: Following
) -> None:
    goes, stays = NamespacedName(namespace, "goes"), PolicyRef("CiliumNetworkPolicy", namespace, "stays")
    rest.create("Pod", *goes, spec=pod_spec("node-2"), status=pod_status("10.9.2.1"))
    rest.create("CiliumNetworkPolicy", namespace, "stays", spec=GOOD)
    following.until(lambda world: world.workloads[goes].ready and world.policies[stays], "both")
    control_plane.stop_api()
    try:
        until(lambda: "out of reach" in following.source.problems.get("api-server", ""), "the problem is shown")
        assert goes in following.world.workloads and stays in following.world.policies
    finally:
        control_plane.start_api()
    rest.delete("Pod", *goes)
    following.until(lambda world: goes not in world.workloads, "it catches up")
    rest.create("CiliumNetworkPolicy", namespace, "new", spec=GOOD)
    following.until(lambda world: world.policies[PolicyRef("CiliumNetworkPolicy", namespace, "new")], "and goes on")
    assert stays in following.world.policies
    until(lambda: not following.source.problems, "the problem is gone")


def test_status_is_written_when_the_api_server_is_back(
    rest: Rest, namespace: str, wire: Wire, behind: Following
) -> None:
    rest.create("CiliumNetworkPolicy", namespace, "first", spec=GOOD)

    def valid(name: str) -> bool:
        status = rest.get("CiliumNetworkPolicy", namespace, name).get("status", {})
        return any(one["type"] == "Valid" for one in status.get("conditions", ()))

    until(lambda: valid("first"), "the first status")
    wire.cut()
    until(lambda: behind.source.problems, "it is noticed")
    rest.create("CiliumNetworkPolicy", namespace, "second", spec=GOOD)
    wire.heal()
    until(lambda: valid("second"), "the second")


def test_a_crd_that_is_installed_later(
    control_plane: Cluster, rest: Rest, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that goes: its objects go with it."""
    monkeypatch.setattr(reflector, "MISSING_SECONDS", 0.5)
    monkeypatch.setattr(reflector, "VANISHED_SECONDS", 2.0)
    name = crds.GRANT["metadata"]["name"]
    path = rest.path("CustomResourceDefinition", "", name)
    rest.delete("CustomResourceDefinition", "", name)
    until(lambda: rest.http.get(path).status_code == 404, "the CRD is gone")
    spec = {
        "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "default"}],
        "to": [{"group": "", "kind": "Service"}],
    }
    key = NamespacedName(namespace, "grant")
    try:
        with Following(control_plane.kubeconfig, NODE) as following:
            assert not following.source.problems, "it is nothing unusual"
            rest.create("NetworkPolicy", namespace, "deny", spec={"podSelector": {}})
            following.until(lambda world: world.policies[PolicyRef("NetworkPolicy", namespace, "deny")], "the others")
            rest.install(crds.GRANT)
            rest.create("ReferenceGrant", *key, spec=spec)
            following.until(lambda world: world.grants[key], "the grant")
            rest.delete("CustomResourceDefinition", "", name)
            following.until(lambda world: key not in world.grants, "the grant is gone with its CRD")
    finally:
        if rest.http.get(path).status_code == 404 or rest.get("CustomResourceDefinition", "", name)["metadata"].get(
            "deletionTimestamp"
        ):
            until(lambda: rest.http.get(path).status_code == 404, "the CRD is gone")
            rest.install(crds.GRANT)


def test_own_node_waits(control_plane: Cluster, rest: Rest) -> None:
    with Following(control_plane.kubeconfig, "late") as following:
        waiting = asyncio.run_coroutine_threadsafe(following.source.own_node(), following.loop)
        until(
            lambda: "Node late is not there" in following.source.problems.get("node", ""), "it says what it waits for"
        )
        rest.create("Node", "", "late")
        try:
            assert waiting.result(60).pod_cidrs
            assert not following.source.problems
        finally:
            rest.delete("Node", "", "late")


def test_a_token_that_is_renewed(control_plane: Cluster, tmp_path: Path) -> None:
    config = json.loads(control_plane.kubeconfig.read_text())
    server = config["clusters"][0]["cluster"]
    authority = server.get("certificate-authority")
    text = Path(authority).read_text() if authority else b64decode(server["certificate-authority-data"]).decode()
    (tmp_path / "ca.crt").write_text(text)
    (tmp_path / "token").write_text("expired")
    (tmp_path / "namespace").write_text("mesh")

    async def ask() -> None:
        api = Api.in_cluster("127.0.0.1", api_port(control_plane), folder=tmp_path)
        assert api.namespace == "mesh"
        with pytest.raises(ApiError) as refused:
            await api.get("/api/v1/namespaces")
        assert refused.value.code == 401
        (tmp_path / "token").write_text(config["users"][0]["user"]["token"])
        assert b"kube-system" in await api.get("/api/v1/namespaces")
        await api.close()

    asyncio.run(ask())


def test_no_api_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ApiConfigError, match="--kubeconfig"):
        Api.in_cluster()
    with pytest.raises(ApiConfigError, match="needs a service account"):
        Api.in_cluster("192.0.2.1", folder=tmp_path)
    with pytest.raises(ApiConfigError, match="nowhere"):
        Api.from_kubeconfig(tmp_path / "nowhere")
    (tmp_path / "config").write_text("clusters: []\n")
    with pytest.raises(ApiConfigError, match="config"):
        Api.from_kubeconfig(tmp_path / "config")
