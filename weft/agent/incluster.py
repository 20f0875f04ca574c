"""``weft agent --kubernetes``: what goes on beside the node itself, from the API server's side."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weft.agent.agent import Settings
from weft.agent.errors import OptionError
from weft.agent.health import Health
from weft.agent.kubernetes import CniPlaces, KubernetesAgent
from weft.agent.kubernetesanswers import KubernetesAnswers
from weft.agent.serving import serve
from weft.agent.status import summary
from weft.datapath.node import NodePaths
from weft.model.objects import NodeConfig
from weft.sources.kubernetes.api import Api, ApiConfigError
from weft.sources.kubernetes.departure import Departure
from weft.sources.kubernetes.nodelease import NodeLease, Owner


@dataclass(frozen=True, slots=True)
class Cluster:
    """How the agent is part of one. ``daemonset``: what runs it; empty: something else does."""

    kubeconfig: str
    daemonset: str
    cni_bin_dir: Path
    cni_conf_dir: Path


async def serve_kubernetes(
    paths: NodePaths, config: NodeConfig, settings: Settings, cluster: Cluster, state: Health
) -> bool:
    """Until SIGTERM; whether the agent's DaemonSet is being deleted. Errors: OptionError: nothing leads to a server."""
    try:
        api = Api.from_kubeconfig(Path(cluster.kubeconfig)) if cluster.kubeconfig else Api.in_cluster()
    except ApiConfigError as error:
        raise OptionError(str(error)) from None
    departure = Departure(api, cluster.daemonset)
    places = CniPlaces(cluster.cni_bin_dir, cluster.cni_conf_dir)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(api.close)
        if cluster.daemonset:
            stack.callback(asyncio.create_task(departure.run()).cancel)
        agent = await stack.enter_async_context(KubernetesAgent(paths, config, settings, api, places))

        def tell() -> dict[str, Any]:
            return summary(agent)

        stack.callback(asyncio.create_task(NodeLease(api, config.name, _pod(), tell).run()).cancel)
        await serve(agent, KubernetesAnswers(agent), state)
    return departure.is_final


def _pod() -> Owner | None:
    """The pod that the agent runs in, by what the downward API puts into the environment."""
    name, uid = os.environ.get("K8S_POD_NAME"), os.environ.get("K8S_POD_UID")
    return Owner(name, uid) if name and uid else None
