"""Numbers for Prometheus. Names are Cilium's with weft's prefix where the meaning is the same; docs/METRICS.md lists
them, made of METRICS."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from weft.agent.status import report
from weft.datapath.stats import Counter, counters
from weft.model.verdicts import VERDICTS, Verdict

if TYPE_CHECKING:
    from weft.agent.agent import Agent

COUNTER, GAUGE = "counter", "gauge"
DIRECTIONS = ("EGRESS", "INGRESS")


class Metric(NamedTuple):
    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


_EACH = ("reason", "direction")
METRICS = (
    Metric("weft_build_info", GAUGE, ("version", "kernel", "attach"), "1; how the node's datapath is attached"),
    Metric("weft_problems", GAUGE, (), "What is wrong now; `weft status` tells it"),
    Metric("weft_forward_count_total", COUNTER, ("direction",), "Packets forwarded; INGRESS: to pods"),
    Metric("weft_forward_bytes_total", COUNTER, ("direction",), "Bytes forwarded"),
    Metric("weft_drop_count_total", COUNTER, _EACH, "Packets dropped; reason: docs/VERDICTS.md"),
    Metric("weft_drop_bytes_total", COUNTER, _EACH, "Bytes dropped"),
    Metric("weft_endpoint", GAUGE, (), "Pods of this node"),
    Metric("weft_endpoint_ready", GAUGE, (), "Pods of this node that are ready"),
    Metric("weft_endpoint_isolated", GAUGE, (), "Pods of this node that some policy selects"),
    Metric("weft_policy", GAUGE, (), "Policies in force"),
    Metric("weft_policy_rules", GAUGE, (), "Rules in force"),
    Metric("weft_policy_tables", GAUGE, (), "Policy tables of this node's pods"),
    Metric("weft_policy_classes", GAUGE, (), "Classes of peers that policy tells apart"),
    Metric("weft_policy_max_revision", GAUGE, (), "Revision of the policy in force"),
    Metric("weft_service_ports", GAUGE, (), "Addresses and ports of Services"),
    Metric("weft_service_backends", GAUGE, (), "Their backends"),
    Metric("weft_flows_open", GAUGE, (), "Connections in the flow table"),
    Metric("weft_flows_seen_total", COUNTER, (), "Flow records taken in"),
    Metric("weft_flows_stored", GAUGE, (), "Flow records that can be asked for"),
    Metric("weft_lost_events_total", COUNTER, ("source",), "Records that the kernel could not hand over"),
    Metric("weft_bpf_map_entries", GAUGE, ("map",), "Entries of a BPF map"),
    Metric("weft_bpf_map_capacity", GAUGE, ("map",), "Entries that it can hold (when full: docs/ARCHITECTURE.md)"),
    Metric("weft_proxy_up", GAUGE, (), "1: Envoy runs, for some rule or route needs it"),
    Metric("weft_proxy_memory_bytes", GAUGE, (), "Resident memory of Envoy"),
    Metric("weft_proxy_listeners", GAUGE, (), "Listeners that Envoy has taken"),
    Metric("weft_proxy_connections", GAUGE, (), "Clients' connections to Envoy"),
    Metric("weft_proxy_restarts_total", COUNTER, (), "Times that Envoy ended by itself, since the agent began"),
    Metric("weft_proxy_redirects_total", COUNTER, ("phase",), "Connections that the kernel sent to Envoy"),
    Metric("weft_source_connected", GAUGE, (), "1: the API server is in reach; else what it said last is in force"),
    Metric("weft_cni_requests_total", COUNTER, ("command", "code"), "The kubelet's requests; code 0: done, else CNI's"),
    Metric("process_resident_memory_bytes", GAUGE, (), "Resident memory of the agent"),
    Metric("weft_agent_anonymous_memory_bytes", GAUGE, (), "Memory of the agent that no file backs"),
    Metric("process_start_time_seconds", GAUGE, (), "When the agent began, in seconds since 1970"),
)
_BY_NAME = {metric.name: metric for metric in METRICS}


class Sample(NamedTuple):
    name: str
    values: tuple[str, ...]
    """Of the metric's labels, in their order."""
    value: float


