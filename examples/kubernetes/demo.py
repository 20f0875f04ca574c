"""``make demo-kubernetes``: a real cluster of two nodes on this machine, without kube-proxy and any other CNI, and weft
installed in it as anybody would. Exit 0 only if every step went as it says; all of it is gone at the end.

``make lab-kubernetes`` stops after the installation and the shop, and leaves them up.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from cluster import Cluster, build, gateway
from cluster.images import build_image
from deploy import image
from examples.narrate import StepFailed, check, command, paint, say, show, title, until

ROOT = Path(__file__).parents[2]
SHOP, HERE = Path("examples/shop"), Path("examples/kubernetes")
CHART = Path("deploy/helm/weft")


class Shop:
    """The cluster, as its administrator uses it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        helm = Path(build.program("helm", "helm")).parent
        self._env = cluster.environment()
        self._env["PATH"] = f"{helm}:{self._env['PATH']}"

    def run(self, *words: str, ok: bool | None = True, quiet: bool = False, stdin: str | None = None) -> str:
        """What a command printed. ``ok``: must it succeed? None: it may fail."""
        if not quiet:
            command(" ".join(words))
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            input=stdin,
            cwd=ROOT,
            timeout=180,
            check=False,
            env=self._env,
        )
        text = done.stdout + done.stderr
        if ok is not None and (done.returncode == 0) != ok:
            raise StepFailed(f"{' '.join(words)}: exit {done.returncode}\n{text}")
        return text

    def kubectl(self, *words: str, ok: bool | None = True, quiet: bool = False, stdin: str | None = None) -> str:
        return self.run("kubectl", *words, ok=ok, quiet=quiet, stdin=stdin)

    def get(self, pod: str, *words: str, ok: bool | None = True, quiet: bool = False) -> str:
        return self.kubectl("exec", pod, "--", "python3", "/app/get.py", *words, ok=ok, quiet=quiet).strip()

    def agent_of(self, pod: str) -> str:
        """weft's pod on the node of that pod."""
        node = self.kubectl("get", "pod", pod, "-o", "jsonpath={.spec.nodeName}", quiet=True)
        return self.kubectl(
            *("get", "pods", "-n", "kube-system", "-l", "app.kubernetes.io/name=weft", "-o", "name"),
            *("--field-selector", f"spec.nodeName={node}"),
            quiet=True,
        ).strip()

    def weft(self, at: str, *words: str, ok: bool | None = True, quiet: bool = False) -> str:
        return self.kubectl("exec", "-n", "kube-system", at, "-c", "agent", "--", "weft", *words, ok=ok, quiet=quiet)


def shop_image() -> Path:
    return build_image("weft.test/shop:1", {"/app": ROOT / SHOP / "app"}, rootfs=image.debian())


def scene_cluster(shop: Shop) -> None:
    title("1  A cluster of two nodes: no CNI, no kube-proxy, so nothing works yet")
    nodes = shop.kubectl("get", "nodes")
    show(nodes)
    check(nodes.count("NotReady") == 2, "nodes are Ready without a CNI")
    show(shop.kubectl("get", "pods", "-A"))


def scene_install(shop: Shop) -> None:
    title("2  weft, by Helm")
    began = time.monotonic()
    built = image.build()
    say(f"image {image.name()}, {built.stat().st_size / 1e6:.0f} MB, {time.monotonic() - began:.1f} s")
    shop.cluster.load_image(built)
    shop.cluster.load_image(shop_image())
    began = time.monotonic()
    shop.kubectl("apply", "--server-side", "-f", str(gateway.crds()), quiet=True)
    show(shop.run("helm", "install", "weft", str(CHART), "-n", "kube-system", "--wait"), limit=6)
    shop.cluster.wait_ready()
    show(shop.kubectl("get", "nodes", "-o", "wide"))
    say(f"nodes are Ready {time.monotonic() - began:.1f} s after helm began: weft made them so")


def scene_shop(shop: Shop) -> None:
    title("3  The shop: Deployments, Services, DNS; traffic across nodes by name")
    shop.cluster.deploy_dns()
    shop.kubectl("apply", "-f", str(HERE / "shop.yaml"), "-f", str(SHOP / "services.yaml"), quiet=True)
    shop.kubectl("wait", "--for=condition=Ready", "pods", "--all", "--timeout=60s")
    show(shop.kubectl("get", "pods", "-o", "wide"))
    until(lambda: shop.get("frontend", "http://product-api/", ok=None, quiet=True).startswith("200"), "DNS answers", 60)
    command("kubectl exec frontend -- python3 /app/get.py http://product-api/      (30 times)")
    script = "for i in $(seq 30); do python3 /app/get.py http://product-api/ || exit 1; done"
    answers = Counter(shop.kubectl("exec", "frontend", "--", "sh", "-c", script, quiet=True).splitlines())
    for line, count in sorted(answers.items()):
        print(f"    {count:3} × {line}")
    check(len(answers) == 3 and all("200 product-api v" in line for line in answers), f"expected three, saw {answers}")
    say("three replicas on two nodes, through the ClusterIP: no kube-proxy, no iptables")


