"""http rules across nodes: the client's are judged on its node, the server's on the server's, each by its own proxy;
the server sees the client's address. The proxy stands in for Envoy, with the same marks and addresses."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.datapath.proxy_scene import talk
from tests.nodes.scene import Cluster, TestNode
from tests.nodes.talk import make_socket, tcp_server
from tests.nodes.test_reach import cnp
from weft.datapath import netns
from weft.datapath.ways import close_proxy_way, open_proxy_way
from weft.model.http import HttpRuleSet

PORT = 8080
HTTP = "toPorts: [{ports: [{port: '8080', protocol: TCP}], rules: {http: [{method: GET}]}}]"
EGRESS = cnp("client", f"egress: [{{toEndpoints: [{{matchLabels: {{app: server}}}}], {HTTP}}}]")
INGRESS = cnp("server", f"ingress: [{{fromEndpoints: [{{matchLabels: {{app: client}}}}], {HTTP}}}]")
WAYS = {"the client's": (EGRESS, "n1"), "the server's": (INGRESS, "n2"), "both": (f"{EGRESS}---{INGRESS}", "n1 n2")}


@contextlib.contextmanager
def proxy(on: TestNode) -> Iterator[str]:
    """A proxy for the node's listeners; yields what it writes in front of what it passes on."""
    ((number, rules),) = on.compiled.desired.listeners.items()
    assert isinstance(rules, HttpRuleSet)
    cgroup = on.paths.cgroup.parent / "envoy"
    cgroup.mkdir()
    argument = f"{number},{'egress' if rules.egress else 'ingress'}"
    with on.inside():
        on.datapath.watch_proxy(cgroup)
        open_proxy_way(on.datapath, 1400)
    with netns.entered(on.paths.proxy_netns):
        command = [sys.executable, "-m", "tests.datapath.transparent", str(cgroup), argument]
        made = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert made.stdout is not None and made.stdout.readline() == "ready\n"
        yield f"<{number}>"
    finally:
        made.kill()
        made.communicate()
        with on.inside():
            on.datapath.unwatch_proxy()
            close_proxy_way(on.datapath)
        cgroup.rmdir()


@pytest.mark.parametrize("which", WAYS)
@pytest.mark.parametrize("version", [4, 6])
def test_a_connection_passes_the_proxies_of_its_ends_nodes(cluster: Cluster, version: int, which: str) -> None:
    policy, names = WAYS[which]
    client, server = cluster.pods["default/client"], cluster.pods["default/server"]
    cluster.apply(policy)
    with contextlib.ExitStack() as stack:
        seen = [stack.enter_context(proxy(cluster.nodes[name])) for name in names.split()]
        listening = stack.enter_context(contextlib.closing(tcp_server(server.netns, version, PORT)))
        sender = stack.enter_context(contextlib.closing(make_socket(client.netns, version)))
        sender.settimeout(20)
        sender.connect((str(server.address(version)), PORT))
        talk(sender, listening, "".join(reversed(seen)), str(client.address(version)))


@pytest.mark.parametrize("version", [4, 6])
def test_without_its_proxy_a_connection_is_refused_at_once(cluster: Cluster, version: int) -> None:
    """On the server's node too, where the refusal has to travel."""
    client, server = cluster.pods["default/client"], cluster.pods["default/server"]
    for policy in (EGRESS, INGRESS):
        cluster.apply(policy)
        with contextlib.closing(make_socket(client.netns, version)) as sender:
            sender.settimeout(20)
            with pytest.raises(ConnectionRefusedError):
                sender.connect((str(server.address(version)), PORT))
