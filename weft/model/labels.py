"""Labels as identities and selectors see them: every key carries its source, as in Cilium.

``k8s:app=frontend``, ``k8s:io.kubernetes.pod.namespace=shop``, ``reserved:host``. A selector's key may say ``any:`` (or
nothing, which means ``any:``) and then matches every source but ``reserved``-less ones alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

K8S = "k8s"
RESERVED = "reserved"
ANY = "any"
CIDR = "cidr"

NAMESPACE_KEY = "k8s:io.kubernetes.pod.namespace"
SERVICE_ACCOUNT_KEY = "k8s:io.cilium.k8s.policy.serviceaccount"
CLUSTER_KEY = "k8s:io.cilium.k8s.policy.cluster"
NAMESPACE_LABEL_PREFIX = "k8s:io.cilium.k8s.namespace.labels."


class LabelSet(Mapping[str, str]):
    """An immutable, hashable, sorted set of labels: full key (with source) → value."""

    __slots__ = ("_hash", "_items")

    def __init__(self, labels: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> None:
        pairs = labels.items() if isinstance(labels, Mapping) else labels
        self._items: dict[str, str] = dict(sorted(pairs))
        self._hash = hash(tuple(self._items.items()))

    def __getitem__(self, key: str) -> str:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LabelSet) and self._items == other._items

    def spelled(self) -> list[str]:
        """``["k8s:app=frontend", "reserved:host"]``: Hubble's and Cilium's spelling, sorted."""
        return [f"{key}={value}" if value or not key.startswith("reserved:") else key for key, value in self.items()]

    def __repr__(self) -> str:
        return f"LabelSet({', '.join(self.spelled())})"
