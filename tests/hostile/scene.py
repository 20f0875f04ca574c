"""The scene of the hostile tests: an attacker with packet sockets, a victim, a friend of the victim, ears everywhere.

attacker   may send to pods of app=victim only (egress); its frames are written byte by byte
victim     takes TCP 8080 from app=friend, TCP 8081 from app=attacker, and nothing else
friend     has a connection to the victim that the attacker would like to break
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from tests.bpf.packets import mac_of
from tests.hostile.ears import MARK, Connection, Ear, Heard, NodeEars
from tests.lab import Lab, Pod, until
from tests.lab.netns import ip
from tests.lab.traces import node_pins
from weft.datapath.maps import Map
from weft.flows.hubble import timestamp
from weft.model.verdicts import Verdict

POLICIES = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: victim}
spec:
  endpointSelector: {matchLabels: {app: victim}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: friend}}]
    toPorts: [{ports: [{port: "8080", protocol: TCP}]}]
  - fromEndpoints: [{matchLabels: {app: attacker}}]
    toPorts: [{ports: [{port: "8081", protocol: TCP}]}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: attacker}
spec:
  endpointSelector: {matchLabels: {app: attacker}}
  egress:
  - toEndpoints: [{matchLabels: {app: victim}}]
---
apiVersion: v1
kind: Service
metadata: {name: victim}
spec:
  selector: {app: victim}
  ipFamilyPolicy: RequireDualStack
  ports: [{port: 80, targetPort: 8080}]
"""

Counts = dict[tuple[int, Verdict], int]


