"""``weft status --all``: every node of the cluster, by what its agent said last (weft.sources.kubernetes.nodelease)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weft.api.client import AgentError
from weft.cli.arguments import Options
from weft.cli.common import emit_json

if TYPE_CHECKING:
    from weft.sources.kubernetes.nodelease import NodeReport

COLUMNS = ("NODE", "STATE", "VERSION", "REVISION", "POLICIES", "PODS", "READY", "DROPS", "MEMORY")


def main(options: Options) -> int:
    """Exit code: 1 when a node is silent or has a problem."""
    found = asyncio.run(_ask(options.kubeconfig, options.namespace))
    if options.output:
        emit_json([{"node": one.node, "state": state(one), **one.summary} for one in found])
    else:
        print(render(found))
    return int(any(state(one) != "ok" for one in found))


async def _ask(kubeconfig: str, namespace: str) -> list[NodeReport]:
    from weft.sources.kubernetes.api import Api, ApiConfigError, ApiError
    from weft.sources.kubernetes.nodelease import reports

    try:
        api = (
            Api.from_kubeconfig(Path(kubeconfig), namespace=namespace or "kube-system")
            if kubeconfig
            else Api.in_cluster(namespace=namespace)
        )
    except ApiConfigError as error:
        raise AgentError([str(error)]) from None
    try:
        return await reports(api)
    except ApiError as error:
        raise AgentError([str(error)]) from None
    finally:
        await api.close()


def state(report: NodeReport) -> str:
    """``ok``, or what is wrong in few words."""
    from weft.sources.kubernetes.nodelease import DURATION_SECONDS

    if report.silent is None:
        return "no agent"
    if report.silent > DURATION_SECONDS:
        return f"silent for {report.silent:.0f} s"
    count = len(report.summary.get("problems", ()))
    return f"{count} problem{'s' * (count > 1)}" if count else "ok"


def render(found: list[NodeReport]) -> str:
    """A line for each node, then the problems."""
    rows = [COLUMNS, *((one.node, state(one), *_cells(one.summary)) for one in found)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += [f"PROBLEM   {one.node}: {text}" for one in found for text in one.summary.get("problems", ())]
    return "\n".join(lines)


def _cells(summary: Any) -> tuple[str, ...]:
    known = [str(summary.get(key, "")) for key in ("version", "revision", "policies", "pods", "ready", "drops")]
    return (*known, f"{summary['memoryBytes'] / 1e6:.1f} MB" if "memoryBytes" in summary else "")
