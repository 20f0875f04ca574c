"""What Envoy makes of a request's path before any rule sees it, and which paths it refuses (400).

Rules and servers see the normalised path, so a rule can be stepped around only where a server reads it in yet another
way. Sources: Envoy's ``normalize_path``, ``merge_slashes`` and ``path_with_escaped_slashes_action``
(HttpConnectionManager), and Chromium's url_canon_path.cc, which it uses. tests/policy/test_httppath.py asks the
real one.

1. A fragment, or ``%2F`` or ``%5C`` before the query: refused.
2. A segment ``..;anything`` or ``.;anything`` is a dot segment.
3. ``\\`` is ``/``; ``%2E`` is a dot; dot segments are resolved and never lead above the root.
4. Escaped letters, digits and ``-_~`` are unescaped, once (a percent sign that would then begin an escape becomes
   ``%25``); other escapes stay as written; ``"<>^`{|}`` are escaped; ``%00`` is refused.
5. Adjacent slashes are one, except in a path of nothing but slashes, which becomes two. The query is never touched.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_ESCAPED_SLASH = re.compile(r"%2F|%5C", re.IGNORECASE)
_ESCAPED_DOT = re.compile(r"%2E", re.IGNORECASE)
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_TO_ESCAPE = frozenset('"<>^`{|}')
_UNRESERVED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_~")
_SLASHES = re.compile(r"/{2,}")
_NEVER_SENT = re.compile(r"[^\x21-\x7e]")


@dataclass(frozen=True, slots=True)
class Unacceptable:
    """Envoy answers 400 whatever the rules say."""

    reason: str


def normalise(path: str) -> str | Unacceptable:
    """``path``: as the client sends it, with its query."""
    if _NEVER_SENT.search(path):
        return Unacceptable("the path has a space, a control character or a letter beyond ASCII")
    if "#" in path:
        return Unacceptable("the path has a fragment")
    if not path.startswith("/"):
        return Unacceptable("the path does not begin with a slash")
    bare, mark, query = path.partition("?")
    if _ESCAPED_SLASH.search(bare):
        return Unacceptable("the path has an escaped slash or backslash (%2F, %5C)")
    if "%00" in bare:
        return Unacceptable("the path has an escaped zero byte (%00)")
    segments = "/".join(map(_without_parameters, bare.split("/")))
    resolved = _resolve(_ESCAPED_DOT.sub(".", segments.replace("\\", "/")))
    return _merge(_escape(resolved)) + mark + query


def _merge(path: str) -> str:
    """Envoy keeps the slashes at both ends, so nothing but slashes becomes two."""
    return _SLASHES.sub("/", path) if path.strip("/") or len(path) == 1 else "//"


def _without_parameters(segment: str) -> str:
    dots = segment.partition(";")[0]
    return dots if dots in (".", "..") else segment


def _resolve(path: str) -> str:
    """RFC 3986, 5.2.4: empty segments count."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def _escape(path: str) -> str:
    out: list[str] = []
    loose = -3
    """Where in ``out`` the last percent sign stands that begins no escape."""
    at = 0
    while at < len(path):
        found = _ESCAPE.match(path, at)
        char = chr(int(found[1], 16)) if found else path[at]
        if found and char not in _UNRESERVED:
            out += found[0]
        elif found:
            out.append(char)
            if loose >= len(out) - 3 and _ESCAPE.match("".join((*out[loose:], *path[at + 3 : at + 4]))):
                out[loose + 1 : loose + 1] = "25"  # it would begin one now: Chromium's CheckForNestedEscapes
        elif char in _TO_ESCAPE:
            out += f"%{ord(char):02X}"
        else:
            loose = len(out) if char == "%" else loose
            out.append(char)
        at += 3 if found else 1
    return "".join(out)
