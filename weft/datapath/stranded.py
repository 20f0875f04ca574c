"""Connected UDP sockets whose backend no longer belongs to the service that they dialled.

A connected socket sends without asking a hook, so it would talk to nobody for ever. It is destroyed (SOCK_DESTROY): its
owner gets an error at the next call (recv ECONNABORTED, send EDESTADDRREQ) and connects again, as with Cilium.
Unconnected ones are moved by the hook sendmsg, and TCP notices by itself. Source: inet_diag.h.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from weft.datapath import bpf, netns
from weft.datapath.errors import DatapathError
from weft.datapath.kernel import DIALLED, Datapath
from weft.datapath.layouts import UdpSocket
from weft.datapath.netlink import REQUEST, Message, Netlink
from weft.model.desired import Backend, Desired, ServiceKey
from weft.model.net import UDP

_NETLINK_SOCK_DIAG = 4
_BY_FAMILY, _DESTROY = 20, 21
_ESTABLISHED = 1 << 1
_ID = struct.Struct(">4xHH16s16s")
"""Of ``struct inet_diag_msg`` the ports and addresses of its ``inet_diag_sockid``, which are the bytes 4 to 52."""
_MAPPED = bytes(10) + b"\xff\xff"
_ETHERNET = bytes(14)


class _Client(NamedTuple):
    family: int
    id: bytes
    """``struct inet_diag_sockid``, the socket's cookie included."""
    dialled: UdpSocket


def is_stranded(desired: Desired, client: UdpSocket) -> bool:
    """Whether what a UDP socket dialled would not lead it to its backend any more."""
    entry = desired.services.get(ServiceKey(client.dialled_service_address, client.dialled_service_port, UDP))
    backend = Backend(client.dialled_backend_address, client.dialled_backend_port)
    return entry is None or not entry.backend_count or backend not in desired.backends[entry.backends]


def disconnect(datapath: Datapath, namespaces: Iterable[Path], stranded: Callable[[UdpSocket], bool]) -> int:
    """Destroy the ``stranded`` sockets of our own network namespace and of these; returns how many. A namespace that
    has gone meanwhile is passed over. Errors: DatapathError."""
    count = _disconnect_here(datapath, stranded)
    for path in namespaces:
        try:
            with netns.entered(path):
                count += _disconnect_here(datapath, stranded)
        except FileNotFoundError:
            continue
        except DatapathError as error:
            if error.errno != errno.EINVAL:  # a file whose namespace was unmounted
                raise
    return count


def _disconnect_here(datapath: Datapath, stranded: Callable[[UdpSocket], bool]) -> int:
    netlink = Netlink(_NETLINK_SOCK_DIAG)
    try:
        found = [one for one in _clients(netlink, datapath) if stranded(one.dialled)]
        orders = (struct.pack("=BBBxI", one.family, UDP, 0, _ESTABLISHED) + one.id for one in found)
        gone = (errno.ENOENT, errno.ENOTCONN)  # closed meanwhile
        netlink.request(*(Message(_DESTROY, REQUEST, order, "destroy a UDP socket") for order in orders), ignore=gone)
    finally:
        netlink.close()
    return len(found)


def _clients(netlink: Netlink, datapath: Datapath) -> Iterator[_Client]:
    """Every connected UDP socket of the namespace that dialled a service."""
    for family in (socket.AF_INET, socket.AF_INET6):
        for body in list(netlink.dump(_BY_FAMILY, struct.pack("=BBBxI48x", family, UDP, 0, _ESTABLISHED))):
            local_port, peer_port, local, peer = _ID.unpack_from(body)
            if family == socket.AF_INET:
                local, peer = _MAPPED + local[:4], _MAPPED + peer[:4]
            asked = UdpSocket(local, local_port, peer, peer_port, bytes(16), 0, bytes(16), 0, 0)
            answer = bpf.prog_test_run(datapath.programs[DIALLED], _ETHERNET + asked.pack())
            dialled = UdpSocket.unpack(answer.data, len(_ETHERNET))
            if answer.retval and dialled.dialled_service_port:
                yield _Client(family, body[4:52], dialled)
