"""Which of Envoy's listeners are really listening: asked of the kernel (sock_diag, as ``ss -ltn`` does)."""

from __future__ import annotations

import socket
import struct

from weft.proxy.names import LISTEN_V4, LISTEN_V6

_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY = 4, 20
_REQUEST_DUMP, _DONE, _ERROR = 0x301, 3, 2
_LISTEN = 1 << 10
_IPV6_TRANSPARENT = 75
_HEADER = struct.Struct("=IHHII")
_QUERY = struct.Struct("=BBBxI48x")
_ADDRESS = {socket.AF_INET: LISTEN_V4.packed, socket.AF_INET6: LISTEN_V6.packed}


def listening(family: socket.AddressFamily) -> set[int]:
    """Ports at which somebody listens on weft's address of the family, in the calling thread's network namespace.

    Errors: OSError.
    """
    query = _QUERY.pack(family, socket.IPPROTO_TCP, 0, _LISTEN)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as link:
        link.send(_HEADER.pack(_HEADER.size + len(query), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0) + query)
        ports: set[int] = set()
        while True:
            data = memoryview(link.recv(1 << 18))
            while data:
                length, type_, *_ = _HEADER.unpack_from(data)
                if type_ == _DONE:
                    return ports
                if type_ == _ERROR:
                    (number,) = struct.unpack_from("=i", data, _HEADER.size)
                    raise OSError(-number, "sock_diag")
                # struct inet_diag_msg: family, state, timer, retrans, then source and destination port, source address
                message = data[_HEADER.size : length]
                (port,) = struct.unpack_from("!H", message, 4)
                address = bytes(message[8:24])
                if address.startswith(_ADDRESS[family]):
                    ports.add(port)
                data = data[(length + 3) & ~3 :]


def listens(number: int, v6: bool = True) -> bool:
    """Whether the listener is there for every family."""
    return number in listening(socket.AF_INET) and (not v6 or number in listening(socket.AF_INET6))


def has_v6() -> bool:
    """Whether anybody can listen on the IPv6 address: not where the kernel or the namespace has no IPv6."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
            probe.bind((str(LISTEN_V6), 0))
    except OSError:
        return False
    return True