async def collect(agent: Agent) -> str:
    """All of it, as Prometheus reads it."""
    return exposition(samples(await report(agent), counters(agent.datapath), agent.started.timestamp()))


def samples(status: Mapping[str, Any], packets: Mapping[tuple[int, int], Counter], began: float) -> Iterator[Sample]:
    """``status``: ``weft.agent.status.report``; ``packets``: ``weft.datapath.stats.counters``."""
    node, envoy, flows, policy = status["node"], status["envoy"], status["flows"], status["policy"]
    yield Sample("weft_build_info", (node["version"], node["kernel"], node["attach"]), 1)
    for (direction, code), amount in sorted(packets.items()):
        where, why = DIRECTIONS[direction], VERDICTS[code].name
        kind, labels = ("forward", (where,)) if code == Verdict.FORWARDED else ("drop", (why, where))
        yield Sample(f"weft_{kind}_count_total", labels, amount.packets)
        yield Sample(f"weft_{kind}_bytes_total", labels, amount.bytes)
    for each in status["maps"]:
        yield Sample("weft_bpf_map_entries", (each["name"],), each["entries"])
        yield Sample("weft_bpf_map_capacity", (each["name"],), each["max"])
    for phase, connections in envoy["sent"].items():
        yield Sample("weft_proxy_redirects_total", (str(phase),), connections)
    if about := status.get("kubernetes"):
        yield Sample("weft_source_connected", (), int(about["connected"]))
        for command, code, count in about["cni"]:
            yield Sample("weft_cni_requests_total", (command, str(code)), count)
    yield Sample("weft_lost_events_total", ("PERF_EVENT_RING_BUFFER",), flows["lost"])
    for name, value in {
        "weft_problems": len(status["problems"]),
        "weft_endpoint": status["pods"]["total"],
        "weft_endpoint_ready": status["pods"]["ready"],
        "weft_endpoint_isolated": policy["isolated"],
        "weft_policy": policy["policies"],
        "weft_policy_rules": policy["rules"],
        "weft_policy_tables": policy["tables"],
        "weft_policy_classes": policy["classes"],
        "weft_policy_max_revision": policy["revision"],
        "weft_service_ports": status["services"]["ports"],
        "weft_service_backends": status["services"]["backends"],
        "weft_flows_open": flows["open"],
        "weft_flows_seen_total": flows["seen"],
        "weft_flows_stored": flows["kept"],
        "weft_proxy_up": int(envoy["pid"] != 0),
        "weft_proxy_memory_bytes": envoy["memoryBytes"],
        "weft_proxy_listeners": envoy["listeners"],
        "weft_proxy_connections": envoy["connections"],
        "weft_proxy_restarts_total": envoy["restarts"],
        "process_resident_memory_bytes": status["memory"]["rssBytes"],
        "weft_agent_anonymous_memory_bytes": status["memory"]["anonymousBytes"],
        "process_start_time_seconds": began,
    }.items():
        yield Sample(name, (), value)


def exposition(found: Iterable[Sample]) -> str:
    """Prometheus' text format, in the order of METRICS. Label values are names, so nothing needs escaping.

    Errors: KeyError for a metric that METRICS does not have, ValueError for one with other labels.
    """
    lines: dict[str, list[str]] = {metric.name: [] for metric in METRICS}
    for name, values, value in found:
        pairs = ",".join(f'{key}="{text}"' for key, text in zip(_BY_NAME[name].labels, values, strict=True))
        lines[name].append(f"{name}{{{pairs}}} {value:.15g}\n" if pairs else f"{name} {value:.15g}\n")
    return "".join(
        f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.kind}\n{''.join(lines[metric.name])}"
        for metric in METRICS
        if lines[metric.name]
    )
