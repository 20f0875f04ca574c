"""Socket hooks with real sockets: the test's own process is in a cgroup that has them."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.bpf.machine import Machine, machine
from weft.datapath import bpf, layouts, node, rtnetlink
from weft.model.net import TCP, UDP, to_wide
from weft.model.verdicts import Verdict

HOOKS = {"connect4": 10, "connect6": 11, "sendmsg4": 14, "sendmsg6": 15, "recvmsg4": 19, "recvmsg6": 20,
         "getpeername4": 29, "getpeername6": 30}  # fmt: skip
"""enum bpf_attach_type."""
SERVICE = {4: "10.96.0.10", 6: "fd00:96::10", 46: "::ffff:10.96.0.10"}
LOOP = {4: "127.0.0.1", 6: "::1", 46: "127.0.0.1"}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6, 46: socket.AF_INET6}
VERSIONS = pytest.mark.parametrize("version", [4, 6, 46], ids=["IPv4", "IPv6", "IPv4 by an IPv6 socket"])


@contextlib.contextmanager
def in_cgroup(folder: Path) -> Iterator[None]:
    """This process in a new cgroup, then back where it was."""
    root = node.mounts("cgroup2")[0]
    line = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    home = root / line[3:].lstrip("/")
    folder = root / folder
    folder.mkdir()
    try:
        (folder / "cgroup.procs").write_text(str(os.getpid()))
        yield
    finally:
        (home / "cgroup.procs").write_text(str(os.getpid()))
        folder.rmdir()


@pytest.fixture(scope="module")
def hooked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine whose socket hooks are attached to this process's cgroup."""
    name = Path(f"weft-test-{os.getpid()}-{os.urandom(3).hex()}")
    with machine(tmp_path_factory.mktemp("services")) as made, rtnetlink.Netlink() as netlink:
        netlink.request(rtnetlink.set_link("lo", up=True))
        with in_cgroup(name):
            folder = os.open(node.mounts("cgroup2")[0] / name, os.O_RDONLY)
            links = [
                bpf.link_create(made.programs[f"service_{hook}"], folder, kind, hook) for hook, kind in HOOKS.items()
            ]
            try:
                yield made
            finally:
                for fd in (*links, folder):
                    os.close(fd)


@pytest.fixture
def services(hooked: Machine) -> Machine:
    for name in ("services", "backends", "backend_members", "affinity"):
        hooked.maps[name].delete_batch(list(hooked.maps[name].keys()))
    hooked.forget()
    return hooked


Backends = list[tuple[str, int]]


def publish(
    made: Machine, address: str, protocol: int, backends: Backends, *, number: int = 1, port: int = 80,
    affinity: int = 0, members: bool = False, routed: int = 0,
) -> None:  # fmt: skip
    """A service port over backend list ``number``."""
    for slot, (host, target) in enumerate(backends):
        backend = layouts.Backend(to_wide(ip_address(host)), target)
        made.maps["backends"].update(layouts.BackendKey(number, slot).pack(), backend.pack())
        if affinity or members:
            made.maps["backend_members"].update(layouts.MemberKey(backend.address, target, number).pack(), b"\1")
    plain = ip_address(address)
    wide = to_wide(getattr(plain, "ipv4_mapped", None) or plain)
    key = layouts.ServiceKey(wide, port, protocol)
    made.maps["services"].update(key.pack(), layouts.Service(number, len(backends), affinity, 7, routed).pack())


@contextlib.contextmanager
def servers(version: int, kind: socket.SocketKind, count: int = 2) -> Iterator[list[socket.socket]]:
    """Bound (and listening) sockets on loopback."""
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(count):
            server = stack.enter_context(socket.socket(FAMILY[4 if version == 46 else version], kind))
            server.bind((LOOP[version], 0))
            server.settimeout(2)
            if kind == socket.SOCK_STREAM:
                server.listen()
            made.append(server)
        yield made


def where(sockets: list[socket.socket]) -> Backends:
    return [(sock.getsockname()[0], sock.getsockname()[1]) for sock in sockets]


def client(version: int, kind: socket.SocketKind) -> socket.socket:
    made = socket.socket(FAMILY[version], kind)
    made.settimeout(2)
    return made


def ready(backends: list[socket.socket]) -> int:
    """Which one has something to read or to accept."""
    found, _, _ = select.select(backends, [], [], 10)
    assert len(found) == 1, "one backend and no other"
    return backends.index(found[0])


