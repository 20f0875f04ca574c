"""Upstream clusters: where the client was going anyway, and the endpoints of routes' backends."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from weft.model.l7 import Phase
from weft.model.route import ClusterEndpoint
from weft.proxy import names

Json = dict[str, Any]
TYPE = "type.googleapis.com/envoy.extensions."

SOL_IP, IP_BIND_ADDRESS_NO_PORT = 0, 24
BUFFER_BYTES = 128 << 10
"""Per connection and direction."""
_SOURCE_PORT = {
    "description": "IP_BIND_ADDRESS_NO_PORT",
    "level": SOL_IP,
    "name": IP_BIND_ADDRESS_NO_PORT,
    "int_value": 1,
    "state": "STATE_PREBIND",
}
"""Source ports are taken per peer, not per client."""
UNLIMITED = 4_000_000
"""Envoy's own limit is 1,024 for a cluster, so one client could use it up; the datapath limits each pod's flows."""


def original_destination(phase: Phase) -> Json:
    """Forwards to the address that the client dialled."""
    return {
        "name": names.original_cluster(phase),
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        # Hosts are learned from connections; those that nobody used for this long are forgotten.
        "cleanup_interval": "30s",
        **_common(),
    }


def nowhere() -> Json:
    return {"name": names.NOWHERE, "type": "STATIC", "load_assignment": {"cluster_name": names.NOWHERE}}


def backends(name: str, h2c: bool = False) -> Json:
    """A cluster whose endpoints come by EDS. ``h2c``: they speak HTTP/2."""
    return {
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": {"ads": {}, "resource_api_version": "V3"}},
        "lb_policy": "LEAST_REQUEST",
        # Ejected for not answering (connection refused, time-out, 502-504 five times in a row), not for answering 500:
        # that is the application's own word.
        "outlier_detection": {
            "interval": "1s",
            "base_ejection_time": "5s",
            "max_ejection_percent": 50,
            "consecutive_gateway_failure": 5,
            "enforcing_consecutive_gateway_failure": 100,
            "enforcing_consecutive_5xx": 0,
            "enforcing_success_rate": 0,
        },
        **_common(h2c),
    }


def assignment(name: str, endpoints: Iterable[ClusterEndpoint]) -> Json:
    """The ClusterLoadAssignment. Terminating endpoints get new requests only while nobody else is there."""
    known = sorted(set(endpoints), key=lambda endpoint: (endpoint.address.packed, endpoint.port))
    ready = any(not endpoint.draining for endpoint in known)
    hosts = [
        {
            "endpoint": {"address": socket_address(str(endpoint.address), endpoint.port)},
            "health_status": "DRAINING" if endpoint.draining and ready else "HEALTHY",
        }
        for endpoint in known
    ]
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": hosts}] if hosts else []}


def socket_address(address: str, port: int) -> Json:
    return {"socket_address": {"address": address, "port_value": port}}


def _common(h2c: bool = False) -> Json:
    limits = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests", "max_retries"), UNLIMITED)
    return {
        "connect_timeout": "5s",
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "circuit_breakers": {"thresholds": [limits]},
        "upstream_bind_config": {"socket_options": [_SOURCE_PORT]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": _protocols(h2c)},
    }


def _protocols(h2c: bool) -> Json:
    """Else the client's."""
    versions = {"http_protocol_options": http1_options(), "http2_protocol_options": http2_options()}
    chosen = {"explicit_http_config": {"http2_protocol_options": http2_options()}}
    return {
        "@type": f"{TYPE}upstreams.http.v3.HttpProtocolOptions",
        # Shorter than servers' own keep-alive (5 s is common), so that no request meets a connection that just closes.
        "common_http_protocol_options": {"idle_timeout": "2s", "max_headers_count": 200},
        **(chosen if h2c else {"use_downstream_protocol_config": versions}),
    }


def http1_options() -> Json:
    """HTTP/1 header names keep their spelling."""
    formatter = (
        "type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"
    )
    return {
        "header_key_format": {
            "stateful_formatter": {"name": "preserve_case", "typed_config": {"@type": formatter}},
        }
    }


def http2_options() -> Json:
    return {
        "max_concurrent_streams": 100,
        "initial_stream_window_size": 64 << 10,
        "initial_connection_window_size": 1 << 20,
    }
