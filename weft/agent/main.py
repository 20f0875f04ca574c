"""``weft agent``: from options to a node that serves, and back."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import ipaddress
import logging
import re
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from weft.agent import health, logs
from weft.agent.agent import Settings
from weft.agent.embedded import EmbeddedAgent
from weft.agent.embeddedanswers import EmbeddedAnswers
from weft.agent.errors import OptionError
from weft.agent.layer7 import Layer7
from weft.agent.serving import serve
from weft.api.health import PortError
from weft.datapath import cgroups, features, node, sysctl
from weft.datapath.errors import DatapathError
from weft.datapath.node import NodePaths
from weft.model.net import IPAddress, IPNetwork
from weft.model.objects import NodeConfig
from weft.proxy.tracing import Collector, collector
from weft.runtime import cgroup, heap
from weft.runtime.errors import PodError
from weft.sources.errors import StoreError

log = logging.getLogger("weft.agent")


@dataclass(frozen=True, slots=True)
class Options:
    """The command line, unchecked."""

    node_name: str
    cluster_name: str = "default"
    pod_cidrs: tuple[str, ...] = ()
    service_cidrs: tuple[str, ...] = ()
    state_dir: str = ""
    upstream_dns: tuple[str, ...] = ()
    map_sizes: Mapping[str, int] = field(default_factory=dict)
    """BPF map → entries; others have their default."""
    log_headers: tuple[str, ...] = ()
    otlp_endpoint: str = ""
    kubernetes: bool = False
    kubeconfig: str = ""
    """Empty: a pod's own service account."""
    tunnel: str = ""
    store: str = ""
    """Empty: the node's own."""
    cgroup_root: str = ""
    cni_bin_dir: str = "/opt/cni/bin"
    cni_conf_dir: str = "/etc/cni/net.d"
    daemonset: str = ""
    """What runs this agent; empty: something else does."""
    external_envoy: bool = False
    health_port: int = 0
    metrics_port: int = 0
    log_format: str = "text"
    debug: bool = False


def main(options: Options, cleanup: bool = False) -> int:
    """Exit code. What goes wrong is said in one line that names the object, the cause and the remedy."""
    logs.set_up(options.log_format, options.debug)
    signal.signal(signal.SIGTERM, _leave)
    heap.give_back()
    gc.set_threshold(20_000, 20, 100)  # what is kept has no cycles, and looking for some takes as long as a change
    try:
        paths, config = _node(options)
        paths.run_dir.mkdir(parents=True, exist_ok=True)
        with _only_one(paths):
            if cleanup:
                return _clean_up(paths, options)
            sysctl.make_writable()
            features.require(features.probe())
            upstream = tuple(map(_address, options.upstream_dns))
            settings = Settings(
                upstream,
                options.map_sizes,
                options.log_headers,
                _collector(options.otlp_endpoint),
                Path(options.store).absolute() if options.store else None,
                options.external_envoy,
            )
            if asyncio.run(_run(paths, config, settings, options)):
                return _clean_up(paths, options)
    except (OptionError, PortError, DatapathError, PodError, StoreError, OSError) as error:
        print(f"weft agent: {error}", file=sys.stderr)
        return 1
    return 0


def _leave(*_: object) -> None:
    """SIGTERM until the agent serves; the first process of a container would not even notice it."""
    sys.exit(0)


async def _run(paths: NodePaths, config: NodeConfig, settings: Settings, options: Options) -> bool:
    """Whether nothing of the node shall stay. Errors: OptionError also for what leads to no API server."""
    for_good = False
    async with health.served(options.health_port, options.metrics_port) as state:
        if options.kubernetes:
            from weft.agent.incluster import Cluster, serve_kubernetes

            cni = Path(options.cni_bin_dir), Path(options.cni_conf_dir)
            cluster = Cluster(options.kubeconfig, options.daemonset, *cni)
            for_good = await serve_kubernetes(paths, config, settings, cluster, state)
        else:
            async with EmbeddedAgent(paths, config, settings) as agent:
                await serve(agent, EmbeddedAnswers(agent), state)
    log.info("ended; %s", "the node is cleaned up" if for_good else "pods and everything in the kernel live on")
    return for_good


