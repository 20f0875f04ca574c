"""``L7Record`` ↔ bytes. What must not be kept goes here, before anything is stored: credentials, headers that nobody
asked for, and all but the beginning of what is too long."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from functools import lru_cache
from typing import Any

import msgspec

from weft.model.l7 import L7Record, L7Verdict, Phase, PolicyRuleRef, RouteRuleRef
from weft.model.net import IPAddress
from weft.model.route import RouteRef

CREDENTIALS = frozenset(
    {
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
    }
)
"""Headers (lower case) whose values are never stored, whatever the configuration allows."""
REDACTED = "HUBBLE_REDACTED"
"""Hubble's word in the place of a value that is not shown (pkg/hubble/defaults)."""
MAX_PATH, MAX_TEXT, MAX_HEADERS, MAX_MISMATCHES = 4096, 512, 32, 16
"""Bytes of a host or path and of any other text, and how many headers of a record, are kept; a cut text ends with "…".
Together less than 60,000 bytes, which a segment of the ring takes."""

_PASSWORD = re.compile(r"^([^/?#@]*?):[^/?#@]*@")
"""Of an authority ``user:password@host``."""
_PHASES, _VERDICTS = tuple(Phase), tuple(L7Verdict)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def encode(record: L7Record, allowed: Collection[str] = ()) -> bytes:
    """All but the time. ``allowed``: header names (lower case) that may be kept."""
    headers = [
        (_text(name), REDACTED if name in CREDENTIALS else _text(value))
        for name, value in ((name.lower(), value) for name, value in record.request_headers)
        if name in allowed
    ][:MAX_HEADERS]
    return _encode(
        (
            record.latency_ns,
            record.client.packed,
            record.client_port,
            record.server.packed,
            record.server_port,
            record.upstream.packed if record.upstream else None,
            record.upstream_port,
            record.listener,
            _PHASES.index(record.phase),
            _text(record.protocol),
            _VERDICTS.index(record.verdict),
            _text(record.method),
            _text(record.scheme),
            _text(_PASSWORD.sub(rf"\1:{REDACTED}@", record.host), MAX_PATH),
            _text(record.path, MAX_PATH),
            _text(record.original_path, MAX_PATH),
            record.status,
            record.grpc_status,
            _rule(record.rule),
            _text(record.details),
            [_text(name) for name in record.mismatches][:MAX_MISMATCHES],
            headers,
            record.request_bytes,
            record.response_bytes,
            _text(record.request_id),
            _text(record.trace_id),
            _text(record.traceparent),
        )
    )


def decode(data: bytes, end_ns: int) -> L7Record:
    """``end_ns``: when the answer was there, nanoseconds since 1970."""
    latency, client, client_port, server, server_port, upstream, upstream_port, listener, *rest = _decode(data)
    phase, protocol, verdict, method, scheme, host, path, original_path, status, grpc_status, *rest = rest
    rule, details, mismatches, headers, request_bytes, response_bytes, *ids = rest
    return L7Record(
        end_ns - latency,
        latency,
        _address(client),
        client_port,
        _address(server),
        server_port,
        _address(upstream) if upstream else None,
        upstream_port,
        listener,
        _PHASES[phase],
        protocol,
        _VERDICTS[verdict],
        method,
        scheme,
        host,
        path,
        original_path,
        status,
        grpc_status,
        _rule_ref(rule),
        details,
        tuple(mismatches),
        tuple((name, value) for name, value in headers),
        request_bytes,
        response_bytes,
        *ids,
    )


def _text(text: str, most: int = MAX_TEXT) -> str:
    """Always valid UTF-8: bytes that were none are spelled ``\\xff``."""
    if text.isascii() and len(text) <= most:
        return text
    # Envoy's log has bytes as they came; what gRPC's types could not read as UTF-8 arrives as surrogates.
    spelled = "".join(f"\\x{ord(c) - 0xDC00:02x}" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in text[:most])
    data = spelled.encode("utf-8", "backslashreplace")
    return data.decode() if len(data) <= most else data[: most - 3].decode("utf-8", "ignore") + "…"


@lru_cache(maxsize=8192)
def _address(packed: bytes) -> IPAddress:
    return ipaddress.IPv4Address(packed) if len(packed) == 4 else ipaddress.IPv6Address(packed)


def _rule(rule: PolicyRuleRef | RouteRuleRef | None) -> Any:
    return (*rule.route, rule.rule) if isinstance(rule, RouteRuleRef) else rule


def _rule_ref(stored: list[Any] | None) -> PolicyRuleRef | RouteRuleRef | None:
    if stored is None:
        return None
    if len(stored) == len(PolicyRuleRef._fields):
        return PolicyRuleRef(*stored)
    *route, rule = stored
    return RouteRuleRef(RouteRef(*route), rule)
