"""Opens a connection, says so, and keeps it until somebody ends it. Usage: session.py HOST PORT"""

import socket
import sys

with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5) as connection:
    connection.settimeout(None)
    print(f"connected: {connection.recv(200).decode().strip()}", flush=True)
    try:
        print("closed by the server" if not connection.recv(1) else "data", flush=True)
    except OSError as error:
        print(error.strerror, flush=True)
