"""The lab: one node, its agent, its pods, and the world outside."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.lab import traces
from tests.lab.netns import WORLD_V4, Namespaces, inside
from tests.lab.pods import PAUSE, Pod, PortSpec, pod_manifest
from tests.lab.probes import Prober
from tests.lab.tools import ROOT, tool
from tests.lab.waiting import SLOWNESS, until
from weft.api.client import AgentError, Client

POD_CIDRS = ("10.244.0.0/24", "fd00:244::/64")
SERVICE_CIDRS = ("10.96.0.0/16", "fd00:96::/108")
POLICY_KINDS = ("cnp", "ccnp", "netpol")
ROUTE_KINDS = ("httproutes", "grpcroutes", "referencegrants")
OUTSIDE_PORTS = ("tcp:80", "tcp:8080", "udp:53", "udp:8080")


LOG_HEADERS = ("--log-http-header", "X-Team", "--log-http-header", "Authorization")
"""The second is refused: it carries credentials."""


class Lab:
    """A node made of namespaces. Use it with ``with``: leaving removes every trace, also after a failure or Ctrl-C.

    ``agent_options`` are further words for ``weft agent``; names that are not the cluster's it asks of the outside,
    whatever servers the machine has.
    """

    def __init__(
        self,
        pod_cidrs: Sequence[str] = POD_CIDRS,
        service_cidrs: Sequence[str] = SERVICE_CIDRS,
        agent_options: Sequence[str] = ("--upstream-dns", WORLD_V4[1], *LOG_HEADERS),
    ) -> None:
        self.name = f"lab{os.getpid()}x{uuid.uuid4().hex[:6]}"
        self.pod_cidrs, self.service_cidrs, self.agent_options = pod_cidrs, service_cidrs, agent_options
        self.namespaces = Namespaces(self.name)
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        self.log = self.folder / "agent.log"
        self.pods: dict[tuple[str, str], Pod] = {}
        self._agent: subprocess.Popen[bytes] | None = None
        self._outside: list[subprocess.Popen[str]] = []
        self._outside_prober: Prober | None = None

    # ---- life -------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            self.namespaces.create(self.pod_cidrs)
            self.serve_outside("outside", *OUTSIDE_PORTS)
            self.start_agent()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self.log.exists():
            print(f"--- end of the agent's log ---\n{self.log.read_text()[-6000:]}")
        self.close()

    def close(self) -> None:
        """Stop everything, remove every trace; what resists is an error."""
        for pod in self.pods.values():
            pod.forget()
        if self._outside_prober:
            self._outside_prober.close()
        for server in self._outside:
            server.kill()
            server.wait()
        try:
            if self._agent is not None:
                self.kill_agent()
                self._cleanup_by_agent()
        finally:
            traces.remove(self.name)
            self.namespaces.remove()
            shutil.rmtree(self.folder, ignore_errors=True)
        if left := traces.remains(self.name):
            raise RuntimeError(f"the lab could not remove {', '.join(left)}")

    # ---- the agent --------------------------------------------------------------------------------------

    def agent_argv(self, *extra: str) -> list[str]:
        cidrs = [word for cidr in self.pod_cidrs for word in ("--pod-cidr", cidr)]
        cidrs += [word for cidr in self.service_cidrs for word in ("--service-cidr", cidr)]
        command = [str(ROOT / "bin" / "weft"), "agent", "--node-name", self.name, *cidrs]
        return inside(self.namespaces.node, *command, *self.agent_options, *extra)

    def launch_agent(self) -> None:
        """Start the agent without waiting for it."""
        with self.log.open("ab") as log:
            self._agent = subprocess.Popen(self.agent_argv(), stdout=log, stderr=log, cwd=ROOT)

    def start_agent(self) -> None:
        """Start the agent and wait until it answers."""
        self.launch_agent()
        until(self._answers, "the agent answers", 60)

    def kill_agent(self) -> None:
        """SIGKILL, by its process number."""
        self.stop_agent(signal.SIGKILL)

    def stop_agent(self, how: signal.Signals = signal.SIGTERM) -> None:
        assert self._agent is not None
        self._agent.send_signal(how)
        self.wait_agent()

    def wait_agent(self) -> int:
        """The exit code of an agent that ends."""
        assert self._agent is not None
        return self._agent.wait(timeout=30 * SLOWNESS)

    @property
    def agent_pid(self) -> int:
        assert self._agent is not None
        return self._agent.pid

    @property
    def client(self) -> Client:
        """The agent's API, as the command line uses it."""
        return Client(self.name, timeout=60 * SLOWNESS)

    def _answers(self) -> bool:
        assert self._agent is not None
        if self._agent.poll() is not None:
            raise RuntimeError(f"the agent ended with {self._agent.returncode}:\n{self.log.read_text()[-4000:]}")
        try:
            self.client.get("/v1/status")
        except AgentError as error:
            if error.status:
                raise
            return False
        return True

    def _cleanup_by_agent(self) -> None:
        argv = self.agent_argv("--cleanup")
        done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, timeout=60 * SLOWNESS, check=False)
        left = traces.remains(self.name)
        if done.returncode or left:
            print(f"weft agent --cleanup: exit {done.returncode}, left {left}\n{done.stdout}{done.stderr}")

    # ---- objects ----------------------------------------------------------------------------------------

    def apply(self, text: str, file: str = "test.yaml") -> dict[str, Any]:
        """Apply manifests; returns when they are in force. Raises AgentError with what was refused and why."""
        return dict(self.client.post("/v1/apply", {"sources": [{"file": file, "text": text}], "dryRun": False}))

    def delete(self, kind: str, *names: str, namespace: str = "default") -> None:
        body = {"kind": kind, "names": list(names), "namespace": namespace, "sources": [], "ignoreNotFound": True}
        self.client.post("/v1/delete", body)

    def get(self, kind: str, name: str | None = None, namespace: str | None = None) -> dict[str, Any]:
        """Objects as ``weft get -o json`` prints them; every namespace if none is named."""
        answer = self.client.get("/v1/get", kind=kind, name=name, namespace=namespace, output="json")
        return dict(json.loads(answer["text"]))

    def status(self) -> dict[str, Any]:
        return dict(self.client.get("/v1/status"))

    def observe(self, number: int = 1000, **filters: Sequence[Any]) -> list[dict[str, Any]]:
        """The last ``number`` flows that match, oldest first, in Hubble's JSON; ``filters`` are Hubble's FlowFilter
        fields: ``lab.observe(verdict=["DROPPED"], source_pod=["default/client"])``."""
        request = {"number": number, "whitelist": [filters] if filters else []}
        responses = [json.loads(line) for line in self.client.stream("POST", "/v1/flows", request)]
        return [response["flow"] for response in responses if "flow" in response]

    def explain(self, source: str, destination: str, **more: Any) -> dict[str, Any]:
        body = {"source": source, "destination": destination, "namespace": "default", "kernel": False, "flow": ""}
        return dict(self.client.post("/v1/explain", body | more))

    def weft(self, *words: str, ok: bool = True, stdin: str | None = None) -> str:
        """The command line itself, for what only it does; stdout and stderr together."""
        done = subprocess.run(
            [str(ROOT / "bin" / "weft"), *words],
            capture_output=True, text=True, input=stdin, cwd=ROOT, timeout=60 * SLOWNESS, check=False,
            env={**os.environ, "WEFT_NODE": self.name},
        )  # fmt: skip
        text = done.stdout + done.stderr
        assert (done.returncode == 0) == ok, f"weft {' '.join(words)}: exit {done.returncode}\n{text}"
        return text

    # ---- pods -------------------------------------------------------------------------------------------

    def run(
        self,
        name: str,
        command: Sequence[str] = PAUSE,
        *,
        labels: Mapping[str, str] | None = None,
        namespace: str = "default",
        ports: Sequence[PortSpec] = (),
        service_account: str = "default",
        capabilities: Sequence[str] = (),
        readiness: Mapping[str, Any] | None = None,
        restart: str = "Always",
        wait: str = "Running",
    ) -> Pod:
        """Start a pod and wait for "Running", "Ready", "Started" (it may have ended again), or "" for nothing."""
        manifest = pod_manifest(
            name,
            command,
            namespace=namespace,
            labels=labels or {},
            ports=ports,
            service_account=service_account,
            capabilities=capabilities,
            readiness=readiness,
            restart=restart,
        )
        self.client.post("/v1/run", {"pod": manifest})
        return self.pod(name, namespace, wait)

    def serve(self, name: str, *ports: str, **options: Any) -> Pod:
        """A pod that serves ``tcp:N`` and ``udp:N`` ports (c/server.c) and is ready when they are open."""
        number = next((int(port[4:]) for port in ports if port.startswith("tcp:")), None)
        if number is not None:
            options.setdefault("readiness", {"tcpSocket": {"port": number}, "periodSeconds": 1})
            options.setdefault("wait", "Ready")
        return self.run(name, [tool("server"), "-s", name, *ports], **options)

    def pod(self, name: str, namespace: str = "default", wait: str = "Running") -> Pod:
        """The handle of a pod that exists, once it is in the state ``wait``."""
        if wait:
            pods = [{"namespace": namespace, "name": name}]
            body = {"pods": pods, "namespace": namespace, "condition": wait, "timeout": 30 * SLOWNESS}
            self.client.post("/v1/wait", body)
        addresses = [entry["ip"] for entry in self.get("pods", name, namespace)["status"]["podIPs"]]
        v4 = next((address for address in addresses if ":" not in address), "")
        v6 = next((address for address in addresses if ":" in address), "")
        prefix = self.client.get(f"/v1/pods/{namespace}/{name}/exec")["argv"]
        pod = self.pods[namespace, name] = Pod(namespace, name, v4, v6, prefix)
        return pod

    def empty(self) -> None:
        """Delete all policies, routes, services and pods: what one test made, the next does not see."""
        for pod in self.pods.values():
            pod.forget()
        self.pods.clear()
        for kind in (*POLICY_KINDS, *ROUTE_KINDS, "deployments", "services", "endpointslices", "pods"):
            names: dict[str, list[str]] = {}
            for item in self.get(kind)["items"]:
                meta = item["metadata"]
                if meta.get("namespace") != "kube-system":
                    names.setdefault(meta.get("namespace", ""), []).append(meta["name"])
            for namespace, found in names.items():
                self.delete(kind, *found, namespace=namespace)

    # ---- the world outside ------------------------------------------------------------------------------

    def serve_outside(self, name: str, *ports: str) -> None:
        """The lab's server on all of the outside's addresses, until the lab ends."""
        argv = inside(self.namespaces.outside, tool("server"), name, *ports)
        server = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._outside.append(server)
        assert server.stdout is not None
        if server.stdout.readline() != "ready\n":
            raise RuntimeError(f"the outside's server did not start: exit {server.wait()}")

    def outside_prober(self) -> Prober:
        """A prober in the outside's namespace."""
        if self._outside_prober is None:
            self._outside_prober = Prober(inside(self.namespaces.outside, tool("probe")))
        return self._outside_prober

    def host_prober(self) -> Prober:
        """A prober in the node's own namespace; the caller closes it."""
        return Prober(inside(self.namespaces.node, tool("probe")))
