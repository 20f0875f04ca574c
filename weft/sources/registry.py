"""The kinds that weft knows: names and aliases as kubectl has them, their shapes and their rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from weft.model.kinds import apps, cilium, core, discovery, gateway, networking, node, service
from weft.sources.check import Check, nearest
from weft.sources.rules import deployments, names, pods, services
from weft.sources.rules import gateway as gateway_rules


def _no_rules(obj: Any, found: Check) -> None:
    """Policies: what they may say is for their translation in weft.policy to judge."""


@dataclass(frozen=True, slots=True)
class KindInfo:
    api_version: str
    kind: str
    plural: str
    """kubectl's resource name, ``pods``."""
    aliases: tuple[str, ...]
    shape: type
    rules: Callable[[Any, Check], None] = _no_rules
    namespaced: bool = True
    name_rule: Callable[[str], str] = names.subdomain
    null_is_absent: bool = True
    """A null field counts as left out, as Kubernetes' own types have it; for policies the shape decides."""
    older: tuple[str, ...] = ()
    """Versions of the same shape that are accepted too, and stored as ``api_version``."""

    @property
    def singular(self) -> str:
        return self.kind.lower()

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]

    @property
    def resource(self) -> str:
        """``deployment.apps``: how kubectl names the kind in ``deployment.apps/web created``."""
        return f"{self.singular}.{self.group}" if self.group else self.singular

    @property
    def plural_resource(self) -> str:
        """``deployments.apps``: how kubectl names the kind in ``deployments.apps "web" not found``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


NAMESPACE, NODE, POD, SERVICE, DEPLOYMENT = "Namespace", "Node", "Pod", "Service", "Deployment"
ENDPOINT_SLICE, NETWORK_POLICY = "EndpointSlice", "NetworkPolicy"
CNP, CCNP = "CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy"
POLICIES = (NETWORK_POLICY, CNP, CCNP)
HTTP_ROUTE, GRPC_ROUTE, REFERENCE_GRANT = "HTTPRoute", "GRPCRoute", "ReferenceGrant"
ROUTES = (HTTP_ROUTE, GRPC_ROUTE)

_CILIUM = "cilium.io/v2"
_GATEWAY = f"{gateway.GROUP}/v1"
KINDS = {
    info.kind: info
    for info in (
        KindInfo(
            "v1",
            NAMESPACE,
            "namespaces",
            ("ns",),
            core.Namespace,
            namespaced=False,
            name_rule=names.dns_label,
        ),
        KindInfo("v1", NODE, "nodes", ("no",), node.Node, namespaced=False),
        KindInfo("v1", POD, "pods", ("po",), core.Pod, pods.check),
        KindInfo("v1", SERVICE, "services", ("svc",), service.Service, services.check, name_rule=names.dns_1035),
        KindInfo("apps/v1", DEPLOYMENT, "deployments", ("deploy",), apps.Deployment, deployments.check),
        KindInfo(
            "discovery.k8s.io/v1",
            ENDPOINT_SLICE,
            "endpointslices",
            (),
            discovery.EndpointSlice,
            services.check_slice,
        ),
        KindInfo(
            "networking.k8s.io/v1",
            NETWORK_POLICY,
            "networkpolicies",
            ("netpol",),
            networking.NetworkPolicy,
            null_is_absent=False,
        ),
        KindInfo(_CILIUM, CNP, "ciliumnetworkpolicies", ("cnp",), cilium.CiliumNetworkPolicy, null_is_absent=False),
        KindInfo(
            _CILIUM,
            CCNP,
            "ciliumclusterwidenetworkpolicies",
            ("ccnp",),
            cilium.CiliumClusterwideNetworkPolicy,
            namespaced=False,
            null_is_absent=False,
        ),
        KindInfo(
            _GATEWAY,
            HTTP_ROUTE,
            "httproutes",
            (),
            gateway.HTTPRoute,
            gateway_rules.check_http,
            older=(f"{gateway.GROUP}/v1beta1",),
        ),
        KindInfo(_GATEWAY, GRPC_ROUTE, "grpcroutes", (), gateway.GRPCRoute, gateway_rules.check_grpc),
        KindInfo(
            _GATEWAY,
            REFERENCE_GRANT,
            "referencegrants",
            ("refgrant",),
            gateway.ReferenceGrant,
            gateway_rules.check_grant,
            older=(f"{gateway.GROUP}/v1beta1",),
        ),
    )
}

UNSUPPORTED = {
    "ConfigMap": "weft has no ConfigMaps; write values into env, or mount a file by hostPath",
    "Secret": "weft has no Secrets; write values into env, or mount a file by hostPath",
    "ServiceAccount": "service accounts need no object here; name them in serviceAccountName",
    "Endpoints": "use an EndpointSlice",
    "ReplicaSet": "use a Deployment",
    "StatefulSet": "use a Deployment, or Pods with hostname and subdomain",
    "DaemonSet": "use a Deployment; there is one node",
    "Job": "use a Pod with restartPolicy OnFailure or Never",
    "CronJob": "use a systemd timer and `weft run`",
    "Ingress": "weft routes between pods; use an HTTPRoute with a Service as parent",
    "Gateway": "weft routes between pods; give routes a Service as parent",
    "GatewayClass": "weft routes between pods; give routes a Service as parent",
    "TCPRoute": "use an HTTPRoute or a GRPCRoute",
    "TLSRoute": "use an HTTPRoute or a GRPCRoute",
    "UDPRoute": "use an HTTPRoute or a GRPCRoute",
    "Role": "weft has no API users to authorise",
    "ClusterRole": "weft has no API users to authorise",
    "RoleBinding": "weft has no API users to authorise",
    "ClusterRoleBinding": "weft has no API users to authorise",
    "PersistentVolumeClaim": "mount a hostPath volume",
}


def find(resource: str) -> KindInfo:
    """The kind for a resource name as kubectl takes it: ``po``, ``pods``, ``Pod``, ``deployments.apps``, ``cnp``.

    Raises LookupError with the nearest known name.
    """
    wanted = resource.lower()
    for info in KINDS.values():
        if wanted in (info.plural, info.singular, info.resource, info.plural_resource, *info.aliases):
            return info
    known = [name for info in KINDS.values() for name in (info.plural, info.singular, *info.aliases)]
    hint = nearest(wanted, known)
    raise LookupError(f'weft has no resource type "{resource}"' + (f"; {hint}" if hint else ""))
