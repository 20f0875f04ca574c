"""A policy manifest of any kind → PolicySpec."""

from __future__ import annotations

from weft.model.kinds.cilium import CiliumNetworkPolicy
from weft.model.kinds.networking import NetworkPolicy
from weft.model.origin import Origin
from weft.model.policy import PolicySpec
from weft.policy import cnp, networkpolicy

POLICY_KINDS = ("CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy", "NetworkPolicy")


def translate(
    document: CiliumNetworkPolicy | NetworkPolicy, origin: Origin, namespace: str = "default", cluster: str = "default"
) -> tuple[PolicySpec, ...]:
    """What the document means. Raises ManifestError with file, line and field for whatever it cannot mean.

    ``namespace``: where a namespaced policy without metadata.namespace lives; ``cluster``: NodeConfig.cluster.
    """
    if isinstance(document, NetworkPolicy):
        return networkpolicy.translate(document, origin, namespace)
    return cnp.translate(document, origin, namespace, cluster)
