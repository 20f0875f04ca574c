"""``make demo``: the shop, end to end. Real processes, real namespaces, real traffic; exit 0 only if every step went as
it says.

The node is a network namespace of its own, so nothing of the machine's own network is touched, and all of it is gone
at the end, also after a failure or Ctrl-C.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from examples.narrate import StepFailed, check, paint, say, show, title, until

ROOT = Path(__file__).parents[2]
SHOP = Path("examples/shop")
WEFT = str(ROOT / "bin" / "weft")
NODE = f"demo{os.getpid()}"


def weft(*words: str, ok: bool | None = True, quiet: bool = False, stdin: str | None = None) -> str:
    """Runs ``weft WORDS`` and returns what it printed. ``ok``: must it succeed? None: it may fail."""
    if not quiet:
        print(paint("33", f"  $ weft {' '.join(words)}"))
    done = subprocess.run(
        [WEFT, *words], capture_output=True, text=True, input=stdin, cwd=ROOT, timeout=60, check=False
    )
    text = done.stdout + done.stderr
    if ok is not None and (done.returncode == 0) != ok:
        raise StepFailed(f"weft {' '.join(words)}: exit {done.returncode}\n{text}")
    return text


class Node:
    """The namespace and the agent in it."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.agent: subprocess.Popen[bytes] | None = None
        self.log = (work / "agent.log").open("ab")
        subprocess.run(["ip", "netns", "add", NODE], check=True)
        subprocess.run(["ip", "-n", NODE, "link", "set", "lo", "up"], check=True)

    def _command(self, *extra: str) -> list[str]:
        return [
            *("nsenter", f"--net=/run/netns/{NODE}", WEFT, "agent", "--node-name", NODE),
            *("--pod-cidr", "10.77.0.0/24", "--pod-cidr", "fd77::/64"),
            *("--service-cidr", "10.78.0.0/20", "--service-cidr", "fd78::/108"),
            *("--state-dir", str(self.work / "state"), *extra),
        ]

    def start(self) -> float:
        """Starts the agent, waits until it answers; seconds that took."""
        began = time.monotonic()
        self.agent = subprocess.Popen(self._command(), stdout=self.log, stderr=self.log, cwd=ROOT)
        until(lambda: "error" not in weft("status", ok=None, quiet=True), "the agent answers", 20)
        return time.monotonic() - began

    def kill(self) -> None:
        assert self.agent is not None
        self.agent.send_signal(signal.SIGKILL)
        self.agent.wait()

    def close(self) -> None:
        if self.agent and self.agent.poll() is None:
            self.agent.terminate()
            self.agent.wait(timeout=30)
        done = subprocess.run(self._command("--cleanup"), capture_output=True, text=True, check=False, cwd=ROOT)
        if done.returncode:
            print(done.stdout + done.stderr, file=sys.stderr)
        subprocess.run(["ip", "netns", "del", NODE], check=False)
        self.log.close()


def start_shop() -> None:
    app = SHOP / "app"
    api = ["--port", "http=8080", "--ready", "tcp:8080"]
    for name, version in (("product-api-1", "v1"), ("product-api-2", "v1"), ("product-api-3", "v2")):
        labels = f"app=product-api,version={version}"
        show(weft("run", "--name", name, "-l", labels, *api, "--", "python3", str(app / "product_api.py"), version))
    database = ("python3", str(app / "line_server.py"), "5432")
    show(weft("run", "--name", "postgres", "-l", "app=postgres", "--ready", "tcp:5432", "--", *database))
    for name in ("frontend", "intruder"):
        show(weft("run", "--name", name, "-l", f"app={name}", "--", "sleep", "infinity"))


