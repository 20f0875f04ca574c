"""A listener of Envoy: the sockets, the connection manager, and what becomes of connections that are not HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from weft.model.desired import Listener
from weft.model.http import HttpRuleSet
from weft.model.l7 import Phase
from weft.proxy import names
from weft.proxy.clusters import BUFFER_BYTES, http1_options, http2_options, socket_address
from weft.proxy.tracing import manager_tracing

Json = dict[str, Any]
TYPE = "type.googleapis.com/envoy."

SOL_SOCKET, SO_MARK = 1, 36
TRACE_HEADERS = ("x-request-id", "traceparent")
KEPT_PROTO = "x-weft-forwarded-proto"
SECRET_HEADERS = frozenset(
    {
        "api-key",
        "authorization",
        "cookie",
        "proxy-authenticate",
        "proxy-authorization",
        "set-cookie",
        "www-authenticate",
        "x-amz-security-token",
        "x-api-key",
        "x-auth-token",
        "x-csrf-token",
        "x-forwarded-client-cert",
        "x-goog-iam-authorization-token",
        "x-vault-token",
        "x-xsrf-token",
    }
)
"""Never asked of Envoy, whatever the configuration says."""


def listener(
    number: int, content: Listener, log_headers: Sequence[str] = (), v6: bool = True, traced: bool = False
) -> Json:
    """The Listener. ``log_headers``: request headers for the access log; those that carry credentials are left out.

    ``v6``: also on the IPv6 address. ``traced``: requests have spans, which the cluster ``names.OTLP`` gets.
    """
    phase = names.phase_of(content)
    families = (0,) if isinstance(content, HttpRuleSet) else (4, 6)
    http = isinstance(content, HttpRuleSet) or bool(content.rules)
    chains: list[Json] = []
    for family in families:
        if isinstance(content, HttpRuleSet) or content.rules:
            manager = _manager(number, family, log_headers, manager_tracing(phase) if traced else {})
            chains.append(_chain(number, phase, "http", manager, family))
            # For each family again: Envoy picks by address first and does not come back.
            chains.append(_chain(number, phase, "tls", _forward(names.NOWHERE), family))
        else:
            chains.append(_chain(number, phase, "tcp", _forward(names.cluster_name(content.cluster, family)), family))
    inspect = [extension("tls_inspector", "extensions.filters.listener.tls_inspector.v3.TlsInspector")] if http else []
    return {
        "name": names.listener_name(number),
        "address": socket_address(str(names.LISTEN_V4), number),
        "additional_addresses": [{"address": socket_address(str(names.LISTEN_V6), number)}] if v6 else [],
        "transparent": True,
        "socket_options": [
            {
                "description": "SO_MARK",
                "level": SOL_SOCKET,
                "name": SO_MARK,
                "int_value": names.MARK_ANSWER,
                "state": "STATE_PREBIND",
            }
        ],
        "listener_filters": [
            extension("original_dst", "extensions.filters.listener.original_dst.v3.OriginalDst"),
            extension(
                "original_src",
                "extensions.filters.listener.original_src.v3.OriginalSrc",
                mark=names.MARK_DONE[phase],
            ),
            *inspect,
        ],
        "listener_filters_timeout": "15s",
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "filter_chains": chains,
    }


def _chain(number: int, phase: Phase, kind: str, filter_: Json, family: int = 0) -> Json:
    match: Json = {}
    if kind == "tls":
        match["transport_protocol"] = "tls"
    if family:
        address = "0.0.0.0" if family == 4 else "::"
        match["prefix_ranges"] = [{"address_prefix": address, "prefix_len": 0}]
    origin = {
        "object_key": names.ORIGIN_KEY,
        "factory_key": "envoy.string",
        "format_string": {"text_format_source": {"inline_string": f"{number} {phase.value} {kind}"}},
    }
    name = f"{kind}/{family}" if family else kind
    return {
        "name": name,
        "filter_chain_match": match,
        "filters": [
            extension(
                "set_filter_state",
                "extensions.filters.network.set_filter_state.v3.Config",
                on_new_connection=[origin],
            ),
            filter_,
        ],
    }


def _forward(cluster: str) -> Json:
    return extension(
        "tcp_proxy",
        "extensions.filters.network.tcp_proxy.v3.TcpProxy",
        stat_prefix="tcp",
        cluster=cluster,
        idle_timeout="0s",
        access_log=[_access_log("tcp_grpc", "TcpGrpcAccessLogConfig")],
    )


def _manager(number: int, family: int, log_headers: Sequence[str], tracing: Json) -> Json:
    """The HTTP connection manager: a proxy that applications do not see; paths that cannot be read in two ways."""
    logged = [*TRACE_HEADERS, *(name for name in map(str.lower, log_headers) if name not in SECRET_HEADERS)]
    return extension(
        "http_connection_manager",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="http",
        codec_type="AUTO",
        rds={
            "config_source": {"ads": {}, "resource_api_version": "V3"},
            "route_config_name": names.routes_name(number, family),
        },
        http_filters=_http_filters(routes=family != 0),
        http_protocol_options={**http1_options(), "accept_http_10": True},
        http2_protocol_options=http2_options(),
        common_http_protocol_options={
            "max_headers_count": 100,
            "headers_with_underscores_action": "ALLOW",
            "idle_timeout": "3600s",
        },
        max_request_headers_kb=60,
        request_headers_timeout="10s",
        stream_idle_timeout="3600s",
        delayed_close_timeout="1s",
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        upgrade_configs=[{"upgrade_type": "websocket"}],
        server_header_transformation="PASS_THROUGH",
        skip_xff_append=True,
        # Nobody is internal: clients cannot steer Envoy by x-envoy-* headers, and it adds none.
        internal_address_config={"cidr_ranges": [{"address_prefix": "255.255.255.255", "prefix_len": 32}]},
        early_header_mutation_extensions=[keep_forwarded_proto()],
        generate_request_id=False,
        preserve_external_request_id=True,
        **tracing,
        access_log=[
            _access_log(
                "http_grpc",
                "HttpGrpcAccessLogConfig",
                additional_request_headers_to_log=list(dict.fromkeys(logged)),
                # In the headers if there is no body: refusals.
                additional_response_headers_to_log=["grpc-status"],
                additional_response_trailers_to_log=["grpc-status"],
            )
        ],
    )


def _http_filters(routes: bool) -> list[Json]:
    filters = [restore_forwarded_proto()]
    if routes:
        filters += [
            extension("envoy.filters.http.cors", "extensions.filters.http.cors.v3.Cors"),
            extension(
                "envoy.filters.http.stateful_session",
                "extensions.filters.http.stateful_session.v3.StatefulSession",
            ),
        ]
    router = extension(
        "envoy.filters.http.router", "extensions.filters.http.router.v3.Router", suppress_envoy_headers=True
    )
    return [*filters, router]


def keep_forwarded_proto() -> Json:
    """Envoy adds x-forwarded-proto where there is none. What the client wrote is kept aside before that..."""
    return extension(
        "keep-forwarded-proto",
        "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
        mutations=[{"remove": KEPT_PROTO}, _copy("x-forwarded-proto", KEPT_PROTO)],
    )


def restore_forwarded_proto() -> Json:
    """... and is all that the server gets."""
    return restore(KEPT_PROTO, "x-forwarded-proto")


def restore(kept: str, header: str) -> Json:
    """A filter that gives a header the value of another one, or takes it away with it."""
    mutations = [{"remove": header}, _copy(kept, header), {"remove": kept}]
    return extension(
        "envoy.filters.http.header_mutation",
        "extensions.filters.http.header_mutation.v3.HeaderMutation",
        mutations={"request_mutations": mutations},
    )


def _copy(source: str, target: str) -> Json:
    header = {"key": target, "value": f"%REQ({source})%"}
    return {"append": {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}


def _access_log(name: str, kind: str, **fields: Any) -> Json:
    return extension(
        name,
        f"extensions.access_loggers.grpc.v3.{kind}",
        common_config={
            "log_name": "weft",
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": names.AGENT}},
            "buffer_flush_interval": "0.1s",
            "buffer_size_bytes": 65536,
            "filter_state_objects_to_log": [names.ORIGIN_KEY],
        },
        **fields,
    )


def extension(name: str, type_: str, **fields: Any) -> Json:
    return {"name": name, "typed_config": {"@type": TYPE + type_, **fields}}
