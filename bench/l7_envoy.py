"""Envoys without weft: the node's, with the same listener, and sidecars as Istio lays them out. Configuration only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from weft.model.http import HttpMatch, HttpPermission, HttpRuleSet
from weft.model.l7 import Phase
from weft.model.net import RuleId
from weft.proxy.bootstrap import Paths, bootstrap
from weft.proxy.clusters import original_destination, socket_address
from weft.proxy.names import LISTEN_V4, original_cluster
from weft.proxy.process import Limits
from weft.proxy.resources import listener_resources

Json = dict[str, Any]
TYPE = "type.googleapis.com/envoy.extensions."

RULES = HttpRuleSet(egress=False, permissions=(HttpPermission(RuleId(1), HttpMatch("GET", "/")),))
"""What every arm with a proxy asks of a request."""
TRANSPARENT = 10000
MARK = 0x200
"""Of packets that go to the transparent listener (as weft's MARK_TO_PROXY)."""
OUTBOUND, INBOUND = 15001, 15006
"""Ports of a sidecar (Istio's)."""


def dialled(folder: Path, address: str, server: str, ports: tuple[int, ...]) -> Json:
    """The node's Envoy with weft's listener for ``RULES``, dialled directly at ``address``.

    Filters, routes, limits and access log are weft's own. What only makes the listener transparent is left out: nobody
    redirects to it, and its upstream is the server's address, so it pays neither for redirection nor for keeping the
    client's address. Its access log goes to ``folder``/agent.sock.
    """
    config = _bootstrap(folder)
    static = config["static_resources"]
    static["clusters"] = [cluster for cluster in static["clusters"] if cluster["type"] != "ORIGINAL_DST"]
    for port in ports:
        cluster = {**original_destination(Phase.INGRESS), "name": f"server/{port}", "type": "STATIC"}
        for name in ("lb_policy", "cleanup_interval", "upstream_bind_config"):
            cluster.pop(name, None)
        endpoint = {"endpoint": {"address": socket_address(server, port)}}
        cluster["load_assignment"] = {"cluster_name": cluster["name"], "endpoints": [{"lb_endpoints": [endpoint]}]}
        static["clusters"].append(cluster)
        listener = _listener(port, cluster["name"])
        for name in ("additional_addresses", "transparent", "socket_options"):
            listener.pop(name, None)
        redirected = ("original_dst", "original_src")
        listener["listener_filters"] = [each for each in listener["listener_filters"] if each["name"] not in redirected]
        static["listeners"].append({**listener, "address": socket_address(address, port)})
    return config


def transparent(folder: Path) -> Json:
    """The node's Envoy with weft's listener for ``RULES`` whole, transparent at port TRANSPARENT of weft's address."""
    config = _bootstrap(folder)
    config["static_resources"]["listeners"].append(_listener(TRANSPARENT, original_cluster(Phase.INGRESS)))
    return config


def tproxy(device: str, ports: tuple[int, ...]) -> str:
    """The nftables ruleset of a node that leads what comes from ``device`` to these ports to ``transparent``'s."""
    to_proxy = f"meta mark set {MARK} accept"
    return (
        "table ip bench {\n chain prerouting { type filter hook prerouting priority mangle;\n"
        f"  meta l4proto tcp socket transparent 1 {to_proxy}\n"
        f'  iifname "{device}" tcp dport {{ {", ".join(map(str, ports))} }}'
        f" tproxy to {LISTEN_V4}:{TRANSPARENT} {to_proxy}\n }}\n}}\n"
    )


def _bootstrap(folder: Path) -> Json:
    """weft's own, but whatever is in it is there from the beginning."""
    limits = Limits()
    config = bootstrap("bench", Paths(folder), limits.heap_bytes, limits.connections)
    del config["dynamic_resources"]
    config["static_resources"]["listeners"] = []
    return config


def _listener(number: int, cluster: str) -> Json:
    built = listener_resources(number, RULES)
    (routes,) = built.routes
    routes = json.loads(json.dumps(routes).replace(f'"{original_cluster(Phase.INGRESS)}"', f'"{cluster}"'))
    for chain in built.listener["filter_chains"]:
        for filter_ in chain["filters"]:
            if filter_["typed_config"].pop("rds", None):
                filter_["typed_config"]["route_config"] = routes
    return built.listener


def sidecar(folder: Path, inbound: bool) -> Json:
    """A pod's own Envoy: what the pod dials comes to OUTBOUND, what dials the pod to INBOUND, by the pod's nftables.

    Less than Istio's own does, so cheaper: no mTLS, no protocol sniffing, no telemetry, no access log. The server's
    side asks the same of a request as the other arms do, by the RBAC filter, as Istio's AuthorizationPolicy.
    """
    return {
        "admin": {"address": {"pipe": {"path": str(folder / "admin.sock")}}},
        "static_resources": {
            "listeners": [_redirected(OUTBOUND, False), _redirected(INBOUND, inbound)],
            "clusters": [
                {
                    "name": "original",
                    "type": "ORIGINAL_DST",
                    "lb_policy": "CLUSTER_PROVIDED",
                    "connect_timeout": "5s",
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                            "@type": f"{TYPE}upstreams.http.v3.HttpProtocolOptions",
                            "use_downstream_protocol_config": {"http2_protocol_options": {}},
                        }
                    },
                }
            ],
        },
    }


def _redirected(port: int, rules: bool) -> Json:
    route = {"match": {"prefix": "/"}, "route": {"cluster": "original", "timeout": "0s"}}
    router = {"name": "router", "typed_config": {"@type": f"{TYPE}filters.http.router.v3.Router"}}
    manager = {
        "@type": f"{TYPE}filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": str(port),
        "http_filters": [*([_rbac()] if rules else []), router],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    }
    original = {"@type": f"{TYPE}filters.listener.original_dst.v3.OriginalDst"}
    return {
        "name": str(port),
        "address": socket_address("0.0.0.0", port),
        "listener_filters": [{"name": "original_dst", "typed_config": original}],
        "filter_chains": [{"filters": [{"name": "http_connection_manager", "typed_config": manager}]}],
    }


def _rbac() -> Json:
    permissions = []
    for _, match in RULES.permissions:
        headers = ((":method", match.method), (":path", match.path))
        rules = [{"header": {"name": name, "string_match": {"exact": value}}} for name, value in headers]
        permissions.append({"and_rules": {"rules": rules}})
    policy = {"permissions": permissions, "principals": [{"any": True}]}
    return {
        "name": "rbac",
        "typed_config": {"@type": f"{TYPE}filters.http.rbac.v3.RBAC", "rules": {"policies": {"get": policy}}},
    }


def redirect(user: int) -> str:
    """The nftables ruleset of a pod with a sidecar that runs as ``user`` (istio-iptables' four rules)."""
    return (
        "table ip sidecar {\n"
        " chain output { type nat hook output priority -100;\n"
        f"  meta skuid {user} return; ip daddr 127.0.0.0/8 return; meta l4proto tcp redirect to :{OUTBOUND}\n }}\n"
        " chain prerouting { type nat hook prerouting priority dstnat;\n"
        f'  iifname "eth0" meta l4proto tcp redirect to :{INBOUND}\n }}\n}}\n'
    )
