"""Layer 7's other prices: Envoy's memory by the number of rule sets, and the time until a rule is in force."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.arms import PORT
from bench.l7_arms import answers, refused
from bench.limits import Row
from bench.tools import percentile, tool
from tests.lab.lab import Lab
from tests.lab.netns import ip
from weft.datapath import netns
from weft.datapath.node import mounts
from weft.model.desired import FIRST_LISTENER
from weft.model.http import HttpMatch, HttpPermission, HttpRuleSet
from weft.model.net import RuleId
from weft.proxy.proxy import Proxy

SETS = (1, 10, 100)
ALTERNATIVES = 3
"""In each rule set."""

POLICY = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {{name: {name}}}
spec:
  endpointSelector: {{matchLabels: {{app: {name}}}}}
  ingress:
  - fromEndpoints: [{{matchLabels: {{app: client}}}}]
    toPorts: [{{ports: [{{port: "{port}", protocol: TCP}}], rules: {{http: [{{method: GET, path: "{path}"}}]}}}}]
"""


def measure(rounds: int, quick: bool, say: Callable[[str], None]) -> list[Row]:
    found = []
    for count in SETS:
        resident, anonymous = memory(count)
        note = f"{anonymous / 1e6:.1f} MB of it anonymous"
        sets = f"{count} rule set{'s' if count > 1 else ''}"
        found.append(Row("weft", f"Envoy's memory with {sets}", resident / 1e6, "MB", note=note))
    say("l7: memory")
    first, further = [], []
    for _ in range(rounds):
        times = _apply(5 if quick else 20)
        first.append(times[0])
        further += times[1:]
    say("l7: applies")
    return [
        *found,
        *_times("first http rule in force, Envoy's start included", first),
        *_times("another http rule in force", further),
    ]


def memory(count: int) -> tuple[int, int]:
    """Bytes of an Envoy with so many listeners: resident, and anonymous of these."""
    folder = Path(tempfile.mkdtemp(prefix="bench-l7-"))
    cgroup = mounts("cgroup2")[0] / f"bench-l7-{uuid.uuid4().hex[:6]}"
    listeners = {FIRST_LISTENER + number: _rule_set(number) for number in range(count)}
    try:
        folder.chmod(0o755)
        with netns.scratch():
            ip("link", "set", "lo", "up")
            proxy = Proxy(folder / "run", cgroup, "bench")
            try:
                if refused := proxy.ensure(listeners, {}, 30):
                    raise RuntimeError(f"Envoy refuses {refused}")
                status = proxy.status()
                rollup = Path(f"/proc/{status.pid}/smaps_rollup").read_text().splitlines()
            finally:
                proxy.stop()
        anonymous = next(int(line.split()[1]) << 10 for line in rollup if line.startswith("Anonymous"))
        return status.memory_bytes, anonymous
    finally:
        if cgroup.exists():
            cgroup.rmdir()
        shutil.rmtree(folder)


def _rule_set(number: int) -> HttpRuleSet:
    """No two are equal, so no two share a listener."""
    matches = (HttpMatch("GET", f"/service-{number}/{part}/[a-z]+") for part in range(ALTERNATIVES))
    return HttpRuleSet(False, tuple(HttpPermission(RuleId(number + 1), match) for match in matches))


def _apply(further: int) -> list[float]:
    """Milliseconds from ``apply`` until it says that the rule is in force: of a node's first http rule, then of
    ``further`` ones. Each is another pod's, or changes what another pod's policy allows."""
    with Lab() as lab:
        server = lab.run("server", [tool("serve"), str(PORT)], labels={"app": "server"})
        lab.run("other", labels={"app": "other"})
        client = lab.run("client", labels={"app": "client"})
        ask = client.argv(tool("ask"), server.v4, str(PORT), "1", "1000", "20", stdin=False)
        if not answers(ask):
            raise RuntimeError("the server does not answer before there is a rule")
        times = [_timed(lab, "server", "/nothing")]
        if not refused(ask):
            raise RuntimeError("apply returned, and the rule is not in force")
        times += [_timed(lab, "other", f"/path-{number}") for number in range(further)]
        return times


def _timed(lab: Lab, name: str, path: str) -> float:
    text = POLICY.format(name=name, port=PORT, path=path)
    started = time.perf_counter()
    lab.apply(text)
    return 1000 * (time.perf_counter() - started)


def _times(what: str, values: Sequence[float]) -> list[Row]:
    return [
        Row("weft", f"{what}, p50", statistics.median(values), "ms"),
        Row("weft", f"{what}, p99", percentile(values, 0.99), "ms", note=f"of {len(values)}"),
    ]
