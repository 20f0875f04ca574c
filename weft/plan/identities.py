"""Who is there: every identity in use, and which addresses have it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from weft.identity import labels_of, number, reserved_labels, spiffe_id
from weft.model.identity import FIRST_DYNAMIC, Identity, Reserved
from weft.model.labels import LabelSet
from weft.model.net import IdentityId, Prefix
from weft.model.objects import Namespace, NamespacedName, Workload
from weft.model.world import World
from weft.plan.diff import Changes, changes
from weft.plan.numbering import NumberSpace
from weft.policy.classes import LabelIndex
from weft.policy.digests import digest

Kind = frozenset[Reserved]
"""What an address that is no pod's is. The API server's may be a node's too (Cilium's rule)."""
_API = Reserved.KUBE_APISERVER
KINDS: tuple[Kind, ...] = tuple(
    frozenset(kind)
    for kind in (
        (Reserved.HOST,),
        (Reserved.WORLD_IPV4,),
        (Reserved.WORLD_IPV6,),
        (Reserved.REMOTE_NODE,),
        (Reserved.HOST, _API),
        (Reserved.REMOTE_NODE, _API),
        (Reserved.WORLD_IPV4, _API),
        (Reserved.WORLD_IPV6, _API),
    )
)
"""Position → kind: these are there in every world."""
POSITIONS = {kind: position for position, kind in enumerate(KINDS)}


class Moves(NamedTuple):
    """What an update did. Positions are those of bits in the index."""

    added: dict[int, LabelSet]
    removed: dict[int, LabelSet]
    addresses: set[Prefix]
    """Those whose pod came, went or changed in any way."""


class Identities:
    """The pods of the last world given to ``update``, by address and by identity.

    ``index``: their labels, one bit for each identity. ``at[position]``: the identity of a bit. ``holder``: address →
    pod; ``contested`` has all pods of an address that several claim. ``members[position]``: the addresses of an
    identity. ``identities`` is replaced when it changes.
    """

    def __init__(self, numbers: NumberSpace) -> None:
        self._numbers = numbers
        self._world: World | None = None
        self._positions: dict[LabelSet, int] = {}
        self._spare: list[int] = []
        self._pods: dict[NamespacedName, int] = {}
        self._pod_count: dict[int, int] = {}
        self.contested: dict[Prefix, list[Workload]] = {}
        self.holder: dict[Prefix, Workload] = {}
        self.members: dict[int, dict[Prefix, Prefix]] = {}
        """Each address to itself: so the object that all other mappings hold is found again. (A set would take six
        times the memory.)"""
        self.index = LabelIndex()
        self.at: dict[int, Identity] = {}
        self.identities: Mapping[IdentityId, Identity] = _reserved()

    def describe(self, kinds: Collection[Kind]) -> None:
        """``kinds``: those that some address has. The labels of ``identities`` say what an API server is besides."""
        self.identities = {**self.identities, **_reserved(kinds)}

    def position(self, address: Prefix) -> int:
        return self._pods[self.holder[address].key]

    def update(self, world: World, pods: Changes[NamespacedName, Workload]) -> Moves:
        """``pods``: what has changed among the workloads since the world before."""
        moves = Moves({}, {}, set())
        if self._world is None:
            for position, kind in enumerate(KINDS):
                reserved = reserved_labels(*kind)
                self._enter(position, Identity(number(reserved, {}), reserved), moves)
        gone, come = self._changed_pods(world, pods)
        self._world = world
        left = {self._pods[key] for key in gone}
        known: dict[Prefix, Prefix] = {}
        for pod in gone.values():
            self._leave(pod, moves, known)
        labels = _all_labels(come, world)
        self._welcome({labels[key]: pod for key, pod in come.items()}, world.node.trust_domain, moves)
        for key, pod in come.items():
            position = self._pods[key] = self._positions[labels[key]]
            self._pod_count[position] = self._pod_count.get(position, 0) + 1
            for address in map(Prefix.host, pod.addresses):
                same = known.get(address, address)
                self._claim(same, pod, position)
                moves.addresses.add(same)
        self._dismiss([position for position in left if not self._pod_count[position]], moves)
        return moves

    def _changed_pods(
        self, world: World, pods: Changes[NamespacedName, Workload]
    ) -> tuple[dict[NamespacedName, Workload], dict[NamespacedName, Workload]]:
        """With those whose namespace has other labels now."""
        before = self._world or World(world.node)
        spaces = changes(before.namespaces, world.namespaces)
        if not spaces:
            return pods.gone, pods.come
        renamed = {*spaces.gone, *spaces.come}
        affected = {
            key: pod
            for key, pod in before.workloads.items()
            if key.namespace in renamed and world.workloads.get(key) is pod
        }
        return {**pods.gone, **affected}, {**pods.come, **affected}

    def _welcome(self, pods: Mapping[LabelSet, Workload], trust_domain: str, moves: Moves) -> None:
        """Identities that these labels are the first to have."""
        new = {_digest(labels): labels for labels in pods if labels not in self._positions}
        if not new:
            return
        numbers = self._numbers.assign_all(new)
        added = {}
        for digest_, labels in new.items():
            position = self._spare.pop() if self._spare else len(self.at)
            id_ = IdentityId(numbers[digest_])
            added[id_] = Identity(id_, labels, spiffe_id(pods[labels], trust_domain))
            self._enter(position, added[id_], moves)
        self.identities = {**self.identities, **added}

    def _enter(self, position: int, identity: Identity, moves: Moves) -> None:
        self._positions[identity.labels] = position
        self.at[position] = identity
        self.members[position] = {}
        self.index.add(position, identity.labels)
        moves.added[position] = identity.labels

    def _leave(self, pod: Workload, moves: Moves, known: dict[Prefix, Prefix]) -> None:
        """``known`` gets the addresses as they were, so that those that stay remain the same objects everywhere."""
        position = self._pods[pod.key]
        for each in map(Prefix.host, pod.addresses):
            address = self.members[position].get(each) or each
            known[address] = address
            self._unclaim(address, pod, position)
            moves.addresses.add(address)
        self._pod_count[self._pods.pop(pod.key)] -= 1

    def _dismiss(self, positions: list[int], moves: Moves) -> None:
        """Identities that nobody has any more."""
        for position in positions:
            identity = self.at.pop(position)
            self.index.remove(position, identity.labels)
            self._numbers.release(_digest(identity.labels))
            del self._pod_count[position], self.members[position], self._positions[identity.labels]
            self._spare.append(position)
            moves.removed[position] = identity.labels
        if len(positions) > len(self.at):  # a dict never gets smaller by itself
            self._positions, self._pod_count = dict(self._positions), dict(self._pod_count)
            self.members, self.at = dict(self.members), dict(self.at)
        if positions:
            kept = {identity.id for identity in self.at.values()}
            self.identities = {id_: each for id_, each in self.identities.items() if id_ in kept or id_ < FIRST_DYNAMIC}

    def _claim(self, address: Prefix, pod: Workload, position: int) -> None:
        self.members[position][address] = address
        if address in self.holder:
            self.contested.setdefault(address, [self.holder[address]]).append(pod)
        self.holder[address] = min(self.contested.get(address, (pod,)), key=_preference)

    def _unclaim(self, address: Prefix, pod: Workload, position: int) -> None:
        self.members[position].pop(address, None)
        rivals = [each for each in self.contested.pop(address, ()) if each is not pod]
        if not rivals:
            del self.holder[address]
            return
        self.holder[address] = min(rivals, key=_preference)
        if len(rivals) > 1:
            self.contested[address] = rivals
        for rival in rivals:
            self.members[self._pods[rival.key]][address] = address


def _reserved(kinds: Collection[Kind] = ()) -> dict[IdentityId, Identity]:
    """Each with the labels of the first kind in use that has its number and the most of them."""
    labels = {IdentityId(each): reserved_labels(each) for each in Reserved}
    for kind in KINDS:
        if kind in kinds and len(found := reserved_labels(*kind)) > len(labels[number(found, {})]):
            labels[number(found, {})] = found
    return {id_: Identity(id_, each) for id_, each in labels.items()}


def _preference(pod: Workload) -> tuple[bool, bool, NamespacedName]:
    """Of several pods with one address: ours, then the one that stays."""
    return (pod.local is None, pod.terminating, pod.key)


def _all_labels(pods: Mapping[NamespacedName, Workload], world: World) -> dict[NamespacedName, LabelSet]:
    """Pods that share their labels' mapping share the result."""
    made: dict[tuple[int, str, str], LabelSet] = {}
    found: dict[NamespacedName, LabelSet] = {}
    for key, pod in pods.items():
        kind = (id(pod.labels), key.namespace, pod.service_account)
        labels = made.get(kind)
        if labels is None:
            namespace = world.namespaces.get(key.namespace) or Namespace(key.namespace)
            labels = made[kind] = labels_of(pod, namespace, world.node.cluster)
        found[key] = labels
    return found


def _digest(labels: LabelSet) -> bytes:
    """Begins with the number that the labels alone would get."""
    return number(labels, {}).to_bytes(4, "big") + digest(*labels.spelled())
