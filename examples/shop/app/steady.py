"""Two connections that must not notice anything: one kept open, one opened anew each time. A line for every round.

Usage: steady.py HOST PORT
"""

import http.client
import sys
import time

host, port = sys.argv[1], int(sys.argv[2])
kept = http.client.HTTPConnection(host, port, timeout=2)
while True:
    try:
        kept.request("GET", "/")
        kept.getresponse().read()
        fresh = http.client.HTTPConnection(host, port, timeout=2)
        fresh.request("GET", "/")
        fresh.getresponse().read()
        fresh.close()
        print("ok", flush=True)
    except OSError as error:
        print(f"FAILED {error}", flush=True)
    time.sleep(0.02)
