"""Gateway API's suite: what is read from its log, and what stands for its image."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster import build
from cluster.upstream import gateway
from cluster.upstream.ginkgo import FAILED, LEFT_OUT, PASSED, Result
from tests.lab.waiting import until

LOG = """\
=== RUN   TestConformance
    conformance.go:117: Running conformance tests with:
=== RUN   TestConformance/MeshBasic
    conformance.go:77: Running MeshBasic
=== RUN   TestConformance/MeshBasic/0_request
    pod.go:76: 2026-01-01T00:00:00Z: Request [client http://echo] failed, not ready yet: exit code 1 (after 1ms)
=== RUN   TestConformance/MeshPorts
=== RUN   TestConformance/MeshPorts/0_request
    pod.go:81: 2026-01-01T00:00:00Z: Response expectation failed for request: [client http://echo]  not ready yet: \
wanted status code to be one of [200], got 503 (after 30s)
=== RUN   TestConformance/MeshConsumerRoute
    conformance.go:56: Skipping MeshConsumerRoute: suite does not support MeshConsumerRoute
=== RUN   TestConformance/GatewayInfrastructure
    conformance.go:56: Skipping GatewayInfrastructure: suite does not support Gateway
--- FAIL: TestConformance (31.00s)
    --- PASS: TestConformance/MeshBasic (0.17s)
        --- PASS: TestConformance/MeshBasic/0_request (0.17s)
    --- FAIL: TestConformance/MeshPorts (30.01s)
        --- FAIL: TestConformance/MeshPorts/0_request (30.01s)
    --- SKIP: TestConformance/MeshConsumerRoute (0.00s)
    --- SKIP: TestConformance/GatewayInfrastructure (0.00s)
FAIL
"""


def test_each_test_for_meshes_has_an_outcome_and_a_reason_if_it_did_not_pass() -> None:
    assert gateway.results(LOG) == [
        Result("MeshBasic", PASSED),
        Result("MeshConsumerRoute", LEFT_OUT, "suite does not support MeshConsumerRoute"),
        Result("MeshPorts", FAILED, "wanted status code to be one of [200], got 503 (after 30s)"),
    ]


def test_a_suite_that_failed_before_its_tests_has_no_results() -> None:
    assert (
        gateway.results("=== RUN   TestConformance\n    suite.go:1: no nodes\n--- FAIL: TestConformance (0.1s)\n") == []
    )


def test_the_features_are_those_of_the_documentation() -> None:
    assert {"Mesh", "HTTPRoute", "GRPCRoute", "MeshConsumerRoute"} <= set(gateway.SUPPORTED)
    assert "HTTPRouteDestinationPortMatching" not in gateway.SUPPORTED and "Gateway" not in gateway.SUPPORTED


@contextmanager
def server(*words: str) -> Iterator[int]:
    """Its process, in a network namespace of its own."""
    inside = 'ip link set lo up && exec "$@"'
    with subprocess.Popen(
        ["unshare", "--net", "sh", "-c", inside, "sh", build.program("echo", "echo"), *words]
    ) as running:
        try:
            yield running.pid
        finally:
            running.kill()


def test_the_stand_in_asks_and_answers_in_the_words_that_the_suite_reads(tmp_path: Path) -> None:
    client = tmp_path / "client"
    client.symlink_to(build.program("echo", "echo"))
    url = "http://127.0.0.1/path?a=b"
    with server("--port=80", "--grpc=7070") as pid:

        def ask(*words: str, check: bool = True) -> str:
            argv = ["nsenter", "-t", str(pid), "--net", client, *words]
            return subprocess.run(argv, capture_output=True, text=True, check=check, timeout=30).stdout

        until(lambda: ask(url, check=False), "the server answers", 30)
        lines = ask(url, "--method=POST", "-H", "X-Two:b", "-H", "X-Two:a", "-H", "Host:shop").splitlines()
        assert lines[0] == f"[0] Url={url}" and "[0] StatusCode=200" in lines
        wanted = ("Method=POST", "URL=/path?a=b", "Host=shop", "Proto=HTTP/1.1", "ServicePort=80", "IP=127.0.0.1")
        assert {f"[0 body] {field}" for field in wanted} <= set(lines)
        two = [line for line in lines if "X-Two" in line]
        assert two == ["[0 body] RequestHeader=X-Two:b", "[0 body] RequestHeader=X-Two:a"], "in the client's order"
        assert len(ask(url, "--count=3").strip().split("\n\n")) == 3
        assert "[0 body] StatusCode=200" in ask("grpc://127.0.0.1:7070", "-H", "version:two").splitlines()
