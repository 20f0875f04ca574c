"""Envoy's resources as protobuf. Imports Envoy's types: only ``weft.proxy.worker`` may import it."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

# For the types that resources name in ``@type``: protobuf finds only those that somebody imported.
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.config.trace.v3 import opentelemetry_pb2  # noqa: F401
from envoy.extensions.access_loggers.grpc.v3 import als_pb2  # noqa: F401
from envoy.extensions.filters.http.cors.v3 import cors_pb2  # noqa: F401
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2  # noqa: F401
from envoy.extensions.filters.http.router.v3 import router_pb2  # noqa: F401
from envoy.extensions.filters.http.stateful_session.v3 import stateful_session_pb2  # noqa: F401
from envoy.extensions.filters.listener.original_dst.v3 import original_dst_pb2  # noqa: F401
from envoy.extensions.filters.listener.original_src.v3 import original_src_pb2  # noqa: F401
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2  # noqa: F401
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2  # noqa: F401
from envoy.extensions.filters.network.set_filter_state.v3 import set_filter_state_pb2  # noqa: F401
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2  # noqa: F401
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import (  # noqa: F401
    header_mutation_pb2 as early_header_mutation_pb2,
)
from envoy.extensions.http.header_formatters.preserve_case.v3 import preserve_case_pb2  # noqa: F401
from envoy.extensions.http.stateful_session.cookie.v3 import cookie_pb2  # noqa: F401
from envoy.extensions.http.stateful_session.header.v3 import header_pb2  # noqa: F401
from envoy.extensions.request_id.uuid.v3 import uuid_pb2  # noqa: F401
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2  # noqa: F401
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.json_format import ParseDict

TYPE = "type.googleapis.com/"
CLUSTER = f"{TYPE}envoy.config.cluster.v3.Cluster"
ENDPOINTS = f"{TYPE}envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = f"{TYPE}envoy.config.listener.v3.Listener"
ROUTES = f"{TYPE}envoy.config.route.v3.RouteConfiguration"
TYPES = (CLUSTER, ENDPOINTS, LISTENER, ROUTES)
"""In the order in which changes are sent: what is named comes before what names it."""

_MESSAGES = {
    CLUSTER: cluster_pb2.Cluster,
    ENDPOINTS: endpoint_pb2.ClusterLoadAssignment,
    LISTENER: listener_pb2.Listener,
    ROUTES: route_pb2.RouteConfiguration,
}


class Resource(NamedTuple):
    """``version`` is a digest of the content, so that a restarted agent and its Envoy agree on what is equal."""

    type: str
    name: str
    version: str
    body: AnyMessage


def resource(type_: str, json: dict[str, Any]) -> Resource:
    """Errors: google.protobuf.json_format.ParseError if the JSON is not of the type."""
    message = ParseDict(json, _MESSAGES[type_]())
    value = message.SerializeToString(deterministic=True)
    name = json["cluster_name"] if type_ == ENDPOINTS else json["name"]
    return Resource(
        type_, name, hashlib.blake2b(value, digest_size=12).hexdigest(), AnyMessage(type_url=type_, value=value)
    )
