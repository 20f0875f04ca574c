"""Spans of requests, to an OpenTelemetry collector: OTLP over gRPC without TLS, if the node has been told of one.

A request has one span in each phase that it passes, and where a route chose the backend one for each attempt. All are
of the trace that the client's ``traceparent`` names, and the server gets the last one's (W3C Trace Context); what the
client says is not sampled is not reported.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Any, NamedTuple

from weft.model.l7 import Phase
from weft.proxy import names

Json = dict[str, Any]
TYPE = "type.googleapis.com/envoy."
SERVICE = "weft"
"""The resource's ``service.name``; a span's ``node_id`` says which node."""
NAME = re.compile(
    r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*", re.IGNORECASE
)


class Collector(NamedTuple):
    host: str
    """An address, or a name of the node's DNS."""
    port: int


def collector(text: str) -> Collector:
    """``HOST:PORT``, an IPv6 address in brackets. Errors: ValueError that says what was expected."""
    host, _, number = text.rpartition(":")
    if not (number.isascii() and number.isdigit() and 0 < int(number) < 65536):
        raise ValueError("expected HOST:PORT with a port from 1 to 65535, for example 127.0.0.1:4317")
    if host.startswith("[") and host.endswith("]"):
        try:
            return Collector(str(ipaddress.IPv6Address(host[1:-1])), int(number))
        except ValueError as error:
            raise ValueError(f"{error}; expected an IPv6 address in the brackets, as in [::1]:4317") from None
    if ":" in host:
        raise ValueError("expected HOST:PORT, without a scheme; an IPv6 address in brackets, as in [::1]:4317")
    if not is_address(host) and (not NAME.fullmatch(host) or host.rpartition(".")[2].isdigit()):
        raise ValueError("expected HOST:PORT with an address or a DNS name, for example 127.0.0.1:4317")
    return Collector(host, int(number))


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def collector_cluster(relay: Path) -> Json:
    """Envoy's own network leads to pods' conversations alone: the agent passes the spans on (weft.proxy.relay)."""
    protocols = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {
        "name": names.OTLP,
        "type": "STATIC",
        "connect_timeout": "5s",
        "typed_extension_protocol_options": {
            protocols: {
                "@type": f"type.googleapis.com/{protocols}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": {
            "cluster_name": names.OTLP,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": str(relay)}}}}]}],
        },
    }


def manager_tracing(phase: Phase) -> Json:
    """Fields of a connection manager. Whether a request is traced is its traceparent's word, not its request id's.

    By default Envoy decides by x-request-id, traces nothing without one, and writes its decision into it.
    """
    return {
        "tracing": {
            "random_sampling": {"value": 100},
            "operation": "%REQ(:METHOD)%",
            "upstream_operation": "%REQ(:METHOD)%",
            "spawn_upstream_span": phase == Phase.ROUTE,
            "custom_tags": [{"tag": "weft.phase", "literal": {"value": phase.value}}],
            "provider": {
                "name": "envoy.tracers.opentelemetry",
                "typed_config": {
                    "@type": f"{TYPE}config.trace.v3.OpenTelemetryConfig",
                    "grpc_service": {"envoy_grpc": {"cluster_name": names.OTLP}, "timeout": "5s"},
                    "service_name": SERVICE,
                },
            },
        },
        "request_id_extension": {
            "typed_config": {
                "@type": f"{TYPE}extensions.request_id.uuid.v3.UuidRequestIdConfig",
                "pack_trace_reason": False,
                "use_request_id_for_trace_sampling": False,
            }
        },
    }
