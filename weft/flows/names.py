"""Who and which rule a record's numbers stand for: what ``weft.flows`` asks of the agent, and a book that answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

from weft.model.desired import Listener
from weft.model.identity import Identity
from weft.model.labels import LabelSet
from weft.model.net import IdentityId, IPAddress, RuleId
from weft.model.objects import NamespacedName, Workload
from weft.model.policy import PolicyRef, Rule

V = TypeVar("V")
NO_LABELS = LabelSet()
Selects = Callable[[LabelSet], bool]
_PodKey = IPAddress | int | tuple[str, int]
"""An address, an endpoint number, ("ifindex", number) or ("cgroup", number)."""


@dataclass(frozen=True, slots=True)
class PodName:
    """A pod as flows show it. ``labels`` are its identity's."""

    id: int
    """Endpoint number; 0 for a pod of another node."""
    namespace: str
    name: str
    identity: IdentityId
    labels: LabelSet
    addresses: tuple[IPAddress, ...]
    workload_kind: str = ""
    workload_name: str = ""
    ifindex: int = 0
    """Host side of its veth, and the number (inode) of its cgroup folder; 0 for a pod of another node."""
    cgroup: int = 0

    def known_by(self) -> Iterable[_PodKey]:
        yield from self.addresses
        if self.id:
            yield self.id
        if self.ifindex:
            yield "ifindex", self.ifindex
        if self.cgroup:
            yield "cgroup", self.cgroup


_Pod = PodName | Workload
"""A Workload is of another node."""


def _known_by(pod: _Pod) -> Iterable[_PodKey]:
    return pod.known_by() if isinstance(pod, PodName) else pod.addresses


def _who(pod: _Pod) -> tuple[int, str, str]:
    return (pod.id, pod.namespace, pod.name) if isinstance(pod, PodName) else (0, *pod.key)


class PolicyEdit(NamedTuple):
    """Policies that were created, edited or deleted at once."""

    revision: int
    policies: tuple[PolicyRef, ...]


class Names(Protocol):
    """Answers are for the moment ``time_ns`` (CLOCK_BOOTTIME): the pod may be gone when somebody looks."""

    def pod(self, address: IPAddress, endpoint: int, time_ns: int) -> PodName | None:
        """The pod with this endpoint number; if that is 0, the one with this address."""

    def sender(self, ifindex: int, cgroup: int, time_ns: int) -> PodName | None:
        """The pod behind this device, or with this cgroup: who it was, whatever address the packet claims."""

    def pods(self) -> Iterable[PodName]:
        """Every pod that ``pod`` can answer with."""

    def labels(self, identity: int) -> LabelSet:
        """The identity's labels; empty if it is not known."""

    def identities(self) -> Iterable[tuple[int, LabelSet]]:
        """Every identity that ``labels`` knows."""

    def service(self, address: IPAddress, port: int, protocol: int) -> NamespacedName | None:
        """The Service with this frontend."""

    def rule(self, rule: int) -> Rule | None:
        """The policy rule with this number; its origin and path give file and line."""

    def edit(self, revision: int, labels: LabelSet) -> PolicyEdit | None:
        """The last change, up to this revision, of policies that select or selected who has these labels."""

    def listener(self, listener: int) -> Listener | None:
        """What Envoy's listener with this number enforces."""


