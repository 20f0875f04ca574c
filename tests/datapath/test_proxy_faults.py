"""What changes, what is missing and what is forged, with connections through a proxy."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.datapath.conftest import PATIENCE, SIZES, Node, address
from tests.datapath.proxy_scene import (
    CLIENT,
    EGRESS,
    HTTP_IN,
    HTTP_OUT,
    INGRESS,
    OTHER,
    OTHER_INGRESS,
    OTHER_RULES,
    PORT,
    ROUTE,
    SERVER,
    VERSIONS,
    VIP,
    WORLD,
    Scene,
    proxy_scene,
    read,
    talk,
)
from weft.datapath import layouts
from weft.datapath.kernel import Datapath, Options
from weft.datapath.proxied import cut_proxied
from weft.datapath.sweep import sweep
from weft.datapath.ways import close_proxy_way, open_proxy_way
from weft.model.desired import BumpRevision, RouteKey, Write
from weft.model.verdicts import Verdict

BOTH = pytest.mark.parametrize("client_at", [CLIENT, None], ids=["pod", "world"])


@pytest.fixture
def scene(running: Node, tmp_path: Path) -> Iterator[Scene]:
    with proxy_scene(running, tmp_path) as made:
        yield made


@VERSIONS
def test_what_was_opened_before_the_rule_is_cut(scene: Scene, version: int) -> None:
    scene.standard()
    with (
        scene.listen(SERVER, version) as server,
        scene.dial(CLIENT, address(SERVER, version)) as client,
        server.accept()[0] as accepted,
    ):
        accepted.settimeout(PATIENCE)
        scene.tables(CLIENT, egress=HTTP_OUT)
        swept = sweep(scene.node.datapath)
        assert (swept.refused, swept.told) == (1, 2)
        for end in (client, accepted):
            with pytest.raises(ConnectionResetError):
                end.recv(1)
        with scene.dial(CLIENT, address(SERVER, version)) as again:
            talk(again, server, f"<{EGRESS}>", address(CLIENT, version))
    assert [event.reason for event in scene.events() if event.reason][:1] == [Verdict.POLICY_REVOKED]


@VERSIONS
@BOTH
def test_another_rule_set_cuts_and_none_does_not(scene: Scene, version: int, client_at: int | None) -> None:
    scene.proxy(f"{INGRESS},ingress", f"{OTHER_INGRESS},ingress")
    scene.tables(SERVER, ingress=HTTP_IN)
    with (
        scene.listen(SERVER, version) as server,
        scene.dial(client_at, address(SERVER, version)) as client,
        server.accept()[0] as accepted,
    ):
        accepted.settimeout(PATIENCE)
        client.sendall(b"one")
        wanted = f"<{INGRESS}>one".encode()
        assert read(accepted, len(wanted)) == wanted
        scene.tables(SERVER)  # no policy any more: what is open goes on as it is
        assert sweep(scene.node.datapath).refused == 0
        client.sendall(b"two")
        assert accepted.recv(100) == b"two"
        scene.tables(SERVER, ingress=OTHER_RULES)
        assert sweep(scene.node.datapath).refused == 1
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        assert accepted.recv(1) == b"", "the proxy, whose client is gone, ends its own connection"
        with scene.dial(client_at, address(SERVER, version)) as again:
            talk(again, server, f"<{OTHER_INGRESS}>", address(CLIENT, version) if client_at else WORLD[version])


@VERSIONS
def test_other_routes_cut(scene: Scene, version: int) -> None:
    scene.proxy(f"{ROUTE},route,{address(SERVER, version)},{PORT}")
    scene.route(version)
    with (
        scene.listen(SERVER, version) as server,
        scene.dial(CLIENT, VIP[version], 80) as client,
        server.accept()[0] as accepted,
    ):
        accepted.settimeout(PATIENCE)
        scene.node.apply(BumpRevision("nothing changed"))
        assert sweep(scene.node.datapath).refused == 0
        scene.node.apply(Write("routes", {RouteKey(77, 0): 10_007}), BumpRevision("test"))
        assert sweep(scene.node.datapath).refused == 1
        with pytest.raises(ConnectionResetError):
            client.recv(1)


@VERSIONS
def test_without_a_listener_a_connection_is_refused_at_once(scene: Scene, version: int) -> None:
    scene.tables(CLIENT, egress=HTTP_OUT)
    scene.tables(SERVER, ingress=HTTP_IN)
    with scene.listen(SERVER, version) as server:
        for where in (CLIENT, None):
            started = time.monotonic()
            with pytest.raises(ConnectionRefusedError):
                scene.dial(where, address(SERVER, version))
            assert time.monotonic() - started < 1
        gone = [event for event in scene.events() if event.reason == Verdict.PROXY_GONE]
        assert [event.source_endpoint for event in gone] == [CLIENT, 0]
        assert not scene.flows()
        scene.standard()
        with scene.dial(CLIENT, address(SERVER, version)) as client:
            talk(client, server, f"<{INGRESS}><{EGRESS}>", address(CLIENT, version))


@VERSIONS
@BOTH
def test_when_the_proxy_dies(scene: Scene, version: int, client_at: int | None) -> None:
    """Clients are told at once, and a new proxy is found without anybody's help."""
    proxy = scene.standard()
    scene.tables(SERVER, ingress=HTTP_IN)
    earlier = time.monotonic_ns() - 50_000_000  # flows are dated by a clock that ticks every few milliseconds
    with (
        scene.listen(SERVER, version) as server,
        scene.dial(client_at, address(SERVER, version)) as client,
        server.accept()[0] as accepted,
    ):
        accepted.settimeout(PATIENCE)
        client.sendall(b"one")
        wanted = f"<{INGRESS}>one".encode()
        assert read(accepted, len(wanted)) == wanted
        scene.events()
        proxy.send_signal(signal.SIGSTOP)  # it can say nothing: the datapath alone tells its clients
        assert cut_proxied(scene.node.datapath, earlier) == (0, 0), "of a proxy that came since"
        cut = cut_proxied(scene.node.datapath)
        assert cut == (2, 4 if client_at else 3)
        for end in (client, accepted):
            with pytest.raises(ConnectionResetError):
                end.recv(1)
        assert {event.reason for event in scene.events() if event.reason} == {Verdict.PROXY_GONE}
        assert cut_proxied(scene.node.datapath).flows == 0
        proxy.kill()
        proxy.wait()
        with pytest.raises(ConnectionRefusedError):
            scene.dial(client_at, address(SERVER, version))
        scene.standard()
        with scene.dial(client_at, address(SERVER, version)) as again:
            talk(again, server, f"<{INGRESS}>", address(CLIENT, version) if client_at else WORLD[version])


