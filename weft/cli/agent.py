"""``weft agent``: be the node of this network namespace, in the foreground.

Ends on SIGTERM; pods and policy live on.
"""

from __future__ import annotations

import argparse
import os
import socket

from weft.cli.arguments import Options, Parser, no_command, whole

USAGE = "[OPTIONS]"
POD_CIDRS = ("10.244.0.0/24", "fd00:244::/64")
SERVICE_CIDRS = ("10.96.0.0/16", "fd00:96::/108")
MAPS = ("endpoints", "ipcache", "policy", "flows", "services", "backends", "affinity", "fragments")
"""BPF maps whose size may be chosen (docs/ARCHITECTURE.md)."""
MAP_ENTRIES = range(256, (1 << 24) + 1)


def arguments(parser: Parser) -> None:
    again = "one of each family at most; may be given again; default: "
    parser.add_argument("--cluster-name", default="default", metavar="NAME", help="default: %(default)s")
    parser.add_argument("--pod-cidr", action="append", metavar="CIDR", help=again + ", ".join(POD_CIDRS))
    parser.add_argument("--service-cidr", action="append", metavar="CIDR", help=again + ", ".join(SERVICE_CIDRS))
    parser.add_argument("--state-dir", default="", metavar="DIR", help="default: /var/lib/weft/NODE")
    parser.add_argument(
        "--upstream-dns",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="may be given again; default: the machine's",
    )
    parser.add_argument(
        "--log-http-header",
        action="append",
        default=[],
        metavar="NAME",
        help="request header that layer-7 flows show; may be given again; default: none, and never credentials",
    )
    parser.add_argument(
        "--otlp-endpoint",
        default="",
        metavar="HOST:PORT",
        help="OpenTelemetry collector (OTLP over gRPC, no TLS) that gets a span of each layer-7 request; default: none",
    )
    parser.add_argument(
        "--map-size",
        action="append",
        default=[],
        type=map_size,
        metavar="MAP=ENTRIES",
        help=f"may be given again; MAP: {', '.join(MAPS)}. With other sizes than before all maps are made anew, and "
        "open connections are decided again",
    )
    parser.add_argument(
        "--store", default="", metavar="FILE", help="one that the agents of several nodes share, on this machine"
    )
    parser.add_argument(
        "--cgroup-root",
        default="",
        metavar="DIR",
        help="folder of a cgroup2 hierarchy: every program below it reaches services by their cluster IPs, not pods "
        "alone; default: pods alone, and with --kubernetes the whole node",
    )
    watching = parser.add_argument_group("for who watches over the agent")
    watching.add_argument(
        "--health-port", type=port, default=0, metavar="PORT", help="/healthz and /readyz on 127.0.0.1; default: none"
    )
    watching.add_argument(
        "--metrics-port", type=port, default=0, metavar="PORT", help="/metrics on every address; default: none"
    )
    watching.add_argument("--log-format", default="text", choices=("text", "json"), help="default: %(default)s")
    watching.add_argument("--debug", action="store_true", help="log more")
    in_kubernetes = parser.add_argument_group("in a Kubernetes cluster")
    in_kubernetes.add_argument(
        "--kubernetes",
        action="store_true",
        help="objects come from Kubernetes' API, pods from the kubelet; --node-name: the Node object's name",
    )
    in_kubernetes.add_argument(
        "--kubeconfig", default="", metavar="FILE", help="default: the service account of the pod that this runs in"
    )
    in_kubernetes.add_argument(
        "--tunnel", default="", choices=("", "vxlan"), help="to other nodes' pods; default: none, direct routing"
    )
    in_kubernetes.add_argument("--cni-bin-dir", default="/opt/cni/bin", metavar="DIR", help="default: %(default)s")
    in_kubernetes.add_argument("--cni-conf-dir", default="/etc/cni/net.d", metavar="DIR", help="default: %(default)s")
    in_kubernetes.add_argument(
        "--daemonset",
        default="",
        metavar="NAME",
        help="what runs this agent; when it is deleted, every trace of the node is removed at the agent's end",
    )
    in_kubernetes.add_argument(
        "--external-envoy-proxy",
        action="store_true",
        help="a pod of its own starts Envoy (python -m weft.proxy.launcher), so that it outlives the agent's",
    )
    parser.add_argument("--cleanup", action="store_true", help="end all pods, remove every trace of the node, and exit")


def map_size(text: str) -> tuple[str, int]:
    """``policy=65536``. Errors: argparse's, that say what was expected."""
    name, _, number = text.partition("=")
    if name not in MAPS:
        raise argparse.ArgumentTypeError(f"{text}: expected MAP=ENTRIES with one of the maps {', '.join(MAPS)}")
    if not (number.isascii() and number.isdigit()) or int(number) not in MAP_ENTRIES:
        raise argparse.ArgumentTypeError(f"{text}: expected {MAP_ENTRIES[0]} to {MAP_ENTRIES[-1]} entries")
    return name, int(number)


def port(text: str) -> int:
    """Errors: argparse's."""
    number = whole(text)
    if not 1 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{text}: expected a port, 1 to 65535")
    return number


def main(options: Options) -> int:
    from weft.agent.main import Options as AgentOptions
    from weft.agent.main import main as agent

    no_command(options)
    chosen = AgentOptions(
        node_name=os.environ.get("WEFT_NODE") or socket.gethostname(),
        cluster_name=options.cluster_name,
        pod_cidrs=() if options.kubernetes else tuple(options.pod_cidr or POD_CIDRS),
        service_cidrs=tuple(options.service_cidr or (() if options.kubernetes else SERVICE_CIDRS)),
        state_dir=options.state_dir,
        upstream_dns=tuple(options.upstream_dns),
        map_sizes=dict(options.map_size),
        log_headers=tuple(name.lower() for name in options.log_http_header),
        otlp_endpoint=options.otlp_endpoint,
        kubernetes=options.kubernetes,
        kubeconfig=options.kubeconfig,
        tunnel=options.tunnel,
        store=options.store,
        cgroup_root=options.cgroup_root,
        cni_bin_dir=options.cni_bin_dir,
        cni_conf_dir=options.cni_conf_dir,
        daemonset=options.daemonset,
        external_envoy=options.external_envoy_proxy,
        health_port=options.health_port,
        metrics_port=options.metrics_port,
        log_format=options.log_format,
        debug=options.debug,
    )
    return agent(chosen, cleanup=options.cleanup)