def accepting(backends: list[socket.socket], dialler: socket.socket) -> int:
    """Which one the connection has reached."""
    number = ready(backends)
    accepted, peer = backends[number].accept()
    accepted.close()
    assert peer[1] == dialler.getsockname()[1]
    return number


@VERSIONS
def test_tcp_reaches_all_backends_and_sees_the_service(services: Machine, version: int) -> None:
    with servers(version, socket.SOCK_STREAM) as backends:
        publish(services, SERVICE[version], TCP, where(backends))
        reached: Counter[int] = Counter()
        for _ in range(40):
            with client(version, socket.SOCK_STREAM) as dialler:
                dialler.connect((SERVICE[version], 80))
                assert dialler.getpeername()[:2] == (SERVICE[version], 80)
                reached[accepting(backends, dialler)] += 1
        assert sum(reached.values()) == 40 and min(reached.values()) > 5


@VERSIONS
def test_a_routed_service_keeps_its_address(services: Machine, version: int) -> None:
    """Its connections go where the service's own address leads; not so its datagrams."""
    with servers(version, socket.SOCK_STREAM) as (own, backend):
        (address, port), mapped = own.getsockname()[:2], "::ffff:" if version == 46 else ""
        for routed in (0, 1):
            publish(services, address, TCP, where([backend]), port=port, routed=routed)
            with client(version, socket.SOCK_STREAM) as dialler:
                dialler.connect((mapped + address, port))
                assert accepting([backend, own], dialler) == routed
    with servers(version, socket.SOCK_DGRAM) as (own, backend), client(version, socket.SOCK_DGRAM) as dialler:
        (address, port), mapped = own.getsockname()[:2], "::ffff:" if version == 46 else ""
        publish(services, address, UDP, where([backend]), port=port, routed=1)
        dialler.connect((mapped + address, port))
        dialler.send(b"x")
        assert ready([backend, own]) == 0


@VERSIONS
def test_other_ports_and_protocols_are_not_translated(services: Machine, version: int) -> None:
    with servers(version, socket.SOCK_STREAM, 1) as backends:
        publish(services, SERVICE[version], UDP, where(backends))
        direct = ("::ffff:" if version == 46 else "") + LOOP[version], where(backends)[0][1]
        with client(version, socket.SOCK_STREAM) as dialler:
            dialler.connect(direct)
            assert dialler.getpeername()[:2] == direct
        with client(version, socket.SOCK_STREAM) as dialler, pytest.raises(OSError):
            dialler.connect((SERVICE[version], 80))


@VERSIONS
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_service_without_backends_refuses_at_once(services: Machine, version: int, kind: socket.SocketKind) -> None:
    protocol = TCP if kind == socket.SOCK_STREAM else UDP
    publish(services, SERVICE[version], protocol, [])
    with client(version, kind) as dialler:
        assert dialler.connect_ex((SERVICE[version], 80)) == errno.ECONNREFUSED
    (event,) = services.events()
    assert (event.reason, event.destination_port, event.protocol) == (Verdict.NO_BACKEND, 80, protocol)
    assert event.cgroup and services.counted()[Verdict.NO_BACKEND]
    if kind == socket.SOCK_DGRAM:
        with client(version, kind) as sender, pytest.raises(ConnectionRefusedError):
            sender.sendto(b"x", (SERVICE[version], 80))


@VERSIONS
def test_connected_udp(services: Machine, version: int) -> None:
    with servers(version, socket.SOCK_DGRAM) as backends, client(version, socket.SOCK_DGRAM) as dialler:
        publish(services, SERVICE[version], UDP, where(backends))
        dialler.connect((SERVICE[version], 80))
        assert dialler.getpeername()[:2] == (SERVICE[version], 80)
        dialler.send(b"question")
        answer_one(backends)
        data, source = dialler.recvfrom(100)
        assert (data, source[:2]) == (b"question", (SERVICE[version], 80))
        direct = ("::ffff:" if version == 46 else "") + LOOP[version], where(backends)[0][1]
        dialler.connect(direct)
        assert dialler.getpeername()[:2] == direct, "it dialled something else since"


def answer_one(backends: list[socket.socket]) -> int:
    """Send back what one of them received; which one it was."""
    number = ready(backends)
    data, source = backends[number].recvfrom(100)
    backends[number].sendto(data, source)
    return number


