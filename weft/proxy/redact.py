"""What of a request's texts is shown: no password, no bytes that are no text, and of a long one the beginning."""

from __future__ import annotations

import re

REDACTED = "HUBBLE_REDACTED"
"""Hubble's word in the place of a value that is not shown (pkg/hubble/defaults)."""
MAX_PATH, MAX_TEXT, MAX_HEADERS = 4096, 512, 32
"""Bytes of a host or path and of any other text, and how many headers of a record, are shown; a cut text ends with "…".
"""

_PASSWORD = re.compile(r"^([^/?#@]*?):[^/?#@]*@")
"""Of an authority ``user:password@host``."""


def host(authority: str) -> str:
    """Without the password."""
    return text(_PASSWORD.sub(rf"\1:{REDACTED}@", authority) if "@" in authority else authority, MAX_PATH)


def text(value: str, most: int = MAX_TEXT) -> str:
    """Always valid UTF-8: bytes that were none are spelled ``\\xff``."""
    if value.isascii() and len(value) <= most:
        return value
    # Envoy's log has bytes as they came; what gRPC's types could not read as UTF-8 arrives as surrogates.
    spelled = "".join(f"\\x{ord(c) - 0xDC00:02x}" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in value[:most])
    data = spelled.encode("utf-8", "backslashreplace")
    return data.decode() if len(data) <= most else data[: most - 3].decode("utf-8", "ignore") + "…"
