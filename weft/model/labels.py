"""Labels as identities and selectors see them: every key carries its source, as in Cilium.

``k8s:app=frontend``, ``k8s:io.kubernetes.pod.namespace=shop``, ``reserved:host``. A selector's key may say ``any:`` (or
nothing, which means ``any:``) and then matches every source but ``reserved``-less ones alike.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, Mapping
from typing import Any, TypeVar

K = TypeVar("K")
V = TypeVar("V")

K8S = "k8s"
RESERVED = "reserved"
ANY = "any"
CIDR = "cidr"

NAMESPACE_KEY = "k8s:io.kubernetes.pod.namespace"
SERVICE_ACCOUNT_KEY = "k8s:io.cilium.k8s.policy.serviceaccount"
CLUSTER_KEY = "k8s:io.cilium.k8s.policy.cluster"
NAMESPACE_LABEL_PREFIX = "k8s:io.cilium.k8s.namespace.labels."


_SHARED_ROOM = 1024
_shared: dict[tuple[tuple[str, str], ...], Mapping[str, str]] = {}
_shared_keys: dict[tuple[str, ...], tuple[str, ...]] = {}


def share(labels: Mapping[str, str]) -> Mapping[str, str]:
    """Equal labels, one object: replicas of an application keep one mapping, whoever read their manifests. Only among
    the labels that were seen lately, so it is about memory and means nothing."""
    return _same(_shared, tuple(labels.items()), labels)


def _same(known: dict[K, V], key: K, value: V) -> V:
    """What was known first by this key."""
    found = known.get(key)
    if found is None:
        if len(known) >= _SHARED_ROOM:
            known.clear()
        found = known[key] = value
    return found


class LabelSet(Mapping[str, str]):
    """An immutable, hashable, sorted set of labels: full key (with source) → value.

    There is one for each identity of the cluster, so it is small: sets with the same keys share them.
    """

    __slots__ = ("_hash", "_keys", "_values")

    def __init__(self, labels: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> None:
        pairs = dict(sorted(labels.items() if isinstance(labels, Mapping) else labels))
        keys = tuple(pairs)
        self._keys: tuple[str, ...] = _same(_shared_keys, keys, keys)
        self._values: tuple[str, ...] = tuple(pairs.values())
        self._hash = hash((self._keys, self._values))

    def __getitem__(self, key: str) -> str:
        try:
            return self._values[self._keys.index(key)]
        except ValueError:
            raise KeyError(key) from None

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def items(self) -> ItemsView[str, str]:
        return dict(zip(self._keys, self._values, strict=True)).items()

    def get(self, key: str, default: Any = None) -> Any:
        """A miss without an exception: selectors ask for far more keys than there are."""
        return self._values[self._keys.index(key)] if key in self._keys else default

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LabelSet) and self._keys == other._keys and self._values == other._values

    def spelled(self) -> list[str]:
        """``["k8s:app=frontend", "reserved:host"]``: Hubble's and Cilium's spelling, sorted."""
        return [f"{key}={value}" if value or not key.startswith("reserved:") else key for key, value in self.items()]

    def __repr__(self) -> str:
        return f"LabelSet({', '.join(self.spelled())})"