@VERSIONS
def test_unconnected_udp_to_many_services(services: Machine, version: int) -> None:
    """Each answer comes from the service that was asked; a socket stays with its backend."""
    with servers(version, socket.SOCK_DGRAM, 6) as backends, client(version, socket.SOCK_DGRAM) as sender:
        for port in (1, 2, 3):
            publish(services, SERVICE[version], UDP, where(backends)[port * 2 - 2 : port * 2], number=port, port=port)
        chosen: dict[int, set[int]] = {1: set(), 2: set(), 3: set()}
        for port in (1, 2, 3) * 10:
            sender.sendto(b"%d" % port, (SERVICE[version], port))
            chosen[port].add(answer_one(backends))
            data, source = sender.recvfrom(100)
            assert (data, source[:2]) == (b"%d" % port, (SERVICE[version], port))
        assert [len(numbers) for numbers in chosen.values()] == [1, 1, 1]
        direct = ("::ffff:" if version == 46 else "") + LOOP[version], where(backends)[0][1]
        sender.sendto(b"direct", direct)
        answer_one(backends)


def test_a_backend_that_goes_is_left_and_one_that_stays_is_kept(services: Machine) -> None:
    with servers(4, socket.SOCK_DGRAM, 2) as backends, client(4, socket.SOCK_DGRAM) as sender:

        def chosen() -> int:
            sender.sendto(b"x", (SERVICE[4], 80))
            return answer_one(backends)

        publish(services, SERVICE[4], UDP, where(backends))
        first = chosen()
        publish(services, SERVICE[4], UDP, where(backends), number=2, members=True)
        assert {chosen() for _ in range(10)} == {first}, "the list is another one, the backend is still in it"
        publish(services, SERVICE[4], UDP, where([backends[1 - first]]), number=3, members=True)
        assert {chosen() for _ in range(10)} == {1 - first}


def test_two_services_with_the_same_backend(services: Machine) -> None:
    with servers(4, socket.SOCK_DGRAM, 1) as backends, client(4, socket.SOCK_DGRAM) as sender:
        for port in (1, 2):
            publish(services, SERVICE[4], UDP, where(backends), number=port, port=port)
        for port in (1, 2, 1, 1, 2):
            sender.sendto(b"x", (SERVICE[4], port))
            answer_one(backends)
            assert sender.recvfrom(100)[1] == (SERVICE[4], port)


def test_an_answer_that_comes_after_other_questions(services: Machine) -> None:
    with servers(4, socket.SOCK_DGRAM, 3) as backends, client(4, socket.SOCK_DGRAM) as sender:
        for port in (1, 2, 3):
            publish(services, SERVICE[4], UDP, where([backends[port - 1]]), number=port, port=port)
        for port in (1, 2, 3, 1):
            sender.sendto(b"x", (SERVICE[4], port))
        for port in (2, 3, 1):
            answer_one([backends[port - 1]])
            assert sender.recvfrom(100)[1] == (SERVICE[4], port)


def test_affinity_and_its_end(services: Machine) -> None:
    with servers(4, socket.SOCK_STREAM, 4) as backends:

        def chosen() -> int:
            with client(4, socket.SOCK_STREAM) as dialler:
                dialler.connect((SERVICE[4], 80))
                return accepting(backends, dialler)

        publish(services, SERVICE[4], TCP, where(backends), affinity=10800)
        first = chosen()
        assert {chosen() for _ in range(12)} == {first}
        publish(services, SERVICE[4], TCP, where(backends[::-1]), number=2, affinity=10800)
        assert chosen() == first, "another list, the same member"
        publish(services, SERVICE[4], TCP, where(backends), number=3, affinity=3600)
        seen = set()
        for _ in range(60):
            ((key, value),) = services.maps["affinity"].items()
            an_hour_ago = time.clock_gettime_ns(time.CLOCK_MONOTONIC) - 3601 * 10**9
            services.maps["affinity"].update(key, value[:24] + struct.pack("=q", an_hour_ago))
            seen.add(chosen())
        assert len(seen) > 1, "forgotten after its time"
        publish(services, SERVICE[4], TCP, where(backends), number=3, affinity=10800)
        first = chosen()
        others = [backend for number, backend in enumerate(backends) if number != first]
        publish(services, SERVICE[4], TCP, where(others), number=4, affinity=10800)
        assert chosen() != first, "no longer a member"
