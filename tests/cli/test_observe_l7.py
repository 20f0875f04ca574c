"""observe --type l7, from a request through the node's Envoy to the printed flow."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
from typing import Any
from unittest import mock

from tests.lab import Lab, until
from weft.cli import run

POLICY = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: api}
spec:
  endpointSelector: {matchLabels: {app: api}}
  ingress:
  - fromEndpoints:
    - matchLabels: {app: frontend}
    toPorts:
    - ports: [{port: "8080", protocol: TCP}]
      rules: {http: [{method: GET, path: /public}]}
"""
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
ASK = f"""
import http.client
for method in ("GET", "POST"):
    connection = http.client.HTTPConnection("%s", 8080)
    headers = {{"Authorization": "s3cret", "X-Team": "blue", "X-Other": "mum"}}
    headers["traceparent"] = "00-{TRACE_ID}-b7ad6b7169203331-01"
    connection.request(method, "/public", headers=headers)
    print(method, connection.getresponse().status)
"""


def observe(lab: Lab, *flags: str) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), mock.patch.dict(os.environ):
        assert run(["--node-name", lab.name, "observe", "--all", *flags]) == 0
    return said.getvalue()


def flows(lab: Lab, *flags: str) -> list[dict[str, Any]]:
    return [json.loads(line)["flow"] for line in observe(lab, "-o", "json", *flags).splitlines()]


def test_requests_are_seen_with_what_became_of_them(lab: Lab) -> None:
    probe = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    server = ["/usr/bin/python3", "-m", "http.server", "8080", "--bind", "0.0.0.0"]
    api = lab.run("api", server, labels={"app": "api"}, readiness=probe, wait="Ready")
    frontend = lab.run("frontend", labels={"app": "frontend"})
    lab.apply(POLICY, "mine.yaml")
    asked = frontend.exec("/usr/bin/python3", "-c", ASK % api.v4)
    assert asked.stdout == "GET 404\nPOST 403\n", asked.stderr

    until(lambda: len(flows(lab, "--type", "l7")) == 2, "both requests are recorded")
    passed, refused = flows(lab, "--type", "l7", "--from-pod", "frontend", "--to-pod", "api", "--port", "8080")
    assert [each["verdict"] for each in (passed, refused)] == ["FORWARDED", "DROPPED"]
    assert [each["l7"]["http"]["code"] for each in (passed, refused)] == [404, 403]
    assert passed["ingress_allowed_by"][0]["name"] == "api" and int(passed["l7"]["latency_ns"]) > 0
    assert refused["extensions"]["value"]["why"].startswith("no http rule allows it: CiliumNetworkPolicy/default/api")
    said = observe(lab, "-o", "json")
    assert "blue" in said and "s3cret" not in said and "mum" not in said
    assert len(flows(lab, "--http-header", "x-team:blue")) == 2 and not flows(lab, "--http-header", "x-team:red")
    assert [each["l7"]["http"]["method"] for each in flows(lab, "--http-status", "403")] == ["POST"]
    assert len(flows(lab, "--trace-id", TRACE_ID, "--http-path", "^/public$")) == 2
    compact = rf"http-response DROPPED \(HTTP/1\.1 403 \d+ms \(POST http://{api.v4}:8080/public\); no http rule"
    assert re.search(compact, observe(lab))

    ports = [str(each["l4"]["TCP"]["source_port"]) for each in (passed, refused)]
    for port in ports:  # the connection's own record: it went to Envoy
        (first, *_) = flows(lab, "--from-pod", "frontend", "--from-port", port, "--type", "policy-verdict")
        assert first["verdict"] == "REDIRECTED" and first["ingress_allowed_by"][0]["name"] == "api"