def scene_services() -> None:
    title("2  Services and policies; names, not addresses; no proxy and no NAT on the path")
    show(weft("apply", "-f", str(SHOP)))
    weft("wait", "--for", "Ready")
    weft("wait", "--for", "Ready", "-n", "kube-system", quiet=True)  # the DNS
    show(weft("get", "pods", "-o", "wide"))
    seen: dict[str, int] = {}
    print(paint("33", "  $ weft exec frontend -- curl http://product-api/      (30 times)"))
    script = "for i in $(seq 30); do curl -sS --max-time 3 http://product-api/ || exit 1; done"
    for line in weft("exec", "frontend", "--", "sh", "-c", script, quiet=True).splitlines():
        seen[line] = seen.get(line, 0) + 1
    for line, count in sorted(seen.items()):
        print(f"    {count:3} × {line}")
    check(len(seen) == 3 and all("product-api v" in line for line in seen), f"expected three replicas, saw {seen}")
    say("all three replicas answered, through the ClusterIP")


def scene_intruder() -> None:
    title("3  An intruder is refused, and weft says why")
    began = time.monotonic()
    text = weft("exec", "intruder", "--", "curl", "-sS", "--connect-timeout", "2", "http://product-api/", ok=False)
    show(text)
    check(time.monotonic() - began < 6, "curl did not give up within its connect timeout")
    say("refused: curl gave up after its connect timeout")
    drops = weft("observe", "--verdict", "DROPPED", "--from-pod", "intruder", "--last", "1")
    show(drops)
    check("default/intruder" in drops and "DENIED" in drops, "the drop is not in the flow log")
    explained = weft("explain", "intruder", "product-api:8080")
    show(explained)
    check("examples/shop/policies.yaml:" in explained, "the explanation names no file and line")
    say("the flow log has it, and the explanation names the rule, the field, the file and the line")


