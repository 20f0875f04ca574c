"""Connections, one after the other, a line to each. Usage: ping.py HOST PORT COUNT"""

import socket
import sys

count = int(sys.argv[3])
for _ in range(count):
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5) as connection:
        connection.recv(200)
        connection.sendall(b"hello\n")
        if b"hello" not in connection.recv(200):
            sys.exit("no echo")
print(f"{count} connections, {count} answers")
