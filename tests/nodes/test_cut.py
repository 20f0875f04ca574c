"""A connection between nodes that policy no longer allows is reset at both ends, whichever node's policy it is."""

from __future__ import annotations

import contextlib
import socket

import pytest

from tests.nodes.scene import Cluster
from tests.nodes.talk import make_socket, tcp_server
from tests.nodes.test_reach import cnp

PORT = 8080
REVOKED = {
    "by the server's node": cnp("server", "ingress: [{fromEndpoints: [{matchLabels: {app: stranger}}]}]"),
    "by the client's node": cnp("client", "egress: [{toEndpoints: [{matchLabels: {app: stranger}}]}]"),
}


@pytest.mark.parametrize("policy", REVOKED)
@pytest.mark.parametrize("version", [4, 6])
def test_both_ends_of_an_idle_connection_are_reset(cluster: Cluster, version: int, policy: str) -> None:
    client, server = cluster.pods["default/client"], cluster.pods["default/server"]
    with (
        contextlib.closing(tcp_server(server.netns, version, PORT)) as listening,
        contextlib.closing(make_socket(client.netns, version)) as sender,
    ):
        sender.settimeout(20)
        sender.connect((str(server.address(version)), PORT))
        accepted, _ = listening.accept()
        with accepted:
            accepted.settimeout(20)
            speak(sender, accepted)
            speak(accepted, sender)
            cluster.apply("")
            speak(sender, accepted)
            cluster.apply(REVOKED[policy])
            for end in (sender, accepted):
                with pytest.raises(ConnectionResetError):
                    end.recv(1)


def speak(sender: socket.socket, receiver: socket.socket) -> None:
    sender.send(b"still there")
    assert receiver.recv(100) == b"still there"
