"""Which backend answers: readiness, deletion, scaling, affinity, and nobody at all."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.lab import Lab, Pod, Question, until
from tests.lab.inside import python
from tests.lab.tools import tool
from tests.lab.traces import pinned_map
from tests.services.manifests import (
    ASK,
    WEB,
    apply,
    cluster_ips,
    deployment,
    endpoint_slice,
    pod,
    service,
)  # fmt: skip
from weft.datapath.maps import Map

SERVER = {"app": "server"}
NOT_READY = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}


def answering(client: Pod, address: str, number: int = 24, protocol: str = "tcp", port: int = 80) -> set[str]:
    """Names of the backends that answered ``number`` connections; failures are named by their outcome. Of two backends
    one stays unseen in 24 answers once in eight million times."""
    answers = client.prober().ask([Question(protocol, address, port)] * number, 2000)
    return {answer.server or answer.outcome for answer in answers}


def two_servers(lab: Lab) -> None:
    for name in ("one", "two"):
        lab.serve(name, "tcp:8080", "udp:8080", labels=SERVER)


def test_connections_spread_over_all_backends(lab: Lab) -> None:
    for name in ("one", "two", "three", "four"):
        lab.serve(name, "tcp:8080", "udp:8080", labels=SERVER)
    apply(lab, service("web"))
    client = lab.run("client")
    for protocol, port, address in zip(("tcp", "udp"), (80, 53), cluster_ips(lab, "web"), strict=True):
        answers = client.prober().ask([Question(protocol, address, port)] * 400, 5000)
        counts = Counter(answer.server for answer in answers)
        assert counts.keys() == {"one", "two", "three", "four"}, counts
        assert all(50 <= count <= 150 for count in counts.values()), counts  # 100 expected, 5.7 standard deviations


@pytest.mark.parametrize("kind", ["tcp", "http", "exec"])
def test_a_probe_takes_a_backend_out_and_in_again(lab: Lab, kind: str) -> None:
    """Within a second: the probes' period."""
    flag = f"/tmp/{lab.name}-{kind}"
    probes: dict[str, dict[str, object]] = {
        "tcp": {"tcpSocket": {"port": 9000}},
        "http": {"httpGet": {"path": "/", "port": 9000}},
        "exec": {"exec": {"command": ["test", "-e", flag]}},
    }
    readiness = {**probes[kind], "periodSeconds": 1, "failureThreshold": 1}
    lab.serve("steady", "tcp:8080", labels=SERVER)
    moody = lab.serve("moody", "tcp:8080", labels=SERVER, readiness=readiness, wait="Running")
    apply(lab, service("web"))
    client, address = lab.run("client"), cluster_ips(lab, "web")[0]
    assert answering(client, address) == {"steady"}
    for _ in range(2):
        with well(moody, kind, flag):
            until(lambda: answering(client, address) == {"steady", "moody"}, "the ready backend is in", 2)
        until(lambda: answering(client, address) == {"steady"}, "the backend that is not ready is out", 2)