def scene_cut() -> None:
    title("4  A policy edit cuts an open connection; a malformed policy is refused")
    print(paint("33", "  $ weft exec product-api-1 -- python3 session.py postgres 5432 &"))
    client = subprocess.Popen(
        [WEFT, "exec", "product-api-1", "--", "python3", str(ROOT / SHOP / "app" / "session.py"), "postgres", "5432"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert client.stdout is not None
        show(greeting := client.stdout.readline())
        check("postgres ready" in greeting, "no connection to the database")
        written = (ROOT / SHOP / "policies.yaml").read_text()
        edited = written.replace("app: product-api\n    toPorts", "app: reports\n    toPorts")
        began = time.monotonic()
        show(weft("apply", "-f", "-", stdin=edited))
        ending = client.stdout.readline()
        show(f"client, {1000 * (time.monotonic() - began):.0f} ms after the edit began: {ending}")
        check("reset" in ending.lower(), f"the client saw: {ending!r}")
    finally:
        client.kill()
        client.wait()
    until(lambda: "reset" in weft("logs", "postgres", quiet=True).lower(), "the server saw a reset")
    show("server: " + weft("logs", "postgres", "--tail", "1"))
    cut = weft("observe", "--from-pod", "product-api-1", "--to-pod", "postgres", "--verdict", "DROPPED", "--last", "1")
    show(cut)
    check("cut" in cut.lower(), "the flow log does not say that the connection was cut")
    say("both ends saw a reset at once, and the flow log says why")
    broken = edited.replace('port: "5432"', 'port: "543210"')
    refusal = weft("apply", "-f", "-", stdin=broken, ok=False)
    show(refusal)
    check(bool(re.search(r"<stdin>:\d+: .*port", refusal)), "the refusal names no line and field")
    curl = ("curl", "-sS", "--connect-timeout", "1")
    still = weft("exec", "product-api-1", "--", *curl, "telnet://postgres:5432", ok=False)
    show(still)
    say("refused with file, line and field; the edit before it is still in force")


def scene_kill(node: Node) -> None:
    title("5  The agent is killed with -9 while traffic runs")
    rounds = node.work / "rounds"
    with rounds.open("wb") as out:
        client = ["python3", str(ROOT / SHOP / "app" / "steady.py"), "product-api", "80"]
        traffic = subprocess.Popen([WEFT, "exec", "frontend", "--", *client], stdout=out, cwd=ROOT)

    def count() -> int:
        return rounds.read_text().count("ok")

    try:
        until(lambda: count() > 20, "traffic runs")
        node.kill()
        before = count()
        say(f"agent killed after {before} rounds of requests")
        until(lambda: count() > before + 50, "traffic goes on without the agent")
        say(f"{count() - before} more rounds without an agent; new connections, names and policy included")
        seconds = node.start()
        say(f"agent back and answering after {seconds:.1f} s")
        after = count()
        until(lambda: count() > after + 20, "traffic goes on with the new agent")
        check("FAILED" not in rounds.read_text(), "a request failed: " + rounds.read_text())
        curl = ("curl", "-sS", "--connect-timeout", "1", "http://product-api/")
        show(weft("exec", "intruder", "--", *curl, ok=False))
        say(f"{count()} rounds in all, not one failed; the intruder is still refused")
    finally:
        traffic.kill()
        traffic.wait()
    pods = json.loads(weft("get", "pods", "-o", "json"))
    check(len(pods["items"]) == 6, f"the new agent knows {len(pods['items'])} pods, not 6")


def curl(*words: str, pod: str = "frontend", quiet: bool = False) -> str:
    """Status and body of one request from a pod, or curl's own words."""
    if not quiet:
        print(paint("33", f"  $ weft exec {pod} -- curl {' '.join(words)}"))
    command = ("curl", "-sS", "--max-time", "3", "-w", "\\n%{http_code}", *words)
    done = weft("exec", pod, "--", *command, ok=None, quiet=True).rstrip()
    body, _, status = done.rpartition("\n")
    return f"{status} {body.strip()}"


def scene_rules() -> None:
    title("6  A rule about HTTP: Envoy starts because of it, and sees nothing else")
    weft("apply", "-f", str(SHOP), quiet=True)
    check("not running" in proxy_line(), "Envoy runs without a rule")
    show(proxy_line())
    script = str(ROOT / SHOP / "app" / "requests.py")
    words = [WEFT, "exec", "-i", "frontend", "--", "python3", script, "product-api", "80"]
    before = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert before.stdin is not None and before.stdout is not None
        check("connected" in before.stdout.readline(), "no connection to product-api")
        show("a connection from before the rule:    POST /private: " + ask(before, "POST /private"))
        began = time.monotonic()
        show(weft("apply", "-f", str(SHOP / "api-l7-policy.yaml")))
        say(f"in force, Envoy included, {time.monotonic() - began:.1f} s after the command began")
        ended = ask(before, "POST /private")
        show(f"the connection from before the rule:  POST /private: {ended}")
        check(not ended.startswith("200"), "a connection from before the rule slipped past it")
    finally:
        before.kill()
        before.wait()
    for arguments, status in (
        (("http://product-api/public",), "200"),
        (("-X", "POST", "http://product-api/public"), "403"),
        (("--path-as-is", "http://product-api/public/../private"), "403"),
    ):
        answer = curl(*arguments)
        show(answer)
        check(answer.startswith(status), f"expected {status}, got {answer}")
    until(lambda: weft("observe", "--type", "l7", quiet=True).count("GET") >= 2, "the requests are in the flow log")
    show(weft("observe", "--type", "l7", "--last", "6"))
    show(weft("explain", "frontend", "product-api:8080", "POST", "/public"))
    say("one path, one method; the flow log names the requests and the rule")
    counted = sent_to_envoy()
    database = ("python3", str(ROOT / SHOP / "app" / "ping.py"), "postgres", "5432", "50")
    show(weft("exec", "product-api-1", "--", *database))
    check(counted == sent_to_envoy(), "layer-4 traffic touched Envoy")
    show(proxy_line())
    say("50 more connections to the database: Envoy's counters stand still")


def proxy_line() -> str:
    return next(line for line in weft("status", quiet=True).splitlines() if "envoy" in line.lower())


def sent_to_envoy() -> int:
    return sum(json.loads(weft("status", "-o", "json", quiet=True))["envoy"]["sent"].values())


def ask(session: subprocess.Popen[str], request: str) -> str:
    assert session.stdin is not None and session.stdout is not None
    try:
        session.stdin.write(request + "\n")
        session.stdin.flush()
    except BrokenPipeError:
        return "gone"
    return session.stdout.readline().strip()


def scene_canary() -> None:
    title("7  The canary: by header, then by weight")
    show(weft("apply", "-f", str(SHOP / "canary" / "route.yaml")))
    for _ in range(20):
        for header, version in ((("-H", "X-Canary-User: true"), "v2"), ((), "v1")):
            answer = curl(*header, "http://product-api/public", quiet=True)
            check(f"product-api {version}" in answer, f"expected {version}, got {answer}")
    say("20 × with the header: v2 each time; 20 × without: v1 each time")
    show(weft("apply", "-f", str(SHOP / "canary" / "weights.yaml")))
    script = "for i in $(seq 100); do curl -sS --max-time 3 http://product-api/public || exit 1; done"
    lines = weft("exec", "frontend", "--", "sh", "-c", script, quiet=True).splitlines()
    new = sum("product-api v2" in line for line in lines)
    show(f"100 requests: {len(lines) - new} × v1, {new} × v2")
    check(len(lines) == 100 and 1 <= new <= 25, f"weights 90/10 gave {new} of {len(lines)} to v2")
    say("90 to 10, within what chance allows")


def scene_envoy_killed() -> None:
    title("8  Envoy is killed with -9: layer 4 does not notice, layer 7 is back within a second")
    matched = re.search(r"pid (\d+)", proxy_line())
    assert matched is not None
    app = ROOT / SHOP / "app"
    database = subprocess.Popen(
        [WEFT, "exec", "product-api-1", "--", "python3", str(app / "session.py"), "postgres", "5432"],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    words = [WEFT, "exec", "-i", "frontend", "--", "python3", str(app / "requests.py"), "product-api", "80"]
    shopping = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert database.stdout is not None and shopping.stdout is not None
        check("ready" in database.stdout.readline(), "no connection to the database")
        shopping.stdout.readline()
        check(ask(shopping, "GET /public").startswith("200"), "no answer before the kill")
        os.kill(int(matched[1]), signal.SIGKILL)
        began = time.monotonic()
        ended = ask(shopping, "GET /public")
        show(f"the layer-7 connection, {1000 * (time.monotonic() - began):.0f} ms after the kill: {ended}")
        check(not ended.startswith("200"), "a connection outlived its Envoy")
        until(lambda: curl("http://product-api/public", quiet=True).startswith("200"), "service is back", 5)
        say(f"layer 7 answers again {time.monotonic() - began:.1f} s after the kill")
        check(database.poll() is None, "the layer-4 connection noticed")
        say("the connection to the database lives on")
    finally:
        for client in (database, shopping):
            client.kill()
            client.wait()
    weft("delete", "-f", str(SHOP / "canary" / "weights.yaml"))
    weft("apply", "-f", str(SHOP / "policies.yaml"))
    until(lambda: "not running" in proxy_line(), "Envoy goes with the last rule", 30)
    show(proxy_line())
    say("the last rule is gone, and Envoy with it")


def main() -> int:
    if os.geteuid() != 0:
        print("The demo makes network namespaces and loads BPF programs: run it as root.", file=sys.stderr)
        return 1
    os.environ["WEFT_NODE"] = NODE
    began = time.monotonic()
    work = Path(tempfile.mkdtemp(prefix="weft-demo-"))
    node = Node(work)
    try:
        title("1  A node, and a shop on it: every process in its own network namespace and cgroup")
        say(f"weft agent answers after {node.start():.1f} s")
        start_shop()
        scene_services()
        scene_intruder()
        scene_cut()
        scene_kill(node)
        scene_rules()
        scene_canary()
        scene_envoy_killed()
        title("9  What is enforced, and what it costs")
        show(weft("status"))
    except (StepFailed, subprocess.TimeoutExpired, KeyboardInterrupt) as error:
        print(paint("1;31", f"\n  ✗ {error or 'interrupted'}"))
        print((work / "agent.log").read_text()[-3000:], file=sys.stderr)
        return 1
    finally:
        node.close()
        shutil.rmtree(work, ignore_errors=True)
    seconds = time.monotonic() - began
    print(paint("1;32", f"\nEvery step went as it says, in {seconds:.0f} s. All of it is taken down again."))
    return 0


if __name__ == "__main__":
    sys.exit(main())
