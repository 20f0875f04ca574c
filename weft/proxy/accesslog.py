"""Envoy's access log service: entries are kept as they come, and become ``L7Record`` when somebody asks."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from envoy.config.core.v3.address_pb2 import Address
from envoy.config.core.v3.base_pb2 import RequestMethod
from envoy.data.accesslog.v3.accesslog_pb2 import AccessLogCommon, HTTPAccessLogEntry, TCPAccessLogEntry
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage, StreamAccessLogsResponse
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import StringValue
from grpclib.const import Cardinality, Handler
from grpclib.exceptions import StreamTerminatedError

from weft.model.l7 import L7Batch, L7Entry, L7Record, L7Verdict, Phase, PolicyRuleRef, RouteRuleRef
from weft.model.net import IPAddress
from weft.proxy import names, redact
from weft.proxy.listeners import SECRET_HEADERS

if TYPE_CHECKING:
    from grpclib.server import Stream

_VERSIONS = {
    HTTPAccessLogEntry.HTTP10: "HTTP/1.0",
    HTTPAccessLogEntry.HTTP11: "HTTP/1.1",
    HTTPAccessLogEntry.HTTP2: "HTTP/2",
    HTTPAccessLogEntry.HTTP3: "HTTP/3",
}
_FLAGS = {
    "upstream_connection_failure": "server refused the connection",
    "upstream_connection_termination": "server closed the connection",
    "upstream_remote_reset": "server reset the connection",
    "upstream_retry_limit_exceeded": "retries are used up",
    "upstream_request_timeout": "server did not answer in time",
    "no_healthy_upstream": "no endpoint is ready",
    "no_cluster_found": "backend is invalid",
    "no_route_found": "no route fits",
    "upstream_overflow": "too many connections to the server",
    "local_reset": "Envoy reset the connection",
    "downstream_connection_termination": "client went away",
    "downstream_protocol_error": "not valid HTTP",
    "stream_idle_timeout": "nothing was sent for too long",
    "duration_timeout": "time-out",
    "overload_manager": "Envoy is overloaded",
    "upstream_protocol_error": "server's answer is not valid HTTP",
    "upstream_max_stream_duration_reached": "time-out",
    "downstream_remote_reset": "client reset the request",
}
"""Fields of Envoy's ResponseFlags in the order in which one is told."""
_CLIENTS_OWN = {"downstream_connection_termination", "downstream_remote_reset"}
_NOT_A_FAILURE = {"no_route_found", *_CLIENTS_OWN}
_NO_ADDRESS = ipaddress.IPv4Address(0)


class AccessLog:
    """grpclib service. ``receive`` gets the entries of one message, in the thread of the loop. ``headers``: names of
    request headers that records have; those that carry credentials are left out."""

    def __init__(self, receive: Callable[[L7Batch], None], headers: Collection[str] = ()) -> None:
        self._receive = receive
        self._headers = frozenset(map(str.lower, headers)) - SECRET_HEADERS

    def __mapping__(self) -> dict[str, Handler]:
        path = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
        return {path: Handler(self._serve, Cardinality.STREAM_UNARY, _Unread, StreamAccessLogsResponse)}

    async def _serve(self, stream: Stream[Any, Any]) -> None:
        try:
            async for message in stream:
                self._receive(Batch(message, self._headers))
        except StreamTerminatedError:
            pass


class _Unread(bytes):
    """A StreamAccessLogsMessage as it came."""

    @classmethod
    def FromString(cls, data: bytes) -> _Unread:  # noqa: N802
        return cls(data)


