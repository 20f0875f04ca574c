"""Requests over one connection that stays open: the requests come on standard input, a line each, "METHOD PATH".

Usage: requests.py HOST PORT. Answers a line each: the status and the first line of the body, or what ended the
connection.
"""

import http.client
import sys

connection = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=5)
connection.connect()
connection.auto_open = 0  # never another one behind our back
print("connected", flush=True)
for line in sys.stdin:
    method, path = line.split()
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read().decode().split("\n")[0]
        print(f"{answer.status} {body}", flush=True)
    except (OSError, http.client.HTTPException) as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        break
