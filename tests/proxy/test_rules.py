"""The real Envoy enforces rule sets: what passes, what is refused, and what the access log says of it."""

from __future__ import annotations

import socket
import ssl
import subprocess

import pytest

from tests.proxy.scene import CLIENT, SERVER, SERVER6, Client, Scene, header, rules
from weft.model.http import HttpMatch, Mismatch
from weft.model.l7 import L7Verdict, Phase, PolicyRuleRef

NUMBER, SOFT, INGRESS, TEXT = 10_001, 10_002, 10_003, 10_004


@pytest.fixture(scope="module")
def ruled(stage: Scene) -> Scene:
    sets = {
        NUMBER: rules(
            HttpMatch(method="GET", path="/public(/.*|[?].*)?"),
            HttpMatch(method="PUT|POST", host="shop[.]example(:[0-9]+)?"),
            HttpMatch(path="/long/[a-z]{1,64}/x"),
            HttpMatch(path="/header", headers=(header("x-who", "me"), header("x-there"))),
        ),
        SOFT: rules(
            HttpMatch(
                headers=(
                    header("x-log", "1", Mismatch.LOG),
                    header("x-add", "1", Mismatch.ADD),
                    header("x-delete", "1", Mismatch.DELETE),
                    header("x-replace", "50%", Mismatch.REPLACE),
                )
            )
        ),
        INGRESS: rules(HttpMatch(path="/in"), egress=False),
    }
    for number in sets:
        stage.serve(SERVER, number)
        stage.serve(SERVER6, number)
    assert stage.ensure(sets) == []
    return stage


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/public", {}, 200),
        ("GET", "/public/a?b=c", {}, 200),
        ("GET", "/publicity", {}, 403),
        ("GET", "/Public", {}, 403),
        ("POST", "/public", {}, 403),
        ("GET", "/public/../private", {}, 403),
        ("GET", "/public/./../private", {}, 403),
        ("GET", "//public", {}, 200),
        ("GET", "/public/%2e%2e/private", {}, 403),
        ("GET", "/public/..%2fprivate", {}, 400),
        ("GET", "/public/..%5Cprivate", {}, 400),
        ("GET", "/public/#/../private", {}, 400),
        ("GET", "/public/%2e%2e;/private", {}, 403),
        ("GET", "/public/%2e;/private", {}, 403),
        ("GET", "/public/a..;/b", {}, 200),
        ("GET", f"/long/{'a' * 64}/x", {}, 200),
        ("PUT", "/x", {"Host": "shop.example"}, 200),
        ("POST", "/x", {"Host": "shop.example:80"}, 200),
        ("PUT", "/x", {"Host": "shop.example.org"}, 403),
        ("GET", "/header", {"X-Who": "me", "X-There": ""}, 200),
        ("GET", "/header", {"X-Who": "me"}, 403),
        ("GET", "/header", {"X-Who": "me too", "X-There": "1"}, 403),
    ],
)
@pytest.mark.parametrize("v6", [False, True], ids=["v4", "v6"])
def test_request(ruled: Scene, method: str, path: str, headers: dict[str, str], status: int, v6: bool) -> None:
    answer = ruled.ask(NUMBER, path, method, headers, v6)
    assert answer.status == status
    if status == 403:
        assert answer.text == "Access denied\r\n"


def test_refused_request_leaves_the_connection(ruled: Scene) -> None:
    client = Client(NUMBER)
    assert [client.ask(path).status for path in ("/public", "/private", "/public")] == [200, 403, 200]
    client.close()


def test_application_does_not_see_envoy(ruled: Scene) -> None:
    sent = {
        "Host": "who",
        "X-CamelCase": "1",
        "User-Agent": "test",
        "x-envoy-max-retries": "1",
        "Accept-Encoding": "no",
    }
    answer = ruled.ask(NUMBER, "/public", headers=sent)
    del sent["x-envoy-max-retries"]
    assert dict(answer.echo["headers"]) == sent
    assert answer.echo["client"] == CLIENT
    assert [name for name, _ in answer.headers] == ["Server", "Date", "Content-Length", "X-MixedCase"]


def test_forwarded_headers_are_the_clients_own(ruled: Scene) -> None:
    sent = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1", "X-Request-Id": "7"}
    answer = ruled.ask(NUMBER, "/public", headers=sent)
    assert {name: value for name, value in answer.echo["headers"] if name in sent} == sent


