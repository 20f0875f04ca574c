"""The node's loaded datapath: maps, programs and links, pinned so that they outlive the agent.

Pins: ``<pin_dir>/v<layout>/<map>`` and ``<pin_dir>/links/<device or program>``. A version of the layout has a folder of
its own, made under another name and renamed when whole; links keep their place and change their program in one step.
So a death at any moment leaves the old programs with the old maps in force, or the new ones with theirs.

    open → set_up (node) → apply(read, steps) → enforce → bring_up (node)
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from weft.built import built
from weft.datapath import bpf, capacity, codec, features, layouts, netns, rtnetlink
from weft.datapath.errors import DatapathError
from weft.datapath.libbpf import Object
from weft.datapath.maps import Map
from weft.datapath.netlink import Netlink
from weft.datapath.node import HOST_DEVICE, PROXY_DEVICE, TUNNEL_DEVICE, NodePaths, is_pod_device, remove_pins
from weft.model.desired import BumpRevision, Desired, Step, Write

_ENCODED_AT_ONCE = 2048
"""Entries of a Write that are in the kernel's form at one time: what a big one allocates is not given back."""
FROM_POD, TO_POD, FROM_PROXY, FROM_TUNNEL = "from_pod", "to_pod", "from_proxy", "from_tunnel"
QUERY, REVIEW, DIALLED, START_EXPIRY = "query", "review", "dialled", "start_expiry"
PROXY_LISTEN, PROXY_OPENED, PROXY_FIND = "proxy_listen", "proxy_opened", "proxy_find"
_FIND_AT_ONCE = 64
_UNFINISHED = "__new"
"""End of the name of a folder that is being filled with pins."""
_TIMER_ATTEMPTS, _TIMER_PAUSE = 500, 0.01
"""bpf_timer_init() takes memory only where it need not wait: for a moment there may be none (Linux 6.18). Seconds."""


@dataclass(frozen=True, slots=True)
class Options:
    """How the datapath is sized and parted."""

    sizes: Mapping[str, int] = field(default_factory=dict)
    """Map name → max_entries (``events``: bytes, a power of two). Others as bpf/include/maps.h has them."""
    flow_quota: int = 0
    """Flows that one pod may have; 0 = a quarter of the table."""
    tcx: bool | None = None
    """Attach by tcx links; False = clsact filters; None = tcx where the kernel has it."""
    object: Path | None = None


class _Hook(NamedTuple):
    """Where a program is attached by link, and where the link is pinned."""

    pin: Path
    attach_type: int
    target: int
    """ifindex, or descriptor of the cgroup's folder."""
    number: int
    """What the link says of its target: ifindex, or the inode of cgroup or namespace."""


def _put_in_force(hook: _Hook, program: int) -> None:
    """A link with this program: the pinned one, changed in one step, or a new one if its target is another by now."""
    if hook.pin.exists():
        link = bpf.object_get(hook.pin)
        try:
            if bpf.link_target(link) == hook.number:
                bpf.link_update(link, program, hook.pin.name)
                return
        finally:
            os.close(link)
        hook.pin.unlink()
    link = bpf.link_create(program, hook.target, hook.attach_type, hook.pin.name)
    try:
        bpf.object_pin(link, hook.pin)
    finally:
        os.close(link)


