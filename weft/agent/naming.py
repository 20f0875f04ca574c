"""Keeps the flow store's names in step with the world. Only what changed is looked at."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from weft.flows.names import NameBook, PodName
from weft.model.labels import LabelSet
from weft.model.net import IdentityId, Prefix, to_wide
from weft.model.objects import NamespacedName, Workload
from weft.model.policy import LabelSelector
from weft.model.world import World
from weft.plan import Compiled
from weft.plan.diff import Changes, changes
from weft.policy.parties import pod_labels
from weft.policy.select import selects
from weft.runtime.folder import sandbox_name


class Naming:
    """An engine's listener."""

    def __init__(self, book: NameBook, cgroups: Path, revision: Callable[[], int]) -> None:
        """``cgroups``: folder of the pods' own. ``revision``: the policy's, in force now."""
        self._book, self._cgroups, self._revision = book, cgroups, revision
        book.describe = self._describe
        self._world: World | None = None
        self._compiled: Compiled | None = None
        self._local: dict[NamespacedName, PodName] = {}
        self._noted = -1

    def __call__(self, world: World, compiled: Compiled) -> None:
        before, old = self._world, self._compiled
        if old is None or compiled.identities is not old.identities:
            self._book.set_identities(compiled.identities)
        if old is None or compiled.rules is not old.rules:
            self._book.set_rules(compiled.rules)
        if old is None or compiled.desired.listeners is not old.desired.listeners:
            self._book.set_listeners(compiled.desired.listeners)
        if before is None or world.services is not before.services:
            self._book.set_services(
                {
                    (address, port.port, port.protocol): service.key
                    for service in world.services.values()
                    for address in service.cluster_ips
                    for port in service.ports
                }
            )
        if before is not None and world.policies is not before.policies:
            self._note_edits(before, world)
        change = changes(before.workloads if before else {}, world.workloads)
        relabelled = changes(before.namespaces if before else {}, world.namespaces)
        if change or relabelled:
            self._name_pods(world, compiled, change, {*relabelled.gone, *relabelled.come})
        self._world, self._compiled = world, compiled

    def _note_edits(self, before: World, world: World) -> None:
        """Of this agent's own time only: what an earlier one put in force is nobody's edit. What left the revision as
        it was has cut nothing."""
        change, revision = changes(before.policies, world.policies), self._revision()
        if revision == self._noted:
            return
        self._noted = revision
        for ref in {**change.gone, **change.come}:
            old, new = before.policies.get(ref, ()), world.policies.get(ref, ())
            if old != new:  # not only moved in its file
                self._book.add_edit(revision, ref, _about({spec.subject for spec in (*old, *new)}))

    def _name_pods(
        self, world: World, compiled: Compiled, change: Changes[NamespacedName, Workload], relabelled: set[str]
    ) -> None:
        """Those of other nodes are described when somebody looks, by what is in force then."""
        ours = {key: pod for key, pod in change.come.items() if pod.local and pod.addresses}
        if relabelled:
            stay = self._local.keys() - change.gone
            ours |= {key: world.workloads[key] for key in stay if key.namespace in relabelled}
        gone: list[PodName | Workload] = [pod for key, pod in change.gone.items() if key not in self._local]
        gone += [self._local.pop(key) for key in {**change.gone, **ours} if key in self._local]
        new = {key: self._pod_name(world, compiled, pod) for key, pod in ours.items()}
        self._local.update(new)
        others = [pod for key, pod in change.come.items() if key not in new]
        self._book.change_pods(gone, [*others, *new.values()], time.clock_gettime_ns(time.CLOCK_BOOTTIME))

    def _describe(self, pod: Workload) -> PodName:
        assert self._world and self._compiled
        return self._pod_name(self._world, self._compiled, pod)

    def _pod_name(self, world: World, compiled: Compiled, workload: Workload) -> PodName:
        """The identity is asked of what was compiled, so a flow's number and its pod's number are one, and pods with
        the same labels share them."""
        kind, _, owner = workload.owner.partition("/")
        local, labels, desired = workload.local, pod_labels(world, workload), compiled.desired
        wide = to_wide(workload.addresses[0])
        entry = desired.endpoints.get(wide) if local else desired.ipcache.get(Prefix(wide, 128))
        identity = compiled.identities.get(entry.identity) if entry else None
        return PodName(
            id=local.id if local else 0,
            ifindex=local.ifindex if local else 0,
            cgroup=self._cgroup(workload.key) if local else 0,
            namespace=workload.key.namespace,
            name=workload.key.name,
            identity=entry.identity if entry else IdentityId(0),
            labels=identity.labels if identity and identity.labels == labels else labels,
            addresses=workload.addresses,
            workload_kind=kind or "Pod",
            workload_name=owner or workload.key.name,
        )

    def _cgroup(self, key: NamespacedName) -> int:
        """How socket hooks' records name the pod; 0 once it is gone."""
        try:
            return (self._cgroups / sandbox_name(key)).stat().st_ino
        except FileNotFoundError:
            return 0


def _about(subjects: Iterable[LabelSelector]) -> Callable[[LabelSet], bool]:
    """Whether one of them selects."""
    kept = tuple(subjects)
    return lambda labels: any(selects(subject, labels) for subject in kept)
