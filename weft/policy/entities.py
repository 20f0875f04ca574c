"""Cilium's entities → selectors. Source: Cilium's documentation, "Entities based" policies."""

from __future__ import annotations

from weft.model.labels import CLUSTER_KEY, RESERVED
from weft.model.policy import LabelSelector, Operator, Requirement
from weft.policy.labelsyntax import RESERVED_NAMES, selector_of
from weft.policy.spot import Spot

_CLUSTER = ("host", "remote-node", "kube-apiserver", "ingress", "init", "health", "unmanaged")
ENTITIES = ("all", "cluster", "none", *RESERVED_NAMES)


def entity_selectors(entity: str, cluster: str, spot: Spot) -> tuple[LabelSelector, ...] | None:
    """What an entity stands for: alternatives. None = everything (``all``); () = nothing (``none``).

    ``world`` is both families, ``cluster`` every pod of this cluster, its nodes and what they run.
    """
    match entity:
        case "all":
            return None
        case "none":
            return ()
        case "cluster":
            pods = selector_of([Requirement(CLUSTER_KEY, Operator.IN, (cluster,), spot.path)])
            return (*(_reserved(name, spot) for name in _CLUSTER), pods)
        case _ if entity in RESERVED_NAMES:
            return (_reserved(entity, spot),)
    raise spot.unknown("entity", entity, ENTITIES)


def _reserved(name: str, spot: Spot) -> LabelSelector:
    return selector_of([Requirement(f"{RESERVED}:{name}", Operator.EXISTS, (), spot.path)])