class Batch(L7Batch):
    """``data``: a StreamAccessLogsMessage. Passwords in it go before it is kept. Errors: DecodeError."""

    __slots__ = ("_count", "_data", "_headers")

    def __init__(self, data: bytes, headers: Collection[str] = ()) -> None:
        message = StreamAccessLogsMessage.FromString(data)
        self._count = len(message.http_logs.log_entry) + len(message.tcp_logs.log_entry)
        self._headers = headers
        secret = [entry.request for entry in message.http_logs.log_entry if "@" in entry.request.authority]
        for request in secret:
            request.authority = redact.host(request.authority)
        self._data = message.SerializeToString() if secret else data

    @property
    def nbytes(self) -> int:
        return len(self._data)

    def __len__(self) -> int:
        return self._count

    def entries(self) -> Sequence[L7Entry]:
        message = StreamAccessLogsMessage.FromString(self._data)
        http = [HttpEntry(entry, self._headers) for entry in message.http_logs.log_entry]
        return [*http, *map(TcpEntry, message.tcp_logs.log_entry)]


class HttpEntry(L7Entry):
    __slots__ = ("_entry", "_headers")

    def __init__(self, entry: HTTPAccessLogEntry, headers: Collection[str] = ()) -> None:
        self._entry, self._headers = entry, headers

    @property
    def end_ns(self) -> int:
        return _end(self._entry.common_properties, answered=self._entry.response.response_code.value != 0)

    def record(self) -> L7Record | None:
        return http_record(self._entry, self._headers)


class TcpEntry(L7Entry):
    __slots__ = ("_entry",)

    def __init__(self, entry: TCPAccessLogEntry) -> None:
        self._entry = entry

    @property
    def end_ns(self) -> int:
        return _end(self._entry.common_properties, answered=True)

    def record(self) -> L7Record | None:
        return tcp_record(self._entry)


def _end(common: AccessLogCommon, answered: bool) -> int:
    return _nanoseconds(common.start_time) + (_latency(common) if answered else 0)


def _latency(common: AccessLogCommon) -> int:
    """To the answer's last byte; a client that is gone before Envoy notes that has its request's whole time."""
    return _nanoseconds(common.time_to_last_downstream_tx_byte) or _nanoseconds(common.duration)


def _nanoseconds(time: Timestamp | Duration) -> int:
    return int(time.seconds) * 1_000_000_000 + int(time.nanos)


def http_record(entry: HTTPAccessLogEntry, shown: Collection[str] = ()) -> L7Record | None:
    """``shown``: headers (lower case) that the record has."""
    common, request, response = entry.common_properties, entry.request, entry.response
    origin = _origin(common)
    if origin is None:
        return None
    number, phase, _ = origin
    rule, mismatches = names.parse_route(common.route_name)
    status = response.response_code.value
    headers = {name: redact.text(value) for name, value in request.request_headers.items()}
    trace = headers.get("traceparent", "")
    grpc = response.response_trailers.get("grpc-status") or response.response_headers.get("grpc-status")
    upstream, upstream_port = _address(common.upstream_remote_address)
    server, server_port = _address(common.downstream_local_address)
    # Of the connection; the other field believes x-forwarded-for.
    client, client_port = _address(common.downstream_direct_remote_address)
    verdict, details = _judge(common, response.response_code_details, status, rule, grpc is not None)
    return L7Record(
        time_ns=_nanoseconds(common.start_time),
        latency_ns=_latency(common) if status else 0,
        client=client or _NO_ADDRESS,
        client_port=client_port,
        server=server or _NO_ADDRESS,
        server_port=server_port,
        upstream=upstream,
        upstream_port=upstream_port,
        listener=number,
        phase=phase,
        protocol=_VERSIONS.get(entry.protocol_version, "TCP"),
        verdict=verdict,
        method=RequestMethod.Name(request.request_method) if request.request_method else "",
        scheme=redact.text(request.scheme),
        host=redact.host(request.authority),
        path=redact.text(request.path, redact.MAX_PATH),
        original_path=redact.text(request.original_path, redact.MAX_PATH)
        if request.original_path != request.path
        else "",
        status=status,
        grpc_status=int(grpc) if grpc and grpc.isdecimal() else None,
        rule=rule,
        details=details,
        mismatches=mismatches,
        request_headers=tuple(sorted(pair for pair in headers.items() if pair[0] in shown))[: redact.MAX_HEADERS],
        request_bytes=request.request_body_bytes,
        response_bytes=response.response_body_bytes,
        request_id=headers.get("x-request-id", ""),
        trace_id=_trace_id(trace),
        traceparent=trace,
    )


