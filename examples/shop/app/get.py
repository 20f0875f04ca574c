"""One request, its answer in a line. Usage: get.py [METHOD] URL [HEADER: VALUE]... The path goes out as it is written.

Prints the status and the first line of the body, or what went wrong; exit code 1 then.
"""

import http.client
import sys

words = sys.argv[1:]
method = words.pop(0) if "://" not in words[0] else "GET"
host, _, path = words.pop(0).removeprefix("http://").partition("/")
try:
    connection = http.client.HTTPConnection(host, timeout=3)
    connection.request(method, "/" + path, headers=dict(word.split(": ", 1) for word in words))
    answer = connection.getresponse()
    body = answer.read().decode().split("\n")[0]
    print(answer.status, body)
except OSError as error:
    print(f"{type(error).__name__}: {error}")
    sys.exit(1)