@contextmanager
def well(moody: Pod, kind: str, flag: str) -> Iterator[None]:
    """What the probe asks for is there."""
    argv = ["sleep", "infinity"] if kind == "exec" else [tool("server"), "moody", "tcp:9000"]
    if kind == "exec":
        assert moody.exec("touch", flag).returncode == 0
    process = subprocess.Popen(moody.argv(*argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield
    finally:
        process.kill()
        process.communicate()
        if kind == "exec":
            moody.exec("rm", flag)


def test_a_deleted_backend_is_no_longer_chosen(lab: Lab) -> None:
    two_servers(lab)
    apply(lab, service("web"))
    client, address = lab.run("client"), cluster_ips(lab, "web")[0]
    assert answering(client, address) == {"one", "two"}
    lab.delete("pods", "two")
    assert answering(client, address) == {"one"}
    assert answering(client, address, protocol="udp", port=53) == {"one"}


def test_a_backend_that_ends_is_used_only_when_there_is_no_other(lab: Lab) -> None:
    """KEP-1669: it still answers while it ends, but new connections go elsewhere if they can."""
    deaf = ["sh", "-c", f"trap '' TERM; exec {tool('server')} -s ending tcp:8080"]
    apply(lab, pod("ending", deaf, "server", terminationGracePeriodSeconds=2), service("web", WEB))
    lab.pod("ending", wait="Ready")
    lab.serve("staying", "tcp:8080", labels=SERVER)
    client, address = lab.run("client"), cluster_ips(lab, "web")[0]
    until(lambda: answering(client, address) == {"ending", "staying"}, "both answer")
    with ThreadPoolExecutor() as beside:
        gone = beside.submit(lab.delete, "pods", "ending")
        until(lambda: answering(client, address) == {"staying"}, "the one that ends is out")
        assert not gone.done()
        lab.delete("pods", "staying")
        assert answering(client, address) == {"ending"}
        gone.result()
    assert answering(client, address, 1) <= {"refused", "unreachable"}


def test_addresses_that_are_not_ready_may_be_published(lab: Lab) -> None:
    lab.serve("server", "tcp:8080", labels=SERVER, readiness=NOT_READY, wait="Running")
    apply(lab, service("web", WEB), service("all", WEB, publishNotReadyAddresses=True))
    client = lab.run("client")
    assert answering(client, cluster_ips(lab, "all")[0], 1) == {"server"}
    assert answering(client, cluster_ips(lab, "web")[0], 1) <= {"refused", "unreachable"}


def test_without_backends_every_call_is_refused_at_once(lab: Lab) -> None:
    apply(lab, service("web"))
    client = lab.run("client")
    code = """
def error(call):
    start = time.monotonic()
    try: call()
    except OSError as problem: return [problem.errno in (111, 113), time.monotonic() - start < 1]
    return 'no error'
calls = []
for address in arguments:
    for kind, port in ((socket.SOCK_STREAM, 80), (socket.SOCK_DGRAM, 53)):
        calls.append(error(lambda: socket.socket(family(address), kind).connect((address, port))))
    calls.append(error(lambda: socket.socket(family(address), socket.SOCK_DGRAM).sendto(b'x', (address, 53))))
mapped = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
calls.append(error(lambda: mapped.connect(('::ffff:' + arguments[0], 80))))
say(calls)
"""
    assert python(client, code, *cluster_ips(lab, "web")) == [[True, True]] * 7

    def refused() -> set[str]:
        flows = lab.observe(source_pod=["default/client"], verdict=["DROPPED"])
        return {flow["IP"]["destination"] for flow in flows if flow["drop_reason_desc"] == "SERVICE_BACKEND_NOT_FOUND"}

    try:
        until(lambda: refused() >= {*cluster_ips(lab, "web")}, "the refusals are in the log")
    except AssertionError as error:  # whose they are taken for, if they are there
        raise AssertionError(f"{refused()}; of all pods: {lab.observe(20, verdict=['DROPPED'])}") from error


def test_endpoint_slices_lead_outside(lab: Lab) -> None:
    apply(
        lab,
        service("world", WEB, app=None),
        endpoint_slice("world", 4, 8080, "203.0.113.77"),
        endpoint_slice("world", 6, 8080, "2001:db8:113::77"),
    )
    client = lab.run("client")
    for address in cluster_ips(lab, "world"):
        assert answering(client, address, 3) == {"outside"}
    lab.delete("endpointslices", "world-4")
    v4, v6 = cluster_ips(lab, "world")
    assert answering(client, v4, 1) <= {"refused", "unreachable"}
    assert answering(client, v6, 1) == {"outside"}


def test_a_deployment_is_scaled(lab: Lab) -> None:
    server = [tool("server"), "-s", "scaled", "tcp:8080"]
    probe = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    client = lab.run("client")
    for replicas in (3, 1, 2):
        apply(lab, service("web", WEB, app="web"), deployment("web", replicas, server, probe))
        until(lambda: len(peers(client, cluster_ips(lab, "web")[0])) == replicas, f"{replicas} backends")  # noqa: B023
        names = [item["metadata"]["name"] for item in lab.get("pods", namespace="default")["items"]]
        assert len([name for name in names if name.startswith("web-")]) >= replicas
    lab.delete("deployments", "web")
    until(lambda: answering(client, cluster_ips(lab, "web")[0], 1) <= {"refused", "unreachable"}, "no backends")


def peers(client: Pod, service_address: str) -> set[str]:
    """Own ports are told apart by the backends' addresses: a socket's route says where it really went."""
    code = """
found = set()
for _ in range(40):
    try:
        with socket.create_connection((arguments[0], 80)) as s:
            here = '%08X:%04X' % (struct.unpack('<I', socket.inet_aton(s.getsockname()[0]))[0], s.getsockname()[1])
            found |= {line.split()[2] for line in open('/proc/net/tcp') if line.split()[1] == here}
    except OSError as error: found.add(str(error))
say(sorted(found))
"""
    return set(python(client, code, service_address))


def test_open_connections_outlive_their_service(lab: Lab) -> None:
    two_servers(lab)
    apply(lab, service("web"))
    client, address = lab.run("client"), cluster_ips(lab, "web")[0]
    held = client.hold(address, 80, interval_ms=5)
    lab.delete("services", "web")
    assert answering(client, address, 2) <= {"timeout", "unreachable", "refused"}
    ending = held.stop()
    assert ending.outcome == "held" and ending.rounds > 2


class TestAffinity:
    @pytest.fixture
    def clients(self, lab: Lab) -> list[Pod]:
        for name in ("one", "two", "three", "four"):
            lab.serve(name, "tcp:8080", "udp:8080", labels=SERVER)
        config = {"clientIP": {"timeoutSeconds": 3000}}
        apply(lab, service("web", WEB, ASK, sessionAffinity="ClientIP", sessionAffinityConfig=config))
        return [lab.run(f"client{number}") for number in range(8)]

    def test_a_client_stays_with_its_backend(self, lab: Lab, clients: list[Pod]) -> None:
        chosen = [answering(client, cluster_ips(lab, "web")[0]) for client in clients]
        assert all(len(each) == 1 for each in chosen), chosen
        assert len(set.union(*chosen)) > 1, chosen

    def test_until_the_backend_goes(self, lab: Lab, clients: list[Pod]) -> None:
        client, address = clients[0], cluster_ips(lab, "web")[0]
        (first,) = answering(client, address)
        others = [(other, answering(other, address)) for other in clients[1:]]
        lab.delete("pods", first)
        (second,) = answering(client, address)
        assert second in {"one", "two", "three", "four"} - {first}
        for other, chosen in others:  # whose backend is still there keeps it
            assert chosen == {first} or answering(other, address) == chosen

    def test_until_it_has_been_away_too_long(self, lab: Lab, clients: list[Pod]) -> None:
        client, address = clients[0], cluster_ips(lab, "web")[0]
        (first,) = answering(client, address)
        for _ in range(10):  # a new choice may fall on the old backend, one in four
            self.age(lab, 2900)
            assert answering(client, address) == {first}
        chosen = set()
        for _ in range(30):
            self.age(lab, 3100)
            chosen |= answering(client, address, 1)
        assert len(chosen) > 1

    def age(self, lab: Lab, seconds: int) -> None:
        """As if all clients had been silent for so long."""
        kept = Map.pinned(pinned_map(lab.name, "affinity"))
        try:
            for key, value in list(kept.items()):
                seen = int.from_bytes(value[-8:], "little") - seconds * 10**9
                kept.update(key, value[:-8] + (seen % 2**64).to_bytes(8, "little"))
        finally:
            kept.close()