@pytest.mark.parametrize(
    ("sent", "got", "mismatches"),
    [
        ({"x-log": "1", "x-add": "1", "x-delete": "1", "x-replace": "50%"}, ["1", "1", "1", "50%"], ()),
        ({}, ["", "1", "", "50%"], ("x-log", "x-add", "x-delete", "x-replace")),
        (
            {"x-log": "2", "x-add": "2", "x-delete": "2", "x-replace": "2"},
            ["2", "2,1", "", "50%"],
            ("x-log", "x-add", "x-delete", "x-replace"),
        ),
        ({"x-log": "1", "x-add": "1", "x-delete": "2", "x-replace": "50%"}, ["1", "1", "", "50%"], ("x-delete",)),
    ],
)
def test_soft_header_matches(ruled: Scene, sent: dict[str, str], got: list[str], mismatches: tuple[str, ...]) -> None:
    client = Client(SOFT)
    answer = client.ask("/", headers=sent)
    port = client.port
    client.close()
    names = ("x-log", "x-add", "x-delete", "x-replace")
    assert [",".join(answer.server_header(name)) for name in names] == got
    assert ruled.record(client_port=port).mismatches == mismatches


def test_record_of_what_passed(ruled: Scene) -> None:
    client = Client(NUMBER)
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    sent = {"Host": "shop", "User-Agent": "me", "Authorization": "secret", "traceparent": trace}
    sent["X-Forwarded-For"] = "192.0.2.1"  # nobody is believed
    client.ask("/public/a?b=1", headers=sent)
    record = ruled.record(client_port=client.port)
    client.close()
    assert record.verdict is L7Verdict.FORWARDED
    assert (record.phase, record.listener, record.protocol) == (Phase.EGRESS, NUMBER, "HTTP/1.1")
    assert record.rule == PolicyRuleRef(1, 0)
    assert (record.method, record.url, record.status) == ("GET", "http://shop/public/a?b=1", 200)
    assert str(record.client) == CLIENT
    assert (str(record.server), record.server_port) == (str(record.upstream), record.upstream_port) == (SERVER, NUMBER)
    assert record.request_headers == (("user-agent", "me"),)
    assert record.traceparent == trace
    assert record.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert record.latency_ns > 0


def test_record_of_what_was_refused(ruled: Scene) -> None:
    client = Client(INGRESS)
    client.ask("/out")
    record = ruled.record(client_port=client.port)
    client.close()
    assert (record.verdict, record.status, record.rule) == (L7Verdict.DROPPED, 403, None)
    assert (record.phase, record.details, record.upstream) == (Phase.INGRESS, "no rule allows it", None)


def test_rubbish_is_closed_and_told(ruled: Scene) -> None:
    with socket.create_connection((SERVER, NUMBER), 5) as raw:
        port = raw.getsockname()[1]
        raw.sendall(b"EHLO there\r\n\r\n")
        while raw.recv(4096):
            pass
    record = ruled.record(client_port=port)
    assert record.verdict is L7Verdict.DROPPED
    assert record.details.startswith("not valid HTTP")


def test_tls_is_closed_and_told_apart(ruled: Scene) -> None:
    context = ssl.create_default_context()
    with socket.create_connection((SERVER, NUMBER), 5) as raw:
        port = raw.getsockname()[1]
        with pytest.raises(OSError):
            context.wrap_socket(raw, server_hostname="shop")
    record = ruled.record(client_port=port)
    assert (record.verdict, record.details, record.protocol) == (L7Verdict.DROPPED, "TLS where HTTP is expected", "TCP")


def test_http2_with_prior_knowledge_is_judged(ruled: Scene) -> None:
    url, form = f"http://{SERVER}:{NUMBER}/private", "%{http_version} %{http_code}"
    command = ["curl", "-s", "--http2-prior-knowledge", "--interface", CLIENT, "-w", form, url]
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stdout == b"Access denied\r\n2 403"
    assert ruled.record(protocol="HTTP/2", path="/private").verdict is L7Verdict.DROPPED


def test_server_that_is_not_there(ruled: Scene) -> None:
    assert ruled.ensure({TEXT: rules(HttpMatch())}) == []
    client = Client(TEXT)
    assert client.ask("/").status == 503
    record = ruled.record(client_port=client.port)
    client.close()
    assert (record.verdict, record.details) == (L7Verdict.ERROR, "server refused the connection")
