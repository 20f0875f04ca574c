"""Labels of everything that policy can speak of: pods and the reserved entities."""

from __future__ import annotations

from sys import intern

from weft.identity.filters import is_identity_relevant
from weft.model.identity import Reserved
from weft.model.labels import CLUSTER_KEY, K8S, NAMESPACE_KEY, NAMESPACE_LABEL_PREFIX, SERVICE_ACCOUNT_KEY, LabelSet
from weft.model.objects import Namespace, Workload

NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name"
"""Kubernetes gives every namespace this label with its name, and nobody can change it."""

_WORLDS = (Reserved.WORLD_IPV4, Reserved.WORLD_IPV6)


def labels_of(workload: Workload, namespace: Namespace, cluster: str) -> LabelSet:
    """The identity labels of a pod: its own security-relevant ones, and those that only weft can give.

    Raises ValueError when ``namespace`` is not the pod's: that would hand out somebody else's identity.
    """
    if namespace.name != workload.key.namespace:
        raise ValueError(f"pod {workload.key} is not in namespace {namespace.name}")
    labels = {intern(f"{K8S}:{key}"): value for key, value in workload.labels.items() if is_identity_relevant(key)}
    of_namespace = {**namespace.labels, NAMESPACE_NAME_LABEL: namespace.name}
    labels.update((intern(NAMESPACE_LABEL_PREFIX + key), value) for key, value in of_namespace.items())
    labels[NAMESPACE_KEY] = namespace.name
    labels[SERVICE_ACCOUNT_KEY] = workload.service_account or "default"
    labels[CLUSTER_KEY] = cluster
    return LabelSet(labels)


def reserved_labels(*identities: Reserved) -> LabelSet:
    """Labels of a reserved identity. Both world identities are also ``reserved:world``; ``unknown`` has none.

    No label selector matches an empty set, so what nobody knows is nobody's peer.
    """
    named = {identity for identity in identities if identity is not Reserved.UNKNOWN}
    if named.intersection(_WORLDS):
        named.add(Reserved.WORLD)
    return LabelSet((identity.label, "") for identity in named)


def spiffe_id(workload: Workload, trust_domain: str) -> str:
    """``spiffe://<trust domain>/ns/<namespace>/sa/<service account>`` (the form Istio, Linkerd and Cilium share)."""
    return intern(f"spiffe://{trust_domain}/ns/{workload.key.namespace}/sa/{workload.service_account or 'default'}")
