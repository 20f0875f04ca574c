"""CRDs that take anything, so that tests can store what weft refuses."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def crd(group: str, version: str, kind: str, plural: str, namespaced: bool = True) -> Json:
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{group}",
            "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes/kubernetes/pull/1"},
        },
        "spec": {
            "group": group,
            "scope": "Namespaced" if namespaced else "Cluster",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": anything},
                }
            ],
        },
    }


GATEWAY = "gateway.networking.k8s.io"
CNP = crd("cilium.io", "v2", "CiliumNetworkPolicy", "ciliumnetworkpolicies")
CCNP = crd("cilium.io", "v2", "CiliumClusterwideNetworkPolicy", "ciliumclusterwidenetworkpolicies", namespaced=False)
HTTP_ROUTE = crd(GATEWAY, "v1", "HTTPRoute", "httproutes")
GRPC_ROUTE = crd(GATEWAY, "v1", "GRPCRoute", "grpcroutes")
GRANT = crd(GATEWAY, "v1beta1", "ReferenceGrant", "referencegrants")
ALL = (CNP, CCNP, HTTP_ROUTE, GRPC_ROUTE, GRANT)