@contextlib.contextmanager
def _only_one(paths: NodePaths) -> Iterator[None]:
    """Two agents for one node would be two writers of its maps."""
    with (paths.run_dir / "agent.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OptionError(
                f"node {paths.name} has an agent already (holds {lock.name}); stop that one first"
            ) from None
        yield


def _clean_up(paths: NodePaths, options: Options) -> int:
    Layer7.end(paths)
    if options.kubernetes:
        from weft.cni.install import uninstall

        uninstall(Path(options.cni_bin_dir), Path(options.cni_conf_dir))
    asyncio.run(_end_pods(paths.cgroup))
    node.tear_down(paths)
    shutil.rmtree(paths.state_dir, ignore_errors=True)
    shutil.rmtree(paths.run_dir)
    shared = NodePaths.default(paths.name)
    for folder in (shared.run_dir.parent, shared.state_dir.parent):
        with contextlib.suppress(OSError):  # of other nodes too, or a volume of the agent's pod
            folder.rmdir()
    return 0


async def _end_pods(pods: Path) -> None:
    """A pod that was just being made when its agent died may still come: until there is none."""
    while folders := [folder for folder in pods.glob("*") if folder.is_dir()]:
        for folder in folders:
            await cgroup.end(folder)


# ---- options ------------------------------------------------------------------------------------------------------


def _node(options: Options) -> tuple[NodePaths, NodeConfig]:
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", options.node_name):
        # It names folders, a cgroup and pins: "..", say, would be the whole machine's.
        raise OptionError(
            f"--node-name {options.node_name}: expected letters, digits, '-', '_' and '.', first and last a letter or "
            "digit, 63 at most"
        )
    paths = NodePaths.default(options.node_name)
    if options.state_dir:
        paths = replace(paths, state_dir=Path(options.state_dir).absolute())
    if options.cgroup_root:
        ours = None if options.kubernetes else paths.cgroup
        paths = replace(paths, service_cgroup=cgroups.chosen_root(Path(options.cgroup_root), ours))
    elif options.kubernetes:
        paths = replace(paths, service_cgroup=cgroups.kubernetes_root())
    pod_cidrs = _networks("--pod-cidr", options.pod_cidrs)
    service_cidrs = _networks("--service-cidr", options.service_cidrs)
    for pods in pod_cidrs:
        for services in service_cidrs:
            if pods.version == services.version and pods.overlaps(services):
                raise OptionError(f"--pod-cidr {pods} and --service-cidr {services} overlap; choose apart ranges")
    config = NodeConfig(
        name=options.node_name,
        cluster=options.cluster_name,
        pod_cidrs=pod_cidrs,
        service_cidrs=service_cidrs,
        router_addresses=tuple(network[1] for network in pod_cidrs),
        host_addresses=node.host_addresses(),
        tunnel=options.tunnel,
    )
    return paths, config


def _networks(option: str, texts: tuple[str, ...]) -> tuple[IPNetwork, ...]:
    """At most one of each family, IPv4 first. Errors: OptionError."""
    found: list[IPNetwork] = []
    for text in texts:
        try:
            network = ipaddress.ip_network(text)
        except ValueError as error:
            raise OptionError(f"{option} {text}: {error}; expected a network, for example 10.244.0.0/24") from None
        if any(network.version == other.version for other in found):
            raise OptionError(f"{option} {text}: a second IPv{network.version} range; one of each family at most")
        if network.num_addresses < 4:
            raise OptionError(f"{option} {text}: too small")
        found.append(network)
    return tuple(sorted(found, key=lambda network: network.version))


def _address(text: str) -> IPAddress:
    try:
        return ipaddress.ip_address(text)
    except ValueError as error:
        raise OptionError(f"--upstream-dns {text}: {error}") from None


def _collector(text: str) -> Collector | None:
    try:
        return collector(text) if text else None
    except ValueError as error:
        raise OptionError(f"--otlp-endpoint {text}: {error}") from None
