"""Which of a pod's labels are security-relevant: Cilium's default filter, so that identities mean the same.

Source: Cilium's documentation, "Limiting Identity-Relevant Labels" (its default list), matched at the key's start.
"""

from __future__ import annotations

import re

_KEPT = re.compile(r"app\.kubernetes\.io")
_LEFT_OUT = re.compile(
    r"io\.kubernetes|kubernetes\.io|k8s\.io|.*beta\.kubernetes\.io"
    r"|statefulset\.kubernetes\.io/pod-name|apps\.kubernetes\.io/pod-index"
    r"|batch\.kubernetes\.io/(job-completion-index|controller-uid)|controller-uid"
    r"|pod-template-generation|pod-template-hash|controller-revision-hash|annotation|etcd_node"
)
_GIVEN = re.compile(r"io\.kubernetes\.pod\.|io\.cilium\.k8s\.")
"""Keys that weft itself gives (namespace, service account, cluster): a pod that carries one as its own label must not
be able to pass for somebody else (GO-2023-2078), so they are never taken from a pod."""


def is_identity_relevant(key: str) -> bool:
    """Whether a pod's own label with this bare key becomes part of its identity."""
    if ":" in key or _GIVEN.match(key):
        return False
    return bool(_KEPT.match(key)) or not _LEFT_OUT.match(key)
