"""``weft agent``: be the node of this network namespace, in the foreground.

Ends on SIGTERM; pods and policy live on.
"""

from __future__ import annotations

import os
import socket

from weft.cli.arguments import Options, Parser, no_command

USAGE = "[OPTIONS]"
POD_CIDRS = ("10.244.0.0/24", "fd00:244::/64")
SERVICE_CIDRS = ("10.96.0.0/16", "fd00:96::/108")


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
    parser.add_argument("--cleanup", action="store_true", help="end all pods, remove every trace of the node, and exit")


def main(options: Options) -> int:
    from weft.agent.main import Options as AgentOptions
    from weft.agent.main import main as agent

    no_command(options)
    chosen = AgentOptions(
        node_name=os.environ.get("WEFT_NODE") or socket.gethostname(),
        cluster_name=options.cluster_name,
        pod_cidrs=tuple(options.pod_cidr or POD_CIDRS),
        service_cidrs=tuple(options.service_cidr or SERVICE_CIDRS),
        state_dir=options.state_dir,
        upstream_dns=tuple(options.upstream_dns),
    )
    return agent(chosen, cleanup=options.cleanup)