def tcp_record(entry: TCPAccessLogEntry) -> L7Record | None:
    common = entry.common_properties
    origin = _origin(common)
    if origin is None:
        return None
    number, phase, kind = origin
    upstream, upstream_port = _address(common.upstream_remote_address)
    server, server_port = _address(common.downstream_local_address)
    # Of the connection; the other field believes x-forwarded-for.
    client, client_port = _address(common.downstream_direct_remote_address)
    if kind == "tls":
        verdict, details = L7Verdict.DROPPED, "TLS where HTTP is expected"
    else:
        verdict, details = _judge(common, "", 0, None, False)
    return L7Record(
        time_ns=_nanoseconds(common.start_time),
        latency_ns=_latency(common),
        client=client or _NO_ADDRESS,
        client_port=client_port,
        server=server or _NO_ADDRESS,
        server_port=server_port,
        upstream=upstream,
        upstream_port=upstream_port,
        listener=number,
        phase=phase,
        protocol="TCP",
        verdict=verdict,
        details=details,
        request_bytes=entry.connection_properties.received_bytes,
        response_bytes=entry.connection_properties.sent_bytes,
    )


def _judge(
    common: AccessLogCommon, own: str, status: int, rule: PolicyRuleRef | RouteRuleRef | None, grpc: bool
) -> tuple[L7Verdict, str]:
    """The verdict, and why it is not a plain forward. ``own``: Envoy's response code details."""
    flags = {field.name for field, _ in common.response_flags.ListFields()}
    details = next((text for flag, text in _FLAGS.items() if flag in flags), "")
    if common.route_name == names.DENIED:
        return L7Verdict.DROPPED, "no rule allows it"
    if common.route_name == names.UNROUTED:
        return L7Verdict.ERROR, "no route fits"
    if own == "direct_response" and isinstance(rule, RouteRuleRef):
        if status == 500 or grpc:
            return L7Verdict.ERROR, "no valid backend"
        return L7Verdict.REDIRECTED, ""
    if "downstream_protocol_error" in flags or (not common.route_name and own and own != "via_upstream"):
        return L7Verdict.DROPPED, _refusal(own) or details
    if flags - _NOT_A_FAILURE:
        return L7Verdict.ERROR, details
    return L7Verdict.FORWARDED, details


def _refusal(details: str) -> str:
    """Envoy's own word for what it refused, made readable."""
    known = {
        "path_normalization_failed": "path with an escaped slash or one that leads above the root",
        "missing_host_header": "request without a host",
        "request_headers_too_large": "headers are too large",
        "request_header_timeout": "headers took too long",
    }
    return known.get(details) or (f"not valid HTTP ({details})" if details else "")


def _origin(common: AccessLogCommon) -> tuple[int, Phase, str] | None:
    packed = common.filter_state_objects.get(names.ORIGIN_KEY)
    text = StringValue()
    if packed is None or not packed.Unpack(text):
        return None
    number, phase, kind = text.value.split()
    return int(number), Phase(phase), kind


def _address(address: Address) -> tuple[IPAddress | None, int]:
    socket = address.socket_address
    return (_parse(socket.address), socket.port_value) if socket.address else (None, 0)


_parse = lru_cache(maxsize=4096)(ipaddress.ip_address)
"""Most of the time that a record takes; the same few addresses come again and again."""


def _trace_id(traceparent: str) -> str:
    """W3C Trace Context: version-traceid-parentid-flags."""
    parts = traceparent.split("-")
    return parts[1] if len(parts) >= 4 and len(parts[1]) == 32 else ""


__all__ = ["AccessLog", "Batch"]
