"""Identity numbers: a function of the labels, not an allocation (DESIGN decision 3)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from weft.model.identity import FIRST_DYNAMIC, Reserved
from weft.model.labels import RESERVED, LabelSet
from weft.model.net import IdentityId

_RANGE = (1 << 32) - FIRST_DYNAMIC
_PRECEDENCE = (
    Reserved.HOST,
    Reserved.KUBE_APISERVER,
    Reserved.REMOTE_NODE,
    Reserved.INGRESS,
    Reserved.HEALTH,
    Reserved.INIT,
    Reserved.UNMANAGED,
    Reserved.WORLD_IPV4,
    Reserved.WORLD_IPV6,
    Reserved.WORLD,
)
"""A peer with several reserved labels has the number of the first of these."""


def number(labels: LabelSet, taken: Mapping[IdentityId, LabelSet]) -> IdentityId:
    """The number of these labels: reserved, or a 32-bit hash of at least FIRST_DYNAMIC, hashed again on collision.

    ``taken`` holds the numbers in use; a set of labels that has one keeps it.
    """
    if not labels:
        return IdentityId(Reserved.UNKNOWN)
    if any(key.startswith(RESERVED + ":") for key in labels):
        return IdentityId(next(identity for identity in _PRECEDENCE if identity.label in labels))
    attempt = 0
    while True:
        candidate = _hash(labels, attempt)
        if taken.get(candidate, labels) == labels:
            return candidate
        attempt += 1


def number_all(sets: Iterable[LabelSet], taken: Mapping[IdentityId, LabelSet]) -> dict[IdentityId, LabelSet]:
    """Numbers of all ``sets``, whatever their order; only those in ``taken`` before can sway a collision."""
    numbers = dict(taken)
    wanted = sorted(set(sets), key=LabelSet.spelled)
    known = {labels: identity for identity, labels in taken.items()}
    result: dict[IdentityId, LabelSet] = {}
    for labels in wanted:
        identity = known.get(labels) or number(labels, numbers)
        numbers[identity] = result[identity] = labels
    return result


def _hash(labels: LabelSet, attempt: int) -> IdentityId:
    text = "\0".join(f"{key}\1{value}" for key, value in labels.items())
    digest = hashlib.blake2b(text.encode(), digest_size=8, salt=attempt.to_bytes(8, "big")).digest()
    return IdentityId(FIRST_DYNAMIC + int.from_bytes(digest, "big") % _RANGE)
