"""An API server as tests use it: plain objects in, plain objects out."""

from __future__ import annotations

import contextlib
import json
import ssl
import uuid
from base64 import b64decode
from pathlib import Path
from typing import Any

import httpx2

from cluster.processes import until

Json = dict[str, Any]
PLURALS = {
    "Pod": ("/api/v1", "pods"),
    "Node": ("/api/v1", "nodes"),
    "Namespace": ("/api/v1", "namespaces"),
    "Service": ("/api/v1", "services"),
    "Event": ("/api/v1", "events"),
    "Lease": ("/apis/coordination.k8s.io/v1", "leases"),
    "EndpointSlice": ("/apis/discovery.k8s.io/v1", "endpointslices"),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies"),
    "CiliumNetworkPolicy": ("/apis/cilium.io/v2", "ciliumnetworkpolicies"),
    "CiliumClusterwideNetworkPolicy": ("/apis/cilium.io/v2", "ciliumclusterwidenetworkpolicies"),
    "HTTPRoute": ("/apis/gateway.networking.k8s.io/v1", "httproutes"),
    "GRPCRoute": ("/apis/gateway.networking.k8s.io/v1", "grpcroutes"),
    "ReferenceGrant": ("/apis/gateway.networking.k8s.io/v1beta1", "referencegrants"),
    "CustomResourceDefinition": ("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions"),
}


class Rest:
    def __init__(self, kubeconfig: Path) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        trust = (
            ssl.create_default_context(cafile=cluster["certificate-authority"])
            if "certificate-authority" in cluster
            else ssl.create_default_context(cadata=b64decode(cluster["certificate-authority-data"]).decode())
        )
        self.http = httpx2.Client(
            base_url=cluster["server"],
            headers={"Authorization": f"Bearer {user['token']}"},
            transport=httpx2.HTTPTransport(verify=trust),
            timeout=60,
        )

    def path(self, kind: str, namespace: str = "", name: str = "", subresource: str = "") -> str:
        root, plural = PLURALS[kind]
        scope = f"/namespaces/{namespace}" if namespace else ""
        return f"{root}{scope}/{plural}" + (f"/{name}" if name else "") + (f"/{subresource}" if subresource else "")

    def _send(self, method: str, path: str, body: Json | None = None, **headers: str) -> Json:
        answer = self.http.request(
            method, path, content=json.dumps(body) if body is not None else None, headers=headers
        )
        if answer.is_error:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer.json()

    def create(self, kind: str, namespace: str, name: str, **body: Any) -> Json:
        """``body``: spec, status (for pods, written after), metadata beside the name, ..."""
        root = PLURALS[kind][0].removeprefix("/apis/").removeprefix("/api/")
        place = {"namespace": namespace} if namespace else {}
        metadata = {**body.pop("metadata", {}), "name": name, **place}
        status = body.pop("status", None)
        whole = {"apiVersion": root, "kind": kind, "metadata": metadata, **body}
        made = self._send("POST", self.path(kind, namespace), whole, **{"Content-Type": "application/json"})
        return made if status is None else self.patch(kind, namespace, name, "status", status=status)

    def patch(self, kind: str, namespace: str, name: str, subresource: str = "", **body: Any) -> Json:
        headers = {"Content-Type": "application/merge-patch+json"}
        return self._send("PATCH", self.path(kind, namespace, name, subresource), body, **headers)

    def get(self, kind: str, namespace: str, name: str) -> Json:
        return self._send("GET", self.path(kind, namespace, name))

    def list(self, kind: str, namespace: str = "") -> list[Json]:
        items: list[Json] = self._send("GET", self.path(kind, namespace))["items"]
        return items

    def delete(self, kind: str, namespace: str, name: str) -> None:
        body = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
        with contextlib.suppress(RuntimeError):
            self._send("DELETE", self.path(kind, namespace, name), body, **{"Content-Type": "application/json"})

    def install(self, crd: Json) -> None:
        """Returns when its objects can be asked for."""
        self._send("POST", self.path("CustomResourceDefinition"), crd, **{"Content-Type": "application/json"})
        group, version = crd["spec"]["group"], crd["spec"]["versions"][0]["name"]
        listing = f"/apis/{group}/{version}/{crd['spec']['names']['plural']}"
        until(lambda: self.http.get(listing).status_code == 200, f"{listing} is served", 180)

    def namespace(self) -> str:
        """A new one, of the test's own, in which pods can be created."""
        name = f"t{uuid.uuid4().hex[:10]}"
        self.create("Namespace", "", name)
        account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        until(lambda: self.http.get(account).status_code == 200, f"{name} has a service account", 180)
        return name


def pod_spec(node: str = "", **more: Any) -> Json:
    container = {"name": "main", "image": "weft.test/none:1", "imagePullPolicy": "Never", **more.pop("container", {})}
    return {
        "containers": [container],
        "terminationGracePeriodSeconds": 0,
        **({"nodeName": node} if node else {}),
        **more,
    }


def pod_status(*addresses: str, ready: bool = True, phase: str = "Running") -> Json:
    return {
        "phase": phase,
        "podIP": addresses[0] if addresses else "",
        "podIPs": [{"ip": one} for one in addresses],
        "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
    }
