"""``weft bpf MAP``: what the kernel holds, read back from it, with names where the agent knows them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from weft.datapath import layouts
from weft.datapath.stats import counters, flows
from weft.model.desired import (
    ACTION_ALLOW,
    ACTION_DENY,
    FLAG_OTHER,
    IPCACHE_HOST,
    IPCACHE_REMOTE,
    IPCACHE_SERVICE,
    IPCACHE_UNASSIGNED,
    PolicyKey,
)
from weft.model.net import ICMP, ICMPV6, PROTOCOL_NAMES, RuleId, from_wide
from weft.model.origin import spell
from weft.model.policy import Rule
from weft.model.verdicts import VERDICTS

if TYPE_CHECKING:
    from weft.agent.agent import Agent

Row = dict[str, Any]
Dump = dict[str, Any]

_FLOW_STATES = {
    layouts.FLOW_NEW: "new",
    layouts.FLOW_OPEN: "open",
    layouts.FLOW_CLOSING: "closing",
    layouts.FLOW_CUT: "cut",
}
_IPCACHE_FLAGS = {
    IPCACHE_HOST: "host",
    IPCACHE_SERVICE: "service",
    IPCACHE_UNASSIGNED: "unassigned",
    IPCACHE_REMOTE: "remote",
}


def _dump(columns: str, rows: Iterable[Row]) -> Dump:
    return {"columns": columns.split(), "rows": list(rows)}


def policy(agent: Agent) -> Dump:
    """Every table, its longest matches last."""
    rules = agent.engine.compiled.rules
    held = agent.datapath.read()
    rows = (
        {
            "TABLE": key.table,
            "CLASS": "other" if key.bits >= 64 and not key.class_ else key.class_ if key.bits >= 64 else "*",
            "PROTO": PROTOCOL_NAMES.get(key.protocol, key.protocol) if key.bits >= 72 else "*",
            "PORT": _ports(key),
            "ACTION": {ACTION_ALLOW: "allow", ACTION_DENY: "deny"}.get(entry.action, "none"),
            "RULE": _rule(rules.get(entry.rule)) or ("see-other" if entry.flags & FLAG_OTHER else ""),
        }
        for table in sorted(held.tables)
        for key, entry in sorted(held.tables[table].items(), key=lambda item: (item[0].class_, item[0].bits, item[0]))
    )
    return _dump("TABLE CLASS PROTO PORT ACTION RULE", rows)


def _ports(key: PolicyKey) -> str:
    if key.bits <= 72:
        return "*"
    last = key.port + (1 << 88 - key.bits) - 1
    if key.protocol in (ICMP, ICMPV6):
        return f"type {key.port >> 8}"
    return str(key.port) if last == key.port else f"{key.port}-{last}"


def _rule(rule: Rule | None) -> str:
    return f"{rule.policy}:{spell(rule.path)}" if rule else ""


def endpoints(agent: Agent) -> Dump:
    rows = (
        {
            "ADDRESS": str(from_wide(wide)),
            "ENDPOINT": entry.id,
            "IDENTITY": entry.identity,
            "CLASS": entry.class_,
            "INGRESS": entry.ingress_table or "open",
            "EGRESS": entry.egress_table or "open",
            "MAC": entry.mac.hex(":"),
            "IFINDEX": entry.ifindex,
        }
        for wide, entry in sorted(agent.datapath.read().endpoints.items())
    )
    return _dump("ADDRESS ENDPOINT IDENTITY CLASS INGRESS EGRESS MAC IFINDEX", rows)


def ipcache(agent: Agent) -> Dump:
    rows = (
        {
            "PREFIX": str(prefix),
            "IDENTITY": entry.identity,
            "CLASS": entry.class_,
            "FLAGS": ",".join(name for bit, name in _IPCACHE_FLAGS.items() if entry.flags & bit),
        }
        for prefix, entry in sorted(agent.datapath.read().ipcache.items())
    )
    return _dump("PREFIX IDENTITY CLASS FLAGS", rows)


def services(agent: Agent) -> Dump:
    held = agent.datapath.read()
    rows = (
        {
            "FRONTEND": f"{from_wide(key.address)} {key.port}/{PROTOCOL_NAMES.get(key.protocol, key.protocol)}",
            "AFFINITY": entry.affinity_seconds or "",
            "BACKENDS": ", ".join(f"{from_wide(b.address)} {b.port}" for b in held.backends.get(entry.backends, ())),
        }
        for key, entry in sorted(held.services.items())
    )
    return _dump("FRONTEND AFFINITY BACKENDS", rows)


def flow_table(agent: Agent) -> Dump:
    """Open flows, the initiator first."""
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    rules, rows = agent.engine.compiled.rules, []
    for key, flow in flows(agent.datapath):
        ends = [(from_wide(key.address_0), key.port_0), (from_wide(key.address_1), key.port_1)]
        (a, a_port), (b, b_port) = reversed(ends) if flow.initiator else ends
        rows.append(
            {
                "PROTO": PROTOCOL_NAMES.get(key.protocol, key.protocol),
                "FROM": f"{a} {a_port}",
                "TO": f"{b} {b_port}",
                "STATE": _FLOW_STATES[flow.state],
                "IDLE": f"{max(0, now - flow.last_seen_ns) // 10**9} s",
                "REVISION": flow.revision,
                "EGRESS": _rule(rules.get(RuleId(flow.rule_0))),
                "INGRESS": _rule(rules.get(RuleId(flow.rule_1))),
            }
        )
    return _dump("PROTO FROM TO STATE IDLE REVISION EGRESS INGRESS", sorted(rows, key=lambda row: str(row["FROM"])))


def metrics(agent: Agent) -> Dump:
    rows = (
        {
            "REASON": VERDICTS[code].name,
            "DIRECTION": "INGRESS" if direction else "EGRESS",
            "PACKETS": amount.packets,
            "BYTES": amount.bytes,
            "MEANING": VERDICTS[code].text,
        }
        for (direction, code), amount in sorted(counters(agent.datapath).items(), key=lambda item: item[0][1])
    )
    return _dump("REASON DIRECTION PACKETS BYTES MEANING", rows)


DUMPS: dict[str, Callable[[Agent], Dump]] = {
    "policy": policy,
    "endpoints": endpoints,
    "ipcache": ipcache,
    "services": services,
    "flows": flow_table,
    "metrics": metrics,
}