class Datapath:
    """One node's maps and programs. Errors: DatapathError. Not thread-safe, but what attaches and detaches pods may
    run beside everything else."""

    def __init__(self, paths: NodePaths, options: Options, loaded: Object, folder: Path) -> None:
        self.paths, self.options, self._folder = paths, options, folder
        self._links = paths.pin_dir / "links"
        self.maps: dict[str, Map] = {name: loaded.map(name) for name in loaded.maps if "." not in name}
        self.programs: dict[str, int] = {name: bpf.duplicate(loaded.program(name)) for name in loaded.programs}
        self._socket_hooks = {
            name: attach
            for name in loaded.programs
            for kind, attach in [loaded.attach_type(name)]
            if kind == bpf.PROG_TYPE_CGROUP_SOCK_ADDR
        }
        self.tcx = features.has_tcx() if options.tcx is None else options.tcx

    # ---- opening --------------------------------------------------------------------------------------------------

    @classmethod
    def open(cls, paths: NodePaths, options: Options = Options()) -> Datapath:
        """Load the programs onto the pinned maps if those have the wanted shape, else onto new, empty ones.

        Nothing that is attached changes before ``enforce``.
        """
        with Object(options.object or built("bpf/weft.bpf.o")) as loaded:
            for name, size in options.sizes.items():
                loaded.resize(name, size)
            for name, like in (("flow_count", "endpoints"), ("flow_turns", "flows"), ("backend_members", "backends")):
                if name not in options.sizes:
                    loaded.resize(name, loaded.shape(like).max_entries)
            names = [name for name in loaded.maps if "." not in name]
            shapes = repr(sorted((name, tuple(loaded.shape(name))) for name in names))
            folder = paths.pin_dir / f"v{layouts.WEFT_LAYOUT_VERSION}_{zlib.crc32(shapes.encode()):08x}"
            if folder.exists():
                for name in names:
                    with contextlib.closing(Map.pinned(folder / name)) as pinned:
                        loaded.reuse(name, pinned.fd)
            loaded.load()
            (paths.pin_dir / "links").mkdir(parents=True, exist_ok=True)
            if not folder.exists():
                unfinished = folder.with_name(f"{folder.name}{_UNFINISHED}")
                remove_pins(unfinished)
                unfinished.mkdir()
                for name in names:
                    with contextlib.closing(loaded.map(name)) as made:
                        bpf.object_pin(made.fd, unfinished / name)
                unfinished.rename(folder)
            return cls(paths, options, loaded, folder)

    def close(self) -> None:
        """Let go of the descriptors. What is attached and pinned stays in force."""
        for opened in self.maps.values():
            opened.close()
        for fd in self.programs.values():
            os.close(fd)
        self.maps, self.programs = {}, {}

    def __enter__(self) -> Datapath:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def replaces_others(self) -> bool:
        """Whether maps of another shape are in force until ``enforce``."""
        return any(
            folder not in (self._links, self._folder) and not folder.name.endswith(_UNFINISHED)
            for folder in self.paths.pin_dir.iterdir()
        )

    def withdraw(self) -> None:
        """Instead of ``enforce``: what was in force stays so, and these maps go."""
        remove_pins(self._folder)

    # ---- attaching ------------------------------------------------------------------------------------------------

    def enforce(self) -> None:
        """These programs and maps, in force everywhere: sockets, weft_host, every pod. Safe to repeat.

        Each hook changes in one step, to programs that read maps which the caller has filled by ``apply`` before.
        Then the maps of other layouts go, and links whose device has gone.
        """
        self._start_expiry()
        self._set(node_netns=netns.cookie())
        self._hook_cgroup(self.paths.service_cgroup or self.paths.cgroup, self._socket_hooks)
        self.enforce_proxy()
        with Netlink() as netlink:
            devices = rtnetlink.links(netlink)
        self._set(tunnel=devices[TUNNEL_DEVICE].ifindex if TUNNEL_DEVICE in devices else 0)
        if TUNNEL_DEVICE in devices:
            self._attach(TUNNEL_DEVICE, devices[TUNNEL_DEVICE].ifindex, FROM_TUNNEL)
        if HOST_DEVICE in devices:
            self._attach(HOST_DEVICE, devices[HOST_DEVICE].ifindex, TO_POD)
        for name, device in devices.items():
            if is_pod_device(name):
                self._attach(name, device.ifindex, FROM_POD)
        for pin in list(self._links.iterdir()):
            if pin.name not in (*devices, *self._socket_hooks, PROXY_LISTEN, PROXY_OPENED):
                pin.unlink()
        for folder in list(self.paths.pin_dir.iterdir()):
            if folder not in (self._links, self._folder):
                remove_pins(folder)

    def watch_proxy(self, cgroup: Path) -> None:
        """Know every listener that an Envoy in this cgroup opens, from now on. Before it starts; safe to repeat; the
        link outlives the agent."""
        self._hook_cgroup(cgroup, {PROXY_OPENED: bpf.CGROUP_SOCK_OPS})

    def enforce_proxy(self) -> None:
        """The same at the way to Envoy, where there is one (weft.datapath.ways). Only then do the maps know of it."""
        path = self.paths.proxy_netns
        with Netlink() as netlink:
            device = rtnetlink.links(netlink).get(PROXY_DEVICE)
        if device is None or not netns.exists(path):
            self._set(proxy_ifindex=0, proxy_netns=0)
            return
        with netns.entered(path):
            self._find_listeners()
            with netns.own() as namespace:
                hook = _Hook(self._links / PROXY_LISTEN, bpf.SK_LOOKUP, namespace, os.fstat(namespace).st_ino)
                _put_in_force(hook, self.programs[PROXY_LISTEN])
        self._attach(PROXY_DEVICE, device.ifindex, FROM_PROXY)
        self._set(proxy_ifindex=device.ifindex, proxy_netns=device.peer_netns)

    def _find_listeners(self) -> None:
        """Enter those that listen since before these maps were made."""
        values = [values for _, values, _ in self.maps["policy"].batches()]
        wanted = {l7 for part in values for (l7,) in struct.iter_unpack("=6xH", part)}
        wanted |= {int.from_bytes(value, "little") for _, value in self.maps["routes"].items()}
        numbers = sorted(wanted - {0})
        for start in range(0, len(numbers), _FIND_AT_ONCE):
            part = numbers[start : start + _FIND_AT_ONCE]
            packet = bytes(14) + struct.pack(f"={len(part)}H", *part)
            bpf.prog_test_run(self.programs[PROXY_FIND], packet.ljust(64, b"\0"))

    def unwatch_proxy(self) -> None:
        """The cgroup is not Envoy's any more."""
        (self._links / PROXY_OPENED).unlink(missing_ok=True)

    def _hook_cgroup(self, path: Path, hooks: Mapping[str, int]) -> None:
        """Programs by name → attach type, on a cgroup's folder."""
        cgroup = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            number = os.fstat(cgroup).st_ino
            for name, attach_type in hooks.items():
                _put_in_force(_Hook(self._links / name, attach_type, cgroup, number), self.programs[name])
        finally:
            os.close(cgroup)

    def attach_pod(self, device: str, ifindex: int) -> None:
        """``from_pod`` on what the pod sends. Waits for RCU (8 ms) the first time."""
        self._attach(device, ifindex, FROM_POD)

    def attach_spare(self, device: str, ifindex: int) -> int | None:
        """The same for as long as the descriptor that it returns is open; None with clsact: as long as the device."""
        if self.tcx:
            return bpf.link_create(self.programs[FROM_POD], ifindex, bpf.TCX_INGRESS, device)
        self._attach(device, ifindex, FROM_POD)
        return None

    def keep_attached(self, device: str, link: int | None) -> None:
        """What ``attach_spare`` returned outlives the agent, as that of ``device``."""
        pin = self._links / device
        pin.unlink(missing_ok=True)
        if link is not None:
            bpf.object_pin(link, pin)

    def detach_pod(self, device: str) -> None:
        (self._links / device).unlink(missing_ok=True)

    def is_attached(self, device: str, ifindex: int) -> bool:
        """Whether the pod's device has our program."""
        pin = self._links / device
        if not self.tcx:
            with Netlink() as netlink:
                return FROM_POD in rtnetlink.filters(netlink, ifindex, rtnetlink.CLSACT_INGRESS)
        if not pin.exists():
            return False
        link = bpf.object_get(pin)
        try:
            return bpf.link_target(link) == ifindex
        finally:
            os.close(link)

    def _attach(self, device: str, ifindex: int, program: str) -> None:
        ingress, fd = program != TO_POD, self.programs[program]
        if self.tcx:
            attach_type = bpf.TCX_INGRESS if ingress else bpf.TCX_EGRESS
            _put_in_force(_Hook(self._links / device, attach_type, ifindex, ifindex), fd)
            return
        with Netlink() as netlink:
            netlink.request(rtnetlink.add_clsact(ifindex), ignore=(errno.EEXIST,))
            parent = rtnetlink.CLSACT_INGRESS if ingress else rtnetlink.CLSACT_EGRESS
            netlink.request(rtnetlink.replace_filter(ifindex, parent, fd, program))

    def _start_expiry(self) -> None:
        cpus = sorted(os.sched_getaffinity(0))
        try:
            for attempt in range(_TIMER_ATTEMPTS):
                result = bpf.prog_test_run(self.programs[START_EXPIRY], bytes(64)).retval
                if result != errno.ENOMEM:
                    break
                time.sleep(_TIMER_PAUSE)
                os.sched_setaffinity(0, {cpus[attempt % len(cpus)]})  # each CPU has memory of its own to give
        finally:
            os.sched_setaffinity(0, cpus)
        if result:
            raise DatapathError("start the flow table's expiry", result)

    # ---- the plan -------------------------------------------------------------------------------------------------

    def read(self) -> Desired:
        """What the maps hold."""
        return codec.read(self.maps)

    def apply(self, kernel: Desired, steps: Sequence[Step]) -> bool:
        """Carry out ``steps``, which lead on from ``kernel`` (what ``read`` gives, or what was applied last).

        Returns whether the revision was increased: then ``sweep``. Errors: CapacityError before the first write when
        the whole would not fit; another DatapathError leaves the steps before it done, which is safe.
        """
        capacity.check(kernel, steps, {name: opened.max_entries for name, opened in self.maps.items()})
        bumped = False
        for step in steps:
            if isinstance(step, BumpRevision):
                self.bump_revision()
                bumped = True
            else:
                self._write(step)
        return bumped

    def _write(self, write: Write) -> None:
        key, value = codec.CODECS[write.map]
        target = self.maps[write.map]
        if write.map == "endpoints":
            self._open_quotas({entry.id for entry in write.puts.values()})
        gone = {target.lookup(key(each)) for each in write.deletes} if write.map == "endpoints" else set()
        puts = iter(write.puts.items())
        while part := [(key(k), value(v)) for k, v in islice(puts, _ENCODED_AT_ONCE)]:
            target.update_batch(part)
        target.delete_batch([key(each) for each in write.deletes])
        self._close_quotas({layouts.Endpoint.unpack(raw).id for raw in gone if raw})

    def _open_quotas(self, endpoints: set[int]) -> None:
        """A pod may have flows from the moment it has an endpoint."""
        counts = self.maps["flow_count"]
        limit = self.options.flow_quota or max(self.maps["flows"].max_entries // 4, 1)
        for number in endpoints:
            if counts.lookup(number.to_bytes(4, "little")) is None:
                counts.update(number.to_bytes(4, "little"), layouts.FlowCount(0, limit).pack())

    def _close_quotas(self, endpoints: set[int]) -> None:
        if endpoints:
            alive = {layouts.Endpoint.unpack(value).id for _, value in self.maps["endpoints"].items()}
            self.maps["flow_count"].delete_batch([number.to_bytes(4, "little") for number in endpoints - alive])

    @property
    def revision(self) -> int:
        return layouts.Config.unpack(self.maps["config"].lookup(bytes(4)) or b"").revision

    def bump_revision(self) -> int:
        """Every open flow is decided again; returns the new revision."""
        following = (self.revision + 1) % (1 << 32)
        self._set(revision=following)
        return following

    def _set(self, **fields: int) -> None:
        """Of ``struct config``. A tick of its clock may get lost: no harm."""
        config = layouts.Config.unpack(self.maps["config"].lookup(bytes(4)) or b"")
        self.maps["config"].update(bytes(4), config._replace(**fields).pack())