class Scene:
    """Made once for all hostile tests: ``Scene.made(lab)``."""

    def __init__(self, lab: Lab, stack: ExitStack) -> None:
        self.lab = lab
        lab.apply(POLICIES)
        self.victim = lab.serve("victim", "tcp:8080", "tcp:8081", "udp:53", labels={"app": "victim"})
        self.attacker = lab.run("attacker", labels={"app": "attacker"})
        self.friend = lab.run("friend", labels={"app": "friend"})
        node, outside = (Path("/run/netns") / name for name in (lab.namespaces.node, lab.namespaces.outside))
        self.hostile, self.at_victim, self.at_friend = (
            Ear(self._netns(pod), "eth0") for pod in (self.attacker, self.victim, self.friend)
        )
        self.at_node, self.outside = NodeEars(node), Ear(outside, "uplink")
        for ear in (self.hostile, self.at_victim, self.at_friend, self.at_node, self.outside):
            stack.callback(ear.close)
        self._held = [Connection(self._netns(self.friend), address) for address in (self.v4, self.v6)]
        for connection in self._held:
            stack.callback(connection.close)
        pins = node_pins(lab.name)[0]
        self._counters, self._folds, self._lost = (
            stack.enter_context(_pinned(next(pins.glob(f"v*/{name}")))) for name in ("counters", "folds", "events_lost")
        )
        self.cluster4, self.cluster6 = self._cluster_ips()
        self.router4, self.router6 = self._router()
        self._be_quiet()

    @classmethod
    @contextmanager
    def made(cls, lab: Lab) -> Iterator[Scene]:
        with ExitStack() as stack:
            stack.callback(lab.empty)
            yield cls(lab, stack)

    # ---- addresses ------------------------------------------------------------------------------------------------

    @property
    def a4(self) -> str:
        return self.attacker.v4

    @property
    def a6(self) -> str:
        return self.attacker.v6

    @property
    def v4(self) -> str:
        return self.victim.v4

    @property
    def v6(self) -> str:
        return self.victim.v6

    @property
    def mac(self) -> bytes:
        return mac_of(self.a4)

    @property
    def victim_mac(self) -> bytes:
        return mac_of(self.v4)

    @property
    def uplink_mac(self) -> bytes:
        """Of the node's end."""
        found = json.loads(ip("-n", self.lab.namespaces.node, "-j", "link", "show", "uplink"))
        return bytes.fromhex(found[0]["address"].replace(":", ""))

    def neighbours(self) -> str:
        """The node's table of addresses and MACs."""
        return ip("-n", self.lab.namespaces.node, "neighbour")

    # ---- the friend's connection ----------------------------------------------------------------------------------

    @property
    def held4(self) -> bytes:
        return self._held[0].quoted()

    @property
    def held6(self) -> bytes:
        return self._held[1].quoted()

    @property
    def held_port(self) -> int:
        return self._held[0].port

    def held_alive(self) -> bool:
        return all(connection.alive() for connection in self._held)

    def _netns(self, pod: Pod) -> Path:
        return Path("/run/weft") / self.lab.name / "netns" / f"{pod.namespace}_{pod.name}"

    def _cluster_ips(self) -> tuple[str, str]:
        addresses = self.lab.get("services", "victim", "default")["spec"]["clusterIPs"]
        return tuple(sorted(addresses, key=lambda text: ":" in text))  # type: ignore[return-value]

    def _router(self) -> tuple[str, str]:
        """The node's own address in each pod range."""
        found = json.loads(ip("-n", self.lab.namespaces.node, "-j", "address", "show", "weft_host"))
        addresses = [each["local"] for each in found[0]["addr_info"] if each["scope"] == "global"]
        return tuple(sorted(addresses, key=lambda text: ":" in text))  # type: ignore[return-value]

    # ---- what the kernel counts -----------------------------------------------------------------------------------

    def counts(self) -> Counts:
        """(direction, verdict) → packets: 0 = refused as they left a pod, 1 = as they came to one."""
        found: Counts = {}
        for raw, value in self._counters.items():
            packets = sum(struct.unpack(f"={len(value) // 8}Q", value)[0::2])
            direction, code = divmod(int.from_bytes(raw, "little"), 256)
            if packets and code:
                found[direction, Verdict(code)] = packets  # type: ignore[call-arg]
        return found

    def waiting_to_be_told(self) -> int:
        """Records that were folded and are not yet part of a later record."""
        return sum(struct.unpack("=QII", value)[2] for _, value in self._folds.items())

    def lost(self) -> int:
        value = self._lost.lookup(bytes(4)) or b""
        return sum(struct.unpack(f"={len(value) // 8}Q", value))

    def _be_quiet(self) -> None:
        """New pods' kernels announce their multicast groups (MLD) for two seconds; wait until they have done."""
        last, since = self.counts(), time.monotonic()

        def silent() -> bool:
            nonlocal last, since
            now = self.counts()
            if now != last:
                last, since = now, time.monotonic()
            return time.monotonic() - since > 2.5

        until(silent, "the new pods' kernels are quiet", 20)

    # ---- what the flow log says -----------------------------------------------------------------------------------

    def flows(self, since_ns: int, **flow_filter: Any) -> list[dict[str, Any]]:
        """Flows since a moment of the wall clock that a filter chooses (weft.flows.query.FlowFilter)."""
        request = {"since": timestamp(since_ns), "whitelist": [flow_filter]}
        answers = [json.loads(line) for line in self.lab.client.stream("POST", "/v1/flows", request)]
        return [answer["flow"] for answer in answers]

    def drain(self) -> dict[str, Heard]:
        """What has come in elsewhere since the last time."""
        ears = {"friend": self.at_friend, "node": self.at_node, "outside": self.outside}
        return {name: ear.drain() for name, ear in ears.items()}

    def listen(self) -> None:
        """Forget what was heard so far."""
        self.at_victim.drain()
        self.drain()

    def at_the_victim(self) -> list[bytes]:
        """What has come in at the victim, without the friend's conversation and the node's readiness probes: those are
        the frames from their addresses that are not marked."""
        innocent = {ip_address(text).packed for text in (self.friend.v4, self.friend.v6, self.router4, self.router6)}
        frames = self.at_victim.drain().frames
        return [frame for frame in frames if MARK in frame or not innocent & {frame[26:30], frame[22:38]}]


@contextmanager
def _pinned(path: Path) -> Iterator[Map]:
    opened = Map.pinned(path)
    try:
        yield opened
    finally:
        opened.close()
