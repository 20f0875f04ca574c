"""The loaded object in a network namespace of its own, run packet by packet (PROG_TEST_RUN); nothing is attached."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import NamedTuple

from tests.bpf.packets import GATEWAY, mac_of
from weft.built import built
from weft.datapath import bpf, layouts, netns, rtnetlink
from weft.datapath.events import HEADER, RECORD, EventReader
from weft.datapath.libbpf import Object
from weft.datapath.node import PROXY_DEVICE, PROXY_MAC
from weft.datapath.ways import make_proxy_network
from weft.model.net import to_wide
from weft.model.verdicts import Verdict

SIZES = {"endpoints": 64, "ipcache": 256, "policy": 1024, "flows": 256, "flow_count": 64, "fragments": 64}
SIZES |= {"services": 64, "backends": 64, "backend_members": 64, "affinity": 64, "events": 1 << 18}
GOES = {0: "stack", 2: "nowhere", 7: "pod"}
"""Return codes TC_ACT_OK, TC_ACT_SHOT, TC_ACT_REDIRECT."""
HOST, SERVICE, UNASSIGNED = layouts.IPCACHE_HOST, layouts.IPCACHE_SERVICE, layouts.IPCACHE_UNASSIGNED
REMOTE = layouts.IPCACHE_REMOTE


class Outcome(NamedTuple):
    verdict: Verdict
    goes: str
    """``pod`` (also: back where it came from), ``envoy``, ``stack`` or ``nowhere``."""
    packet: bytes


@dataclass(frozen=True)
class Pod:
    number: int
    ifindex: int
    device: str
    v4: str
    v6: str

    @property
    def mac(self) -> bytes:
        return mac_of(self.v4)

    def at(self, version: int) -> str:
        return self.v4 if version == 4 else self.v6


class Machine:
    """Pods are numbers: number N has 10.0.0.N, fd00::N, endpoint N, class N, identity 65536 + N and device ``podN``."""

    def __init__(self, loaded: Object, host_device: int, proxy_netns: Path) -> None:
        self.maps = {name: loaded.map(name) for name in loaded.maps if "." not in name}
        self.programs = {name: loaded.program(name) for name in loaded.programs}
        self.host_device, self._proxy_netns = host_device, proxy_netns
        with rtnetlink.Netlink() as netlink:
            self.proxy = rtnetlink.links(netlink)[PROXY_DEVICE]
        self.reader = EventReader(self.maps["events"])
        self.pods: dict[int, Pod] = {}
        self._fold_slots = range(self.maps["folds"].max_entries)

    # ---- what the agent would write -------------------------------------------------------------------------------

    def pod(self, number: int, *, ingress: int = 0, egress: int = 0, quota: int = 1000, scope: int = 0) -> Pod:
        """A new pod, or one whose policy tables change."""
        device = f"pod{number}"
        v4, v6 = f"10.0.0.{number}", f"fd00::{number:x}"
        if number not in self.pods:
            with rtnetlink.Netlink() as netlink:
                netlink.request(
                    rtnetlink.add_veth(device, GATEWAY, f"in{number}", mac_of(v4), 1500),
                    rtnetlink.set_link(device, up=True),
                    rtnetlink.set_link(f"in{number}", up=True),
                )
        made = self.pods[number] = Pod(number, rtnetlink.index_of(device), device, v4, v6)
        count = struct.pack("=I", number)
        if self.maps["flow_count"].lookup(count) is None:
            self.maps["flow_count"].update(count, layouts.FlowCount(0, quota).pack())
        entry = layouts.Endpoint(number, made.ifindex, 65536 + number, number, ingress, egress, made.mac, scope)
        for address in (v4, v6):
            self.maps["endpoints"].update(to_wide(ip_address(address)), entry.pack())
        return made

    def remove(self, pod: Pod) -> None:
        for address in (pod.v4, pod.v6):
            self.maps["endpoints"].delete(to_wide(ip_address(address)))

    def prefix(self, cidr: str, identity: int, class_: int, flags: int = 0) -> None:
        network = ip_network(cidr)
        bits = layouts.IPCACHE_PAD_BITS + network.prefixlen + (96 if network.version == 4 else 0)
        key = layouts.IpcacheKey(bits, to_wide(network.network_address))
        self.maps["ipcache"].update(key.pack(), layouts.IpcacheEntry(identity, class_, flags).pack())

    def rule(
        self, table: int, action: int, *, class_: int | None = None, protocol: int = 0, port: int = 0,
        bits: int | None = None, rule: int = 0, flags: int = 0, l7: int = 0,
    ) -> None:  # fmt: skip
        """An entry; its prefix length follows what is given: nothing = default, class, + protocol, + one whole port."""
        if bits is None:
            bits = 32 if class_ is None else 64 if not protocol else 72 if not port else 88
        key = layouts.PolicyKey(bits, table, class_ or 0, protocol, port)
        self.maps["policy"].update(key.pack(), layouts.PolicyEntry(rule, action, flags, l7).pack())

    def revision(self, number: int) -> None:
        self._set(revision=number, proxy_ifindex=self.proxy.ifindex, proxy_netns=self.proxy.peer_netns)

    def tunnel(self, ifindex: int) -> None:
        """Other nodes' pods send through this device; 0: by direct routing."""
        self._set(tunnel=ifindex)

    def _set(self, **fields: int) -> None:
        config = layouts.Config.unpack(self.maps["config"].lookup(bytes(4)) or b"")
        self.maps["config"].update(bytes(4), config._replace(**fields).pack())

    def forget(self) -> None:
        """No flows, no pieces, no old records; every quota unused."""
        for name in ("flows", "fragments"):
            self.maps[name].delete_batch(list(self.maps[name].keys()))
        for key, value in list(self.maps["flow_count"].items()):
            self.maps["flow_count"].update(key, layouts.FlowCount(0, layouts.FlowCount.unpack(value).limit).pack())
        self.maps["folds"].update_batch([(struct.pack("=I", slot), bytes(16)) for slot in self._fold_slots])
        self.reader.read()

    def proxy_listens(self, port: int, socket_: socket.socket) -> None:
        """A listening socket takes the place of Envoy's."""
        key = layouts.ProxyKey(socket_.family, port)
        self.maps["proxy_sockets"].update(key.pack(), struct.pack("=Q", socket_.fileno()))

    @contextlib.contextmanager
    def proxy_dials(self, source: tuple[str, int], target: tuple[str, int], mark: int) -> Iterator[None]:
        """Envoy has a socket that is about to open a connection; its own SYN is not seen by any program."""
        v6 = ":" in source[0]
        with netns.entered(self._proxy_netns):
            made = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET)
        with made:
            made.setsockopt(socket.IPPROTO_IPV6 if v6 else socket.SOL_IP, 75 if v6 else 19, 1)  # IP(V6)_TRANSPARENT
            made.setsockopt(socket.SOL_SOCKET, 36, mark)  # SO_MARK
            made.setblocking(False)
            made.bind(source)
            with contextlib.suppress(BlockingIOError):
                made.connect(target)
            yield

    # ---- packets --------------------------------------------------------------------------------------------------

    def from_pod(self, pod: Pod, packet: bytes) -> Outcome:
        return self._run("from_pod", packet, pod.ifindex, pod.ifindex)

    def to_pod(self, packet: bytes, *, received: bool = False) -> Outcome:
        """``received``: forwarded from outside, rather than made by the node itself."""
        device = self.pods[min(self.pods)].ifindex if received else 0
        return self._run("to_pod", packet, self.host_device, device)

    def from_proxy(self, packet: bytes) -> Outcome:
        return self._run("from_proxy", packet, self.proxy.ifindex, self.proxy.ifindex)

    def from_tunnel(self, packet: bytes) -> Outcome:
        """Without a word about what carried it."""
        device = self.pods[min(self.pods)].ifindex
        return self._run("from_tunnel", packet, device, device)

    def flood(self, pod: Pod, packets: Iterable[bytes]) -> None:
        """Many packets from a pod, without a look at what becomes of each."""
        context = struct.pack("=36xII148x", pod.ifindex, pod.ifindex)
        for packet in packets:
            bpf.prog_test_run(self.programs["from_pod"], packet, context)

    def _run(self, program: str, packet: bytes, ifindex: int, ingress_ifindex: int) -> Outcome:
        context = bytearray(192)  # struct __sk_buff
        struct.pack_into("=II", context, 36, ingress_ifindex, ifindex)
        before = self.counted()
        result = bpf.prog_test_run(self.programs[program], packet, bytes(context))
        after = self.counted()
        verdicts = [code for code in after if after[code] != before.get(code, 0)]
        assert len(verdicts) == 1 and after[verdicts[0]] == before.get(verdicts[0], 0) + 1, "counted exactly once"
        goes = GOES[result.retval]
        if goes == "pod" and result.data[:6] == PROXY_MAC:
            goes = "envoy"
        return Outcome(Verdict(verdicts[0]), goes, result.data)

    # ---- what came of it ------------------------------------------------------------------------------------------

    def counted(self) -> dict[int, int]:
        """Verdict code → packets, both directions."""
        found: dict[int, int] = {}
        for key, value in self.maps["counters"].items():
            packets = sum(struct.unpack(f"={len(value) // 8}Q", value)[0::2])
            code = int.from_bytes(key, "little") % 256
            found[code] = found.get(code, 0) + packets
        return {code: packets for code, packets in found.items() if packets}

    def events(self) -> list[layouts.FlowEvent]:
        """Records since the last call."""
        data = self.reader.read()
        return [layouts.FlowEvent.unpack(data, at + HEADER) for at in range(0, len(data), RECORD)]

    def flows(self) -> list[tuple[layouts.FlowKey, layouts.Flow]]:
        return [(layouts.FlowKey.unpack(key), layouts.Flow.unpack(value)) for key, value in self.maps["flows"].items()]

    def live(self, pod: Pod) -> int:
        """Flows that count against the pod."""
        value = self.maps["flow_count"].lookup(struct.pack("=I", pod.number))
        assert value is not None
        return layouts.FlowCount.unpack(value).live


