"""What watches over the agent: probes, metrics, logs, the nodes' table."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from types import SimpleNamespace
from typing import Any

import pytest

from tools import gen_metrics
from weft.agent import health, metrics
from weft.agent.agent import KERNEL
from weft.agent.logs import JsonLines
from weft.agent.status import summary
from weft.api.health import PortError
from weft.cli.clusterstatus import render, state
from weft.datapath.stats import Counter
from weft.model.verdicts import Verdict
from weft.sources.kubernetes.nodelease import NodeReport

STATUS: dict[str, Any] = {
    "node": {"version": "1", "kernel": "6.1", "attach": "tcx"},
    "pods": {"total": 3, "running": 3, "ready": 2},
    "services": {"ports": 4, "backends": 5},
    "policy": {"revision": 6, "policies": 7, "rules": 8, "tables": 9, "classes": 10, "isolated": 11},
    "flows": {"seen": 12, "kept": 13, "lost": 14, "open": 15},
    "envoy": {"pid": 16, "memoryBytes": 17, "listeners": 18, "connections": 19, "restarts": 20, "sent": {"HTTP": 21}},
    "memory": {"rssBytes": 22, "anonymousBytes": 23},
    "maps": [{"name": "policy", "entries": 24, "max": 25}],
    "problems": ["one"],
    "kubernetes": {"connected": True, "cni": [("ADD", 0, 27), ("ADD", 11, 28)]},
}
PACKETS = {(0, int(Verdict.FORWARDED)): Counter(10, 1000), (1, int(Verdict.POLICY_DENIED)): Counter(3, 222)}


def test_every_metric_is_there_and_documented() -> None:
    found = list(metrics.samples(STATUS, PACKETS, 26.5))
    assert {sample.name for sample in found} == {metric.name for metric in metrics.METRICS}
    assert gen_metrics.main(["--check"]) == 0


def test_the_text_format() -> None:
    lines = metrics.exposition(metrics.samples(STATUS, PACKETS, 26.5)).splitlines()
    for line in (
        "# TYPE weft_drop_count_total counter",
        'weft_drop_count_total{reason="POLICY_DENIED",direction="INGRESS"} 3',
        'weft_drop_bytes_total{reason="POLICY_DENIED",direction="INGRESS"} 222',
        'weft_forward_count_total{direction="EGRESS"} 10',
        'weft_bpf_map_capacity{map="policy"} 25',
        "weft_proxy_up 1",
        'weft_cni_requests_total{command="ADD",code="11"} 28',
        "process_start_time_seconds 26.5",
    ):
        assert line in lines
    assert len(lines) == len(set(lines))


def test_an_undocumented_metric_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        metrics.exposition([metrics.Sample("weft_unheard_of", (), 1)])
    with pytest.raises(ValueError, match="zip"):
        metrics.exposition([metrics.Sample("weft_drop_count_total", ("POLICY_DENIED",), 1)])


@contextmanager
def free_ports() -> Any:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ports = one.getsockname()[1], two.getsockname()[1]
    yield ports


async def ask(port: int, path: str) -> tuple[int, str]:
    def get() -> tuple[int, str]:
        asking = HTTPConnection("127.0.0.1", port, timeout=30)
        asking.request("GET", path)
        answer = asking.getresponse()
        return answer.status, answer.read().decode()

    return await asyncio.to_thread(get)


def test_probes_are_answered_from_the_first_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    async def collect(agent: SimpleNamespace) -> str:
        return f"{agent.name}\n"

    monkeypatch.setattr(metrics, "collect", collect)
    agent = SimpleNamespace(name="weft_of_agent", ended=[], problems={})

    async def scene(ports: Sequence[int]) -> None:
        probes, numbers = ports
        async with health.served(probes, numbers) as about:
            assert await ask(probes, "/healthz") == (200, "ok\n")
            assert await ask(probes, "/readyz") == (503, "the agent is starting\n")
            assert await ask(numbers, "/metrics") == (200, "")
            about.agent = agent  # type: ignore[assignment]
            assert await ask(probes, "/readyz") == (200, "ok\n")
            assert await ask(numbers, "/metrics") == (200, "weft_of_agent\n")
            agent.problems[KERNEL] = "the last good plan is in force"
            assert await ask(probes, "/readyz") == (503, "the last good plan is in force\n")
            assert await ask(probes, "/healthz") == (200, "ok\n")
            agent.ended.append("watch ended: boom; restart the agent")
            assert await ask(probes, "/healthz") == (503, "watch ended: boom; restart the agent\n")
            assert (await ask(probes, "/v1/status"))[0] == 404

    with free_ports() as ports:
        asyncio.run(scene(ports))


def test_a_port_that_is_taken_is_named() -> None:
    async def scene(port: int) -> None:
        async with health.served(port, 0):
            pytest.fail("nobody can listen there")

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortError, match=f"--health-port {port}: somebody else listens there"):
            asyncio.run(scene(port))


def test_a_json_line() -> None:
    try:
        raise ValueError("boom")
    except ValueError as error:
        record = logging.LogRecord("weft.x", logging.ERROR, "f", 1, "it %s\n2", ("is",), (type(error), error, None))
    record.created = 0.5
    line = JsonLines().format(record)
    assert "\n" not in line
    said = json.loads(line)
    assert said.pop("error").endswith("ValueError: boom")
    assert said == {
        "time": "1970-01-01T00:00:00.500+00:00",
        "level": "error",
        "logger": "weft.x",
        "message": "it is\n2",
    }


def test_what_a_node_tells_the_others() -> None:
    """Asked for every few seconds: no map is walked but the counters."""
    drop = Verdict.POLICY_DENIED.to_bytes(4, "little"), (7).to_bytes(8, "little") + bytes(8)
    agent: Any = SimpleNamespace(
        describe=lambda: {"pods": {"total": 4, "running": 4, "ready": 3}},
        datapath=SimpleNamespace(revision=2, maps={"counters": dict([drop])}),
        engine=SimpleNamespace(world=SimpleNamespace(policies=[1, 2, 3])),
        all_problems=lambda: ["no kernel" * 99] * 9,
    )
    said = summary(agent)
    assert said.pop("memoryBytes") > 1e6 and said.pop("version") and said.pop("kernel")
    assert [len(problem) for problem in said.pop("problems")] == [300] * 5
    assert said == {"revision": 2, "policies": 3, "pods": 4, "ready": 3, "drops": 7}


def test_the_nodes_table() -> None:
    said = {"version": "1", "revision": 2, "policies": 3, "pods": 4, "ready": 5, "drops": 6, "memoryBytes": 7e6}
    good = NodeReport("a", 3, {**said, "problems": []})
    bad = NodeReport("b", 3, {**said, "problems": ["no kernel", "no Envoy"]})
    silent, missing = NodeReport("c", 99, said), NodeReport("d", None, {})
    assert [state(one) for one in (good, bad, silent, missing)] == ["ok", "2 problems", "silent for 99 s", "no agent"]
    assert render([good, bad, silent, missing]).splitlines() == [
        "NODE  STATE            VERSION  REVISION  POLICIES  PODS  READY  DROPS  MEMORY",
        "a     ok               1        2         3         4     5      6      7.0 MB",
        "b     2 problems       1        2         3         4     5      6      7.0 MB",
        "c     silent for 99 s  1        2         3         4     5      6      7.0 MB",
        "d     no agent",
        "PROBLEM   b: no kernel",
        "PROBLEM   b: no Envoy",
    ]