@VERSIONS
def test_when_the_proxy_dies_between_a_pod_and_itself(scene: Scene, version: int) -> None:
    proxy = scene.proxy(f"{ROUTE},route,{address(OTHER, version)},{PORT}")
    scene.route(version)
    with (
        scene.listen(OTHER, version) as server,
        scene.dial(OTHER, VIP[version], 80) as client,
        server.accept()[0] as accepted,
    ):
        accepted.settimeout(PATIENCE)
        client.sendall(b"one")
        wanted = f"<{ROUTE}>one".encode()
        assert read(accepted, len(wanted)) == wanted
        proxy.send_signal(signal.SIGSTOP)
        assert cut_proxied(scene.node.datapath) == (2, 4)
        for end in (client, accepted):
            with pytest.raises(ConnectionResetError):
                end.recv(1)


def test_nobody_dials_a_listener(scene: Scene) -> None:
    scene.standard()
    for target in ("127.119.101.102", "100::7765:6674"):
        with pytest.raises(OSError, match=r"timed out|refused|unreachable"):
            scene.dial(CLIENT, target, INGRESS, seconds=0.5)
        with (
            socket.socket(socket.AF_INET6 if ":" in target else socket.AF_INET) as direct,
            pytest.raises(OSError, match=r"refused|unreachable"),
        ):
            direct.connect((target, INGRESS))
    assert [event.reason for event in scene.events() if event.protocol == socket.IPPROTO_TCP][:1] == [
        Verdict.INVALID_PACKET
    ]


@VERSIONS
def test_a_pod_cannot_speak_on_envoys_connection(scene: Scene, version: int) -> None:
    scene.standard()
    scene.tables(CLIENT, egress=HTTP_OUT)
    with (
        scene.listen(SERVER, version) as server,
        scene.dial(CLIENT, address(SERVER, version)) as client,
        server.accept()[0] as accepted,
    ):
        accepted.settimeout(PATIENCE)
        port = accepted.getpeername()[1]
        assert port >= layouts.PROXY_PORT_FIRST
        with pytest.raises(TimeoutError):
            scene.dial(CLIENT, address(SERVER, version), source_port=port, seconds=0.5)
        assert {event.reason for event in scene.events() if event.reason} == {Verdict.PROXY_PORT_TAKEN}
        client.sendall(b"still here")
        wanted = f"<{EGRESS}>still here".encode()
        assert read(accepted, len(wanted)) == wanted


@VERSIONS
def test_listeners_are_found_again_by_an_agent_with_other_maps(scene: Scene, version: int) -> None:
    scene.standard()
    scene.tables(SERVER, ingress=HTTP_IN)
    kernel = scene.node.kernel
    scene.node.datapath.close()
    scene.node.datapath = Datapath.open(scene.node.paths, Options(sizes=SIZES | {"policy": 2048}))
    policy = {key: entry for table in kernel.tables.values() for key, entry in table.items()}
    steps = (Write("policy", policy), Write("ipcache", kernel.ipcache), Write("endpoints", kernel.endpoints))
    scene.node.datapath.apply(scene.node.datapath.read(), steps)
    scene.node.datapath.enforce()
    with scene.listen(SERVER, version) as server, scene.dial(CLIENT, address(SERVER, version)) as client:
        talk(client, server, f"<{INGRESS}>", address(CLIENT, version))


@VERSIONS
def test_the_way_is_mended(scene: Scene, version: int) -> None:
    """Also when the device alone has gone: the namespace, and who is in it, stays."""
    scene.standard()
    scene.tables(SERVER, ingress=HTTP_IN)
    with scene.listen(SERVER, version) as server:
        subprocess.run(["ip", "link", "delete", "weft_proxy"], check=True)
        with pytest.raises(OSError, match=r"timed out|refused|unreachable"):
            scene.dial(CLIENT, address(SERVER, version), seconds=0.5)
        for _ in range(2):
            open_proxy_way(scene.node.datapath, 1500)
        with scene.dial(CLIENT, address(SERVER, version)) as client:
            talk(client, server, f"<{INGRESS}>", address(CLIENT, version))


@VERSIONS
def test_without_a_way_a_connection_is_refused_at_once(scene: Scene, version: int) -> None:
    proxy = scene.standard()
    scene.tables(SERVER, ingress=HTTP_IN)
    with scene.listen(SERVER, version) as server:
        for _ in range(2):
            close_proxy_way(scene.node.datapath)
        with pytest.raises(ConnectionRefusedError):
            scene.dial(CLIENT, address(SERVER, version))
        proxy.kill()
        proxy.wait()
        open_proxy_way(scene.node.datapath, 1500)
        scene.standard()
        with scene.dial(CLIENT, address(SERVER, version)) as client:
            talk(client, server, f"<{INGRESS}>", address(CLIENT, version))
