"""What the fault tests share: one server, a friend that policy allows, a stranger that it does not."""

from __future__ import annotations

from typing import NamedTuple

from tests.lab import Lab, Pod

PORT = 8080
POLICY = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: server}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: friend}}]
    toPorts: [{ports: [{port: "8080", protocol: ANY}]}]
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: server}
spec:
  selector: {app: server}
  ports: [{name: tcp, port: 80, targetPort: 8080, protocol: TCP}]
"""


class Scene(NamedTuple):
    server: Pod
    friend: Pod
    stranger: Pod
    service: str
    """The server's ClusterIP, port 80."""


def scene(lab: Lab) -> Scene:
    server = lab.serve("server", f"tcp:{PORT}", f"udp:{PORT}", labels={"app": "server"})
    friend, stranger = lab.run("friend", labels={"app": "friend"}), lab.run("stranger", labels={"app": "stranger"})
    lab.apply(POLICY + "---" + SERVICE)
    made = Scene(server, friend, stranger, lab.get("services", "server", "default")["spec"]["clusterIP"])
    assert friend.probe("tcp", made.service, 80).outcome == "open"
    assert stranger.probe("tcp", server.v4, PORT).outcome == "timeout"
    return made


def heard(pod: Pod) -> dict[str, int]:
    """What a pod's own kernel counts as received: packets of both families (not the multicast listener reports that its
    device's other end sends when it comes up), segments, datagrams with a socket and without."""
    counters: dict[str, int] = {}
    lines = [line.split() for line in pod.exec("cat", "/proc/net/snmp").stdout.splitlines()]
    for head, values in zip(lines[::2], lines[1::2], strict=True):
        counters.update({f"{head[0]}{name}": int(value) for name, value in zip(head[1:], values[1:], strict=True)})
    for line in pod.exec("cat", "/proc/net/snmp6").stdout.splitlines():
        name, value = line.split()
        counters[name] = int(value)
    counters["Ip6Unicast"] = counters["Ip6InReceives"] - counters["Ip6InMcastPkts"]
    wanted = ("Ip:InReceives", "Tcp:InSegs", "Udp:InDatagrams", "Udp:NoPorts", "Ip6Unicast", "Udp6InDatagrams")
    return {name: counters[name] for name in wanted}
