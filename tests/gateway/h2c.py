"""Runs inside a pod: a server that speaks nothing but HTTP/2, without TLS. ``h2c.py NAME PORT``"""

from __future__ import annotations

import socket
import sys
import threading

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived
from h2.exceptions import ProtocolError

NAME, PORT = sys.argv[1], int(sys.argv[2])


def serve(client: socket.socket) -> None:
    talk = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
    talk.initiate_connection()
    with client:
        client.sendall(talk.data_to_send())
        while data := client.recv(65536):
            try:
                events = talk.receive_data(data)
            except ProtocolError:  # HTTP/1
                return
            for event in events:
                if isinstance(event, RequestReceived):
                    talk.send_headers(event.stream_id, [(":status", "200"), ("x-server", NAME)], end_stream=True)
            client.sendall(talk.data_to_send())


listener = socket.create_server(("", PORT), family=socket.AF_INET6, dualstack_ipv6=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