@contextlib.contextmanager
def machine(folder: Path, sizes: Mapping[str, int] = SIZES) -> Iterator[Machine]:
    """In a namespace that the calling thread is in until the end."""
    path = folder / f"machine-{uuid.uuid4().hex[:8]}"
    home = netns.create(path)
    try:
        with netns.entered(home), Object(built("bpf/weft.bpf.o")) as loaded:
            for name, size in sizes.items():
                loaded.resize(name, size)
            loaded.load()
            with rtnetlink.Netlink() as netlink:
                netlink.request(
                    rtnetlink.add_veth("weft_host", b"\2w\0\0\0\1", "weft_net", b"\2w\0\0\0\2", 1500),
                    rtnetlink.set_link("weft_host", up=True),
                    rtnetlink.set_link("weft_net", up=True),
                )
            proxy_netns = folder / f"envoy-{uuid.uuid4().hex[:8]}"
            make_proxy_network(proxy_netns, 1500)
            try:
                with rtnetlink.Netlink() as netlink:
                    netlink.request(rtnetlink.set_link(PROXY_DEVICE, up=True))
                made = Machine(loaded, rtnetlink.index_of("weft_host"), proxy_netns)
            except BaseException:
                netns.delete(proxy_netns)
                raise
            try:
                yield made
            finally:
                netns.delete(proxy_netns)
                made.reader.close()
                for opened in made.maps.values():
                    opened.close()
    finally:
        os.close(home)
        netns.delete(path)


@contextlib.contextmanager
def listening(device: str) -> Iterator[socket.socket]:
    """A packet socket: what arrives at or leaves a device."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as heard:
        heard.bind((device, 0))
        heard.settimeout(2)
        yield heard
