"""``weft agent --cleanup``: the machine as it was before the first agent, setting by setting."""

from __future__ import annotations

import json
import re
import subprocess

from tests.lab import Lab, traces, until
from tests.lab.netns import inside
from tests.lab.tools import ROOT
from tests.lab.waiting import SLOWNESS
from tests.layer7.scene import is_running
from weft.datapath.maps import Map

VOLATILE = re.compile(
    r"net\.ipv[46]\.(neigh\.|route\.|tcp_fastopen_key|.*\.stable_secret)|net\.netfilter\.nf_conntrack_count"
)
"""Numbers that move by themselves, or may not be read."""
POLICY = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: server}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress: [{toPorts: [{ports: [{port: "8080", protocol: TCP}], rules: {http: [{path: /public}]}}]}]
"""
COMMANDS = (
    "ip -o -d link show",
    "ip -o address show",
    "ip -4 route show table all",
    "ip -6 route show table all",
    "ip -4 rule",
    "ip -6 rule",
    "nft list ruleset",
    "bpftool net show",
)


class Watched(Lab):
    """Looks at the node before its first agent comes. Router advertisements are heard there, but on ``quiet``."""

    settings: dict[str, str]
    listings: dict[str, str]

    def start_agent(self) -> None:
        if not hasattr(self, "settings"):
            self.tell("ip link add quiet type veth peer name quieter")
            self.tell(
                "sysctl -w net.ipv6.conf.uplink.accept_ra=1 net.ipv6.conf.quiet.accept_ra=0 net.ipv4.ip_forward=0"
            )
            self.settings, self.listings = self.look()
        super().start_agent()

    def tell(self, command: str) -> str:
        argv = inside(self.namespaces.node, *command.split())
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

    def look(self) -> tuple[dict[str, str], dict[str, str]]:
        """Settings of the network, and what there is of devices, addresses, routes, rules, tables and programs."""
        lines = [line.partition(" = ") for line in self.tell("sysctl -e -a --pattern ^net[.]").splitlines()]
        settings = {name: value for name, _, value in lines if not VOLATILE.match(name)}
        return settings, {command: self.tell(command) for command in COMMANDS}


def test_everything_is_as_before() -> None:
    with Watched() as node:
        settings, listings = node.settings, node.listings
        during, others = node.look()
        changed = {name for name, value in settings.items() if during.get(name) != value}
        assert changed >= {"net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "net.ipv6.conf.uplink.accept_ra"}
        assert during["net.ipv6.conf.uplink.accept_ra"] == "2" and during["net.ipv6.conf.quiet.accept_ra"] == "0"
        assert all(others[command] != listings[command] for command in (COMMANDS[0], COMMANDS[2], "nft list ruleset"))
        node.serve("server", "tcp:8080", labels={"app": "server"})
        node.apply(POLICY)
        envoy = node.status()["envoy"]["pid"]
        assert envoy and "weft_proxy" in node.tell("ip -o link show")
        node.kill_agent()
        node.start_agent()  # what it finds set is its own doing, not the machine's
        node.kill_agent()
        maps = [Map.pinned(path) for pins in traces.node_pins(node.name) for path in pins.glob("v*/*")]
        numbers = {opened.id for opened in maps}
        for opened in maps:
            opened.close()
        assert len(numbers) > 10
        argv = node.agent_argv("--cleanup")
        done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, timeout=60 * SLOWNESS, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        after, there = node.look()
        assert {
            name: (settings.get(name), after.get(name)) for name in settings if settings[name] != after.get(name)
        } == {}
        assert after.keys() == settings.keys()
        assert there == listings
        assert traces.remains(node.name) == []
        assert not is_running(envoy)
        until(lambda: not numbers & loaded(), "no map is left in the kernel")


def loaded() -> set[int]:
    """Numbers of all maps that the kernel has."""
    listed = subprocess.run(["bpftool", "-j", "map", "list"], capture_output=True, text=True, check=True).stdout
    return {entry["id"] for entry in json.loads(listed)}
