"""A cluster: what brings it up, what tests do to it, and what takes it down without a trace."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import shutil
import sys
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from ssl import create_default_context
from types import TracebackType
from typing import Any, Self, TypeVar

from lightkube import Client, KubeConfig

from cluster import build, cgroups, images, network, plain
from cluster.controlplane import CONTROLLERS, ControlPlane
from cluster.credentials import Credentials
from cluster.layout import NETNS, STATE, check_name, control_plane_name, is_part, node_name
from cluster.node import KUBE_PROXY, Node
from cluster.processes import command, until

T = TypeVar("T")
ADMIN = "admin"
MANIFESTS = Path(__file__).with_name("manifests")
MAX_NODES = 20


class Cluster:
    """``with Cluster("name", nodes=2) as cluster: …``: etcd, API server, controller manager, scheduler, and nodes.

    There is no CNI in it, and no kube-proxy unless asked for: nodes register and stay NotReady until somebody installs
    what makes them Ready; hostNetwork pods run before. A cluster left by an earlier run of that name is removed first.
    """

    def __init__(self, name: str, nodes: int = 2, *, kube_proxy: bool = False) -> None:
        self.name, self._wanted, self.kube_proxy = check_name(name), nodes, kube_proxy
        self.state = STATE / name
        self.kubeconfig = self.state / "kubeconfig"
        self._credentials = Credentials(self.state / "credentials")
        self.control_plane = ControlPlane(control_plane_name(name), self.state, self._credentials)
        self.nodes: list[Node] = []
        self._images: list[Path] = []
        self._owner = ""  # a cluster of ``with`` ends with its process; one of the command line stays

    @classmethod
    def attach(cls, name: str) -> Self:
        """The cluster of this name that is up. Raises RuntimeError if there is none."""
        cluster = cls(name)
        try:
            about = json.loads((cluster.state / "cluster.json").read_text())
        except FileNotFoundError:
            raise RuntimeError(f"no cluster {name!r} is up: python -m cluster up --name {name}") from None
        cluster.nodes = [cluster._node(number) for number in about["nodes"]]
        cluster.kube_proxy = about["kube_proxy"]
        cluster._images = [Path(tar) for tar in about["images"]]
        return cluster

    # ---- life -------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._owner = _life(os.getpid())
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def up(self) -> None:
        """Bring it up; returns when pods can be created and every node has registered. A failure leaves nothing."""
        try:
            self._up()
        except BaseException:
            self.print_logs()
            self.down()
            raise

    def _up(self) -> None:
        for group in build.NEEDED:
            build.folder(group)
        remove_orphans()
        self.down()
        self.state.mkdir(parents=True)
        (self.state / "owner").write_text(self._owner)
        self._credentials.create(
            {
                ADMIN: ("system:masters",),
                KUBE_PROXY: (),
                **{f"system:{user}": ("system:masters",) for user in CONTROLLERS},
                **{f"system:node:{node_name(self.name, n)}": ("system:nodes",) for n in range(1, MAX_NODES + 1)},
            }
        )
        port = self.control_plane.create()
        self._credentials.kubeconfig(ADMIN, self.kubeconfig, server=f"https://127.0.0.1:{port}")
        self._images = [images.pause(), images.busybox()]
        self.nodes = [self._node(number) for number in range(1, self._wanted + 1)]
        _at_once(self._create_node, self.nodes)
        self.wait_api()
        _at_once(self._start_node, self.nodes)
        self._remember()
        self._wait_registered(self.nodes)
        until(
            self._has_service_account,
            f"the service account of {self.name}'s default namespace (logs: {self.state})",
            errors=(RuntimeError,),
        )

    def down(self) -> None:
        """Remove every trace of a cluster of this name, also of one whose process was killed."""
        STATE.mkdir(parents=True, exist_ok=True)
        with (STATE / ".lock").open("w") as lock:  # two runs may find the same orphan
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._down()

    def _down(self) -> None:
        left = {entry.name for entry in NETNS.glob(f"{self.name}-*")} | cgroups.nodes(f"{self.name}-")
        mine = sorted(name for name in left if is_part(self.name, name))
        for name in mine:
            cgroups.kill(name)
        for name in mine:
            cgroups.remove(name)
            network.remove(name)
        self.control_plane.reap()
        for node in self.nodes:
            node.reap()
        self.nodes = []
        if self.state.exists():
            shutil.rmtree(self.state)

    def add_node(self) -> Node:
        """One more node, with every image that the others got; returns when it has registered."""
        number = max((node.number for node in self.nodes), default=0) + 1
        if number > MAX_NODES:
            raise ValueError(f"cluster {self.name}: at most {MAX_NODES} nodes in its life")
        node = self._node(number)
        self._create_node(node)
        self._start_node(node)
        self.nodes.append(node)
        self._remember()
        self._wait_registered([node])
        return node

    def remove_node(self, node: Node) -> None:
        """End a node as if it lost power, and delete its Node object."""
        node.remove()
        self.nodes.remove(node)
        self._remember()
        self.kubectl("delete", "node", node.name, "--ignore-not-found", "--wait=false")

    def stop_api(self) -> None:
        """Kill the API server; everything else goes on."""
        self.control_plane.stop("kube-apiserver")

    def start_api(self) -> None:
        """Start the API server again; returns when it is ready."""
        self.control_plane.start_api()
        self.wait_api()

    # ---- use --------------------------------------------------------------------------------------------

    def kubectl(self, *argv: str, stdin: str | bytes | None = None, seconds: float = 120) -> str:
        """Run kubectl as the cluster's admin; its standard output. Raises RuntimeError with what it said."""
        kubectl = build.program("kubernetes", "kubectl")
        return command(kubectl, f"--kubeconfig={self.kubeconfig}", *argv, stdin=stdin, seconds=seconds)

    def get(self, *argv: str) -> Any:
        """``kubectl get … -o json``, decoded."""
        return json.loads(self.kubectl("get", *argv, "-o", "json"))

    def client(self, namespace: str | None = None) -> Client:
        """A lightkube client with the admin's rights."""
        return Client(config=KubeConfig.from_file(self.kubeconfig), namespace=namespace)

    def environment(self) -> dict[str, str]:
        """This process's environment, with KUBECONFIG, and the cluster's programs on the PATH."""
        path = f"{build.folder('kubernetes')}:{os.environ['PATH']}"
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "PATH": path}

    def node_exec(self, index: int, argv: Sequence[str], stdin: str | bytes | None = None) -> str:
        """Run a command on ``nodes[index]``; its standard output."""
        return self.nodes[index].run(*argv, stdin=stdin)

    def load_image(self, tar: Path) -> None:
        """Import an image into every node, and into those that come later."""
        self._images.append(tar)
        self._remember()
        _at_once(lambda node: node.load_image(tar), self.nodes)

    def install_plain_network(self) -> None:
        """Pods with nothing but routes between them: upstream's ptp plugin. Never beside weft."""
        plain.install(self.control_plane.name, self.nodes, self.get("nodes")["items"])

    def route_to_pods(self) -> None:
        """The API server reaches pods, as by the routes of a cloud: for ``proxy`` and webhooks."""
        plain.route(self.control_plane.name, self.nodes, self.get("nodes")["items"])

    def deploy_dns(self) -> None:
        """CoreDNS as the Service kube-dns; it runs when pods can."""
        self.load_image(images.coredns())
        self.kubectl("apply", "-f", str(MANIFESTS / "dns.yaml"))

    def wait_ready(self, seconds: float = 120) -> None:
        """Return when every node is Ready: when somebody made them so."""

        def ready() -> bool:
            nodes = {node["metadata"]["name"]: node["status"] for node in self.get("nodes")["items"]}
            return all(_condition(nodes.get(node.name, {}), "Ready") == "True" for node in self.nodes)

        until(ready, f"all nodes of {self.name} are Ready", seconds, pause=0.2, errors=(RuntimeError,))

    def wait_api(self, seconds: float = 60) -> None:
        """Return when the API server says that it is ready."""
        server = json.loads(self.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
        trust = create_default_context(cafile=self._credentials.folder / "ca.crt")
        request = urllib.request.Request(
            f"{server}/readyz", headers={"Authorization": f"Bearer {self._credentials.token(ADMIN)}"}
        )

        def ready() -> bool:
            with urllib.request.urlopen(request, timeout=5, context=trust) as answer:
                return bool(answer.status == 200)

        what = f"the API server of {self.name} is ready (logs: {self.control_plane.folder})"
        until(ready, what, seconds, errors=(OSError, http.client.HTTPException))

    def print_logs(self, lines: int = 15) -> None:
        """The ends of all logs, on standard error."""
        for log in sorted(self.state.glob("*/*.log")):
            end = "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
            print(f"--- {log} ---\n{end}", file=sys.stderr)

    # ---- parts ------------------------------------------------------------------------------------------

    def _node(self, number: int) -> Node:
        return Node(self.name, number, self.state, self._credentials)

    def _create_node(self, node: Node) -> None:
        node.create()
        for tar in self._images:
            node.load_image(tar)

    def _start_node(self, node: Node) -> None:
        node.start_kubelet()
        if self.kube_proxy:
            node.start_kube_proxy()

    def _wait_registered(self, nodes: Iterable[Node]) -> None:
        names = {f"node/{node.name}" for node in nodes}
        until(
            lambda: names <= set(self.kubectl("get", "nodes", "-o", "name").split()),
            f"{', '.join(sorted(names))} registered (logs: {self.state})",
            errors=(RuntimeError,),
        )

    def _has_service_account(self) -> bool:
        """Pods of the default namespace are refused before."""
        return bool(self.kubectl("get", "serviceaccount", "default", "--ignore-not-found", "-o", "name"))

    def _remember(self) -> None:
        about = {
            "nodes": [node.number for node in self.nodes],
            "images": [str(tar) for tar in self._images],
            "kube_proxy": self.kube_proxy,
        }
        unfinished = self.state / "cluster.json.new"  # other runs read it (images.py)
        unfinished.write_text(json.dumps(about))
        unfinished.rename(self.state / "cluster.json")


def _life(pid: int) -> str:
    """What tells a process from a later one of the same id (its start time, proc(5) field 22); empty: there is none."""
    try:
        return f"{pid} {Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[19]}"
    except OSError:
        return ""


def remove_orphans() -> None:
    """Take down the clusters whose owner was killed."""
    for file in STATE.glob("*/owner"):
        try:
            owner = file.read_text()
        except OSError:  # it is being taken down
            continue
        if owner and _life(int(owner.split()[0])) != owner:
            Cluster(file.parent.name).down()


def _at_once(action: Callable[[Node], object], nodes: Sequence[Node]) -> None:
    """The same to all nodes in parallel; raises the first error after all are through."""
    if nodes:
        with ThreadPoolExecutor(len(nodes)) as pool:
            for result in [pool.submit(action, node) for node in nodes]:
                result.result()


def _condition(status: dict[str, Any], kind: str) -> str:
    return next((str(c["status"]) for c in status.get("conditions", ()) if c["type"] == kind), "Unknown")