def scene_policy(shop: Shop) -> None:
    title("4  Policies, by kubectl; a drop explained")
    show(shop.kubectl("apply", "-f", str(SHOP / "policies.yaml")))
    until(lambda: "True" in shop.kubectl("get", "cnp", "product-api", quiet=True), "the policy is said to be valid", 20)
    show(shop.kubectl("get", "cnp"))
    until(lambda: not shop.get("intruder", "http://product-api/", ok=None, quiet=True).startswith("200"), "in force")
    show(shop.get("intruder", "http://product-api/", ok=False))
    show(shop.get("frontend", "http://product-api/"))
    agent = shop.agent_of("intruder")
    for node in shop.cluster.nodes:
        drops = shop.weft(_agent_on(shop, node.name), "observe", "--verdict", "DROPPED", "--last", "1", quiet=True)
        if "default/intruder" in drops:
            command("weft observe --verdict DROPPED --last 1")
            show(drops)
            break
    else:
        raise StepFailed("no node has the drop in its flow log")
    explained = shop.weft(agent, "explain", "intruder", "product-api:8080")
    show(explained)
    check("CiliumNetworkPolicy" in explained and "fromEndpoints" in explained, "the explanation names no rule")
    say("refused; the flow log has it, and the explanation names the policy, the rule and the field")
    broken = (ROOT / SHOP / "policies.yaml").read_text().replace("name: database", "name: broken", 1)
    broken = broken.replace('port: "5432"', 'port: "fifty four"')
    document = next(part for part in broken.split("---\n") if "name: broken" in part)
    show(shop.kubectl("apply", "-f", "-", stdin=document, ok=None))
    until(lambda: "False" in shop.kubectl("get", "cnp", "broken", quiet=True), "VALID says False", 20)
    show(shop.kubectl("get", "cnp"))
    show(shop.kubectl("get", "cnp", "broken", "-o", "jsonpath={.status.conditions[0].message}"))
    say("a policy that cannot be meant says so itself, and hurts nothing")
    shop.kubectl("delete", "cnp", "broken")


def _agent_on(shop: Shop, node: str) -> str:
    return shop.kubectl(
        *("get", "pods", "-n", "kube-system", "-l", "app.kubernetes.io/name=weft", "-o", "name"),
        *("--field-selector", f"spec.nodeName={node}"),
        quiet=True,
    ).strip()


def scene_layer7(shop: Shop) -> None:
    title("5  A rule about HTTP, and the canary")
    show(shop.kubectl("apply", "-f", str(SHOP / "api-l7-policy.yaml")))
    posting = ("POST", "http://product-api/public")
    until(lambda: shop.get("frontend", *posting, ok=None, quiet=True).startswith("403"), "the rule is in force", 20)
    for words, status in (
        (("http://product-api/public",), "200"),
        (posting, "403"),
        (("http://product-api/public/../private",), "403"),
    ):
        answer = shop.get("frontend", *words)
        show(answer)
        check(answer.startswith(status), f"expected {status}, got {answer}")
    show(shop.kubectl("apply", "-f", str(SHOP / "canary" / "route.yaml")))

    def accepted() -> bool:
        route = json.loads(shop.kubectl("get", "httproute", "product-api", "-o", "json", quiet=True))
        parents = route.get("status", {}).get("parents", ())
        return any(one["type"] == "Accepted" and one["status"] == "True" for p in parents for one in p["conditions"])

    until(accepted, "the route's status says Accepted", 20)
    canary = ("http://product-api/public", "X-Canary-User: true")
    until(lambda: "v2" in shop.get("frontend", *canary, ok=None, quiet=True), "the route is in force", 20)
    for _ in range(20):
        for words, version in ((canary, "v2"), (canary[:1], "v1")):
            answer = shop.get("frontend", *words, ok=None, quiet=True)
            check(f"200 product-api {version}" in answer, f"expected {version}, got {answer}")
    say("20 × with the header: v2 each time; 20 × without: v1 each time; every request judged on its server's node")
    show(shop.weft(shop.agent_of("frontend"), "observe", "--type", "l7", "--last", "4"))


def main(words: list[str]) -> int:
    if os.geteuid() != 0:
        print("The demo makes namespaces, cgroups and loads BPF programs: run it as root.", file=sys.stderr)
        return 1
    stay = "--stay" in words
    began = time.monotonic()
    cluster = Cluster("lab" if stay else f"d{os.getpid()}")
    try:
        cluster.up()
        shop = Shop(cluster)
        scene_cluster(shop)
        scene_install(shop)
        scene_shop(shop)
        if stay:
            print(f"\nexport KUBECONFIG={cluster.kubeconfig}\nexport PATH={build.folder('kubernetes')}:$PATH")
            print("To end it: make lab-kubernetes-down")
            return 0
        scene_policy(shop)
        scene_layer7(shop)
        title("6  What is enforced, and what it costs")
        show(shop.weft(shop.agent_of("frontend"), "status"))
        title("7  Away with it")
        shop.run("helm", "uninstall", "weft", "-n", "kube-system", "--wait")
    except (StepFailed, RuntimeError, AssertionError, subprocess.TimeoutExpired, KeyboardInterrupt) as error:
        print(paint("1;31", f"\n  ✗ {error or 'interrupted'}"))
        cluster.print_logs()
        stay = False
        return 1
    finally:
        if not stay:
            cluster.down()
    print(
        paint(
            "1;32", f"\nEvery step went as it says, in {time.monotonic() - began:.0f} s. All of it is taken down again."
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
