"""Reserved identities: numbers and names are Cilium's (pkg/identity/reserved identities), so tools agree on them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from weft.model.labels import LabelSet
from weft.model.net import IdentityId


class Reserved(IntEnum):
    UNKNOWN = 0
    HOST = 1
    WORLD = 2
    UNMANAGED = 3
    HEALTH = 4
    INIT = 5
    REMOTE_NODE = 6
    KUBE_APISERVER = 7
    INGRESS = 8
    WORLD_IPV4 = 9
    WORLD_IPV6 = 10

    @property
    def label(self) -> str:
        return "reserved:" + self.name.lower().replace("_", "-")


FIRST_DYNAMIC = 1 << 16
"""Numbers below are reserved (Cilium keeps 1..255 for itself and 256..65535 for its allocator)."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a peer is, as far as policy can tell: a number that stands for a set of labels."""

    id: IdentityId
    labels: LabelSet
    spiffe_id: str = ""
