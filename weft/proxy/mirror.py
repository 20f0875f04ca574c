"""Mirrored requests leave Envoy under the client's address too, so that policy judges them like the client's own.

Envoy makes the copy in a client of its own, which knows no connection of the client's and would connect from the
node's address; policy never refuses the node. So the copy goes to a listener inside Envoy first, with more headers: who
the client is, and which cluster the copy is for. There they are taken off, and it goes on as a request of that client.
"""

from __future__ import annotations

from typing import Any

from weft.model.l7 import Phase
from weft.model.route import Mirror
from weft.proxy import names
from weft.proxy.clusters import http1_options, http2_options
from weft.proxy.listeners import extension, keep_forwarded_proto, restore, restore_forwarded_proto

Json = dict[str, Any]

CLIENT_HEADER, TARGET_HEADER = "x-weft-mirror-client", "x-weft-mirror-target"
FORWARDED_HEADER = "x-weft-mirror-forwarded-for"
"""What x-forwarded-for was, if it was there: Envoy adds its own address to that of a copy."""
MILLION = 1_000_000


def mirror_policy(mirror: Mirror, family: int, grpc: bool) -> Json:
    """A route's RequestMirrorPolicy. The copy has the client's Host."""
    share = round(MILLION * mirror.numerator / mirror.denominator)
    headers = {
        # Of the connection: x-forwarded-for is not believed.
        CLIENT_HEADER: "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
        TARGET_HEADER: names.cluster_name(mirror.cluster, family),
        FORWARDED_HEADER: "%REQ(x-forwarded-for)%",
    }
    return {
        "cluster": _name(grpc),
        "runtime_fraction": {"default_value": {"numerator": share, "denominator": "MILLION"}},
        "disable_shadow_host_suffix_append": True,
        "request_headers_mutations": [
            {"append": {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
            for key, value in headers.items()
        ],
    }


def mirror_clusters() -> list[Json]:
    """The ways to the inner listener: Envoy's copies know no protocol of the client's, and gRPC needs HTTP/2."""
    return [_cluster(grpc) for grpc in (False, True)]


def _cluster(grpc: bool) -> Json:
    protocol = {"http2_protocol_options": {}} if grpc else {"http_protocol_options": http1_options()}
    inside = {"address": {"envoy_internal_address": {"server_listener_name": names.MIRROR}}}
    return {
        "name": _name(grpc),
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": protocol,
            }
        },
        "load_assignment": {
            "cluster_name": _name(grpc),
            "endpoints": [{"lb_endpoints": [{"endpoint": inside}]}],
        },
    }


def mirror_listener() -> Json:
    onward = {
        "match": {"prefix": ""},
        "route": {"cluster_header": TARGET_HEADER, "timeout": "0s"},
        "request_headers_to_remove": [CLIENT_HEADER, TARGET_HEADER],
    }
    source = extension(
        "envoy.filters.http.original_src",
        "extensions.filters.http.original_src.v3.OriginalSrc",
        mark=names.MARK_DONE[Phase.ROUTE],
    )
    detection = extension(
        "envoy.http.original_ip_detection.custom_header",
        "extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig",
        header_name=CLIENT_HEADER,
        reject_with_status={"code": "Forbidden"},
    )
    router = extension(
        "envoy.filters.http.router", "extensions.filters.http.router.v3.Router", suppress_envoy_headers=True
    )
    manager = extension(
        "http_connection_manager",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="mirror",
        codec_type="AUTO",
        route_config={"validate_clusters": False, "virtual_hosts": [_host(onward)]},
        http_filters=[restore(FORWARDED_HEADER, "x-forwarded-for"), restore_forwarded_proto(), source, router],
        early_header_mutation_extensions=[keep_forwarded_proto()],
        original_ip_detection_extensions=[detection],
        http_protocol_options={**http1_options(), "accept_http_10": True},
        http2_protocol_options=http2_options(),
        max_request_headers_kb=96,
        skip_xff_append=True,
        generate_request_id=False,
    )
    return {"name": names.MIRROR, "internal_listener": {}, "filter_chains": [{"filters": [manager]}]}


def _host(route: Json) -> Json:
    return {"name": "all", "domains": ["*"], "routes": [route]}


def _name(grpc: bool) -> str:
    return f"{names.MIRROR}/http2" if grpc else f"{names.MIRROR}/http1"
