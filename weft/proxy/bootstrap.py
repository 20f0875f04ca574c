"""What Envoy is started with; everything else comes by ADS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weft.model.l7 import Phase
from weft.proxy import names
from weft.proxy.clusters import nowhere, original_destination
from weft.proxy.listeners import extension
from weft.proxy.mirror import mirror_clusters, mirror_listener

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Paths:
    """In Envoy's run directory (0700, its own user's)."""

    directory: Path

    @property
    def agent(self) -> Path:
        """The agent listens: ADS and access logs."""
        return self.directory / "agent.sock"

    @property
    def otlp(self) -> Path:
        """The agent listens: spans."""
        return self.directory / "otlp.sock"

    @property
    def admin(self) -> Path:
        return self.directory / "admin.sock"

    @property
    def bootstrap(self) -> Path:
        return self.directory / "bootstrap.json"

    @property
    def pid(self) -> Path:
        return self.directory / "pid"

    @property
    def log(self) -> Path:
        return self.directory / "envoy.log"


def bootstrap(node: str, paths: Paths, heap_bytes: int, connections: int) -> Json:
    """The Bootstrap. ``heap_bytes``: from 90 % on Envoy frees and refuses; ``connections``: from clients, at most."""
    ads = {
        "envoy_grpc": {
            "cluster_name": names.AGENT,
            # Back within half a second of the agent; Envoy's own ceiling would be 30 s.
            "retry_policy": {"retry_back_off": {"base_interval": "0.1s", "max_interval": "0.5s"}},
        }
    }
    return {
        "node": {"id": node, "cluster": "weft"},
        "admin": {"address": {"pipe": {"path": str(paths.admin), "mode": 0o600}}},
        "dynamic_resources": {
            "ads_config": {"api_type": "DELTA_GRPC", "transport_api_version": "V3", "grpc_services": [ads]},
            "lds_config": {"ads": {}, "resource_api_version": "V3"},
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "static_resources": {
            "clusters": [
                _agent(paths),
                nowhere(),
                original_destination(Phase.EGRESS),
                original_destination(Phase.INGRESS),
                *mirror_clusters(),
            ],
            "listeners": [mirror_listener()],
        },
        "bootstrap_extensions": [
            extension("envoy.bootstrap.internal_listener", "extensions.bootstrap.internal_listener.v3.InternalListener")
        ],
        "stats_flush_on_admin": True,
        # A listener has dozens of counters that nobody reads: with 100 listeners they are megabytes.
        "stats_config": {"stats_matcher": {"inclusion_list": {"patterns": [{"prefix": name} for name in STATS]}}},
        "layered_runtime": {
            "layers": [
                {
                    "name": "weft",
                    "static_layer": {
                        # One client's burst of requests does not hold up the others (CVE-2023-44487 and its kin).
                        "http.max_requests_per_io_cycle": 1,
                        "overload.premature_reset_total_stream_count": 100,
                        # A header that is there twice is its values, joined (Cilium's reading; RFC 9110, section 5.3).
                        # Else a rule is content with any of them, and the server may read another one.
                        "envoy.reloadable_features.match_headers_individually": False,
                        # Instructions of a compiled expression; Envoy's own 100 is less than [a-z]{1,64} needs.
                        "re2.max_program_size.error_level": 32_768,
                    },
                }
            ]
        },
        "overload_manager": _overload(heap_bytes, connections),
    }


STATS = ("listener_manager.", "cluster_manager.", "server.", "overload.", "control_plane.")


def _agent(paths: Paths) -> Json:
    protocols = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(paths.agent)}}}}
    return {
        "name": names.AGENT,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": protocols,
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": {"cluster_name": names.AGENT, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _overload(heap_bytes: int, connections: int) -> Json:
    heap = "envoy.resource_monitors.fixed_heap"
    downstream = "envoy.resource_monitors.global_downstream_max_connections"

    def at(action: str, share: float) -> Json:
        return {"name": f"envoy.overload_actions.{action}", "triggers": [{"name": heap, "threshold": {"value": share}}]}

    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            {
                "name": heap,
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
                    "max_heap_size_bytes": heap_bytes,
                },
            },
            {
                "name": downstream,
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3"
                    ".DownstreamConnectionsConfig",
                    "max_active_downstream_connections": connections,
                },
            },
        ],
        "actions": [
            at("shrink_heap", 0.9),
            at("disable_http_keepalive", 0.92),
            at("reset_high_memory_stream", 0.94),
            at("stop_accepting_requests", 0.96),
            at("stop_accepting_connections", 0.98),
        ],
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": 20},
    }