class NameBook:
    """Names of now, and of what went lately. The agent tells it each change; it forgets the oldest past ``keep``, and
    past ``keep_labels`` identities that are gone."""

    def __init__(self, keep: int = 4096, keep_labels: int = 1024) -> None:
        self._keep, self._keep_labels = keep, keep_labels
        self.describe: Callable[[Workload], PodName]
        """How a pod of another node is shown: there are many, and few are ever looked at."""
        self._pods: dict[_PodKey, _Pod] = {}
        self._rivals: dict[_PodKey, list[_Pod]] = {}
        self._gone: dict[_PodKey, list[tuple[int, PodName]]] = {}
        self._gone_order: deque[_PodKey] = deque()
        self._identities: Mapping[IdentityId, Identity] = {}
        self._past_labels: dict[int, LabelSet] = {}
        self._services: dict[tuple[IPAddress, int, int], NamespacedName] = {}
        self._rules: dict[int, Rule] = {}
        self._edits: deque[tuple[int, PolicyRef, Selects]] = deque(maxlen=512)
        self._listeners: dict[int, Listener] = {}

    def change_pods(self, gone: Iterable[_Pod], come: Iterable[_Pod], time_ns: int) -> None:
        """From ``time_ns`` on (CLOCK_BOOTTIME). A pod of which something has changed is in both, as it was and as it
        is; what is in ``gone`` are the objects that came, and ``describe`` still tells how they were."""
        before: dict[_PodKey, _Pod] = {}
        for pod in gone:
            for key in _known_by(pod):
                before.setdefault(key, self._pods[key])
                self._unclaim(key, pod)
        for pod in come:
            for key in _known_by(pod):
                if key in self._pods:
                    before.setdefault(key, self._pods[key])
                    self._rivals.setdefault(key, []).append(self._pods[key])
                self._pods[key] = pod
        for key, pod in before.items():
            new = self._pods.get(key)
            if new is None or _who(new) != _who(pod):
                self._gone.setdefault(key, []).append((time_ns, self._described(pod)))
                self._gone_order.append(key)
        while len(self._gone_order) > self._keep:
            key = self._gone_order.popleft()
            self._gone[key].pop(0)
            if not self._gone[key]:
                del self._gone[key]

    def _unclaim(self, key: _PodKey, pod: _Pod) -> None:
        """Of several pods with one address, the one that came last has it."""
        rivals = [each for each in self._rivals.pop(key, ()) if each is not pod]
        if self._pods[key] is pod:
            if not rivals:
                del self._pods[key]
                return
            self._pods[key] = rivals.pop()
        if rivals:
            self._rivals[key] = rivals

    def set_identities(self, identities: Mapping[IdentityId, Identity]) -> None:
        """All identities in use. The labels of those that went last stay known."""
        before, self._identities = self._identities, identities
        self._past_labels.update((number, each.labels) for number, each in before.items() if number not in identities)
        past = [(number, labels) for number, labels in self._past_labels.items() if number not in identities]
        self._past_labels = dict(past[-self._keep_labels :])

    def set_services(self, services: Mapping[tuple[IPAddress, int, int], NamespacedName]) -> None:
        """All service frontends: (address, port, protocol number) → Service."""
        self._services = dict(services)

    def set_rules(self, rules: Mapping[RuleId, Rule]) -> None:
        """All rules in force. Rules of before stay known, since records name them."""
        self._rules = _merge(self._rules, rules, self._keep)

    def add_edit(self, revision: int, policy: PolicyRef, selects: Selects) -> None:
        """``selects``: whether the policy is about who has these labels, before the edit or after it."""
        self._edits.append((revision, policy, selects))

    def edit(self, revision: int, labels: LabelSet) -> PolicyEdit | None:
        found: dict[int, list[PolicyRef]] = {}
        for number, policy, selects in reversed(self._edits):
            if found and number not in found:
                break
            if number <= revision and selects(labels):
                found.setdefault(number, []).append(policy)
        return next((PolicyEdit(number, tuple(sorted(each, key=str))) for number, each in found.items()), None)

    def set_listeners(self, listeners: Mapping[int, Listener]) -> None:
        """All of Envoy's listeners (``Desired.listeners``). Those of before stay known, as rules do."""
        self._listeners = _merge(self._listeners, listeners, self._keep)

    def pod(self, address: IPAddress, endpoint: int, time_ns: int) -> PodName | None:
        return self._find(endpoint or address, time_ns)

    def sender(self, ifindex: int, cgroup: int, time_ns: int) -> PodName | None:
        return self._find(("cgroup", cgroup) if cgroup else ("ifindex", ifindex), time_ns)

    def _find(self, key: _PodKey, time_ns: int) -> PodName | None:
        for until, pod in self._gone.get(key, ()):
            if time_ns < until:
                return pod
        found = self._pods.get(key)
        return self._described(found) if found else None

    def _described(self, pod: _Pod) -> PodName:
        return pod if isinstance(pod, PodName) else self.describe(pod)

    def pods(self) -> Iterable[PodName]:
        yield from map(self._described, self._pods.values())
        for past in self._gone.values():
            yield from (pod for _, pod in past)

    def labels(self, identity: int) -> LabelSet:
        found = self._identities.get(IdentityId(identity))
        return found.labels if found else self._past_labels.get(identity, NO_LABELS)

    def identities(self) -> Iterable[tuple[int, LabelSet]]:
        yield from ((number, each.labels) for number, each in self._identities.items())
        yield from self._past_labels.items()

    def service(self, address: IPAddress, port: int, protocol: int) -> NamespacedName | None:
        return self._services.get((address, port, protocol))

    def rule(self, rule: int) -> Rule | None:
        return self._rules.get(rule)

    def listener(self, listener: int) -> Listener | None:
        return self._listeners.get(listener)


def _merge(old: dict[int, V], new: Mapping[Any, V], keep: int) -> dict[int, V]:
    """``new``, and of what only ``old`` has the newest ``keep``; in the order in which they were last in force."""
    past = [(number, value) for number, value in old.items() if number not in new]
    return dict(past[-keep:]) | dict(new)
