"""The embedded store: the objects that were applied, with Kubernetes' semantics, in memory and in one SQLite file.

A change is checked whole, written in one transaction, and only then in force and told to subscribers. If the file
fails, StoreError is raised and what was in force stays so. Use a store from one thread.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec

from weft.model.net import IPNetwork
from weft.model.origin import NOWHERE, ManifestError
from weft.sources import admission, deletion
from weft.sources.database import Database, Row
from weft.sources.decode import DEFAULT_NAMESPACE
from weft.sources.errors import Forbidden, ManifestErrors, NotFound, StoreError
from weft.sources.objects import Action, Change, Json, Key, Resource, Stored
from weft.sources.registry import KINDS, NAMESPACE, NODE, POD, SERVICE

SYSTEM_NAMESPACE = "kube-system"
IMPLICIT_NAMESPACES = (DEFAULT_NAMESPACE, SYSTEM_NAMESPACE)
"""They exist from the start and cannot be deleted."""

Subscriber = Callable[[Sequence[Change]], None]
Guard = Callable[[Sequence[Change]], None]


class Applied(NamedTuple):
    stored: Stored
    action: Action
    """CREATED, CONFIGURED or UNCHANGED."""


class Store:
    """``revision`` counts committed transactions."""

    def __init__(
        self,
        path: Path,
        service_cidrs: tuple[IPNetwork, ...] = (),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        new_uid: Callable[[], str] = lambda: str(uuid4()),
        shared: bool = False,
    ) -> None:
        """Opens or creates the file. ``service_cidrs``: at most one per family, the default family's first.
        ``shared``: with the agents of other nodes (docs/decisions/0010-shared-store.md); call ``refresh`` often.

        Raises StoreError: damaged, in use by another agent, or of another layout.
        """
        self._service_cidrs, self._now, self._new_uid = service_cidrs, now, new_uid
        self._subscribers: list[Subscriber] = []
        self._untold: deque[Sequence[Change]] = deque()
        self._telling = False
        self._database = Database(path, shared)
        self.revision, rows = self._database.load()
        self._objects = {row.key: self._stored(row) for row in rows}
        missing = [_namespace(name) for name in IMPLICIT_NAMESPACES if Key(NAMESPACE, "", name) not in self._objects]
        self.apply(missing)

    def close(self) -> None:
        self._database.close()

    def get(self, key: Key) -> Stored:
        """Raises NotFound."""
        if key not in self._objects:
            raise NotFound(f'{KINDS[key.kind].plural_resource} "{key.name}" not found')
        return self._objects[key]

    def has(self, key: Key) -> bool:
        return key in self._objects

    def objects(self, kind: str = "", namespace: str = "") -> list[Stored]:
        """Sorted by kind, namespace and name; empty = all kinds, all namespaces."""
        wanted = (
            key for key in self._objects if kind in ("", key.kind) and (not namespace or key.namespace == namespace)
        )
        return [self._objects[key] for key in sorted(wanted)]

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call it with the changes of every committed transaction, in order, until the returned function is called.

        It may change the store; it must not raise."""
        self._subscribers.append(subscriber)
        return lambda: self._subscribers.remove(subscriber)

    def refresh(self) -> None:
        """Take in what others have written into a shared file."""
        if self._database.shared and self._database.has_changed():
            self._catch_up()
            self._tell()

    def apply(self, resources: Sequence[Resource], dry_run: bool = False, guard: Guard | None = None) -> list[Applied]:
        """All of them or, with ManifestErrors, none. The result is in the order of ``resources``.

        ``guard`` sees the changes after every other check (those with action UNCHANGED moved in their file at most);
        what it raises, ManifestError or other, refuses the whole.
        """
        with self._writing():
            return self._apply(resources, dry_run, guard)

    def _apply(self, resources: Sequence[Resource], dry_run: bool, guard: Guard | None) -> list[Applied]:
        after = dict(self._objects)
        used = {text: key for key, stored in after.items() if key.kind == SERVICE for text in _addresses(stored)}
        changes: dict[Key, Change] = {}
        errors: list[ManifestError] = []
        for resource in sorted(resources, key=lambda one: one.kind != NAMESPACE):
            try:
                stored = self._admit(resource, after, used)
            except ManifestError as error:
                errors.append(error)
                continue
            changes[stored.key] = Change(stored.key, self._objects.get(stored.key), stored)
            after[stored.key] = stored
            used |= dict.fromkeys(_addresses(stored), stored.key)
        if errors:
            raise ManifestErrors(errors)
        real = [change for change in changes.values() if change.old != change.new]
        if guard is not None:
            guard(real)
        if not dry_run:
            self._commit(real)
        return [Applied(after[one.key], changes[one.key].action) for one in resources]

    def set_status(self, statuses: Mapping[Key, Json], guard: Guard | None = None) -> None:
        """Replace the status of these objects; those that are gone are left out. Does not count as a generation.

        ``guard`` sees the changes first; what it raises refuses them."""
        with self._writing(durable=False):
            changes = []
            for key, status in statuses.items():
                old = self._objects.get(key)
                if old is not None and old.status != status:
                    new = replace(old, status=status, revision=self.revision + 1)
                    changes.append(Change(key, old, new))
            if guard is not None:
                guard(changes)
            self._commit(changes, durable=False)

    def delete(self, keys: Iterable[Key]) -> list[Change]:
        """Delete these and what goes with them (``deletion``). Pods, and a namespace with pods in it, are only marked
        ``deleting``; the pods go with ``remove`` once they have stopped. Raises NotFound, Forbidden."""
        with self._writing():
            for key in keys:
                self.get(key)
                if key.kind == NAMESPACE and key.name in IMPLICIT_NAMESPACES:
                    raise Forbidden(f'namespaces "{key.name}" may not be deleted')
            now = self._now().replace(microsecond=0)
            return self._commit(deletion.delete(self._objects, keys, now, self.revision + 1))

    def remove(self, key: Key) -> list[Change]:
        """A pod has stopped for good: forget it, and its namespace if that waited for it. Raises NotFound."""
        with self._writing():
            return self._commit(deletion.remove(self._objects, self.get(key)))

    @contextmanager
    def _writing(self, durable: bool = True) -> Iterator[None]:
        """Nobody else changes a shared file meanwhile, and what they changed before is known. Subscribers are told when
        it is over."""
        try:
            if self._database.shared:
                with self._database.alone(durable):
                    self._catch_up()
                    yield
            else:
                yield
        finally:
            self._tell()

    def _catch_up(self) -> None:
        """To the file. What is the same stays the same object, so that plans go on from it."""
        self.revision, rows, keys = self._database.since(self.revision)
        changes = []
        for row in rows:
            old, new = self._objects.get(row.key), self._stored(row)
            if old is not None and old.resource.raw == row.raw:
                new = replace(new, resource=old.resource)
            changes.append(Change(row.key, old, new))
        changes += [Change(key, old, None) for key, old in self._objects.items() if key not in keys]
        self._put(changes)

    def _stored(self, row: Row) -> Stored:
        info = KINDS.get(row.key.kind)
        obj: Any
        try:
            if info is None:
                raise msgspec.ValidationError("unknown kind")
            obj = msgspec.convert(row.raw, info.shape)
        except msgspec.ValidationError as error:
            raise StoreError(
                f"{self._database.path}: stored {row.key} does not fit this version of weft: {error}; "
                f"run the version that wrote it, delete the object there, and come back"
            ) from error
        resource = Resource(info.api_version, *row.key, obj, row.raw, row.origin, row.excerpt)
        return Stored(resource, row.uid, row.generation, row.revision, row.created, row.deleting, row.status)

    def _admit(self, resource: Resource, objects: Mapping[Key, Stored], used_ips: Mapping[str, Key]) -> Stored:
        """What ``resource`` becomes among ``objects`` (with what this apply admitted before it)."""
        old = objects.get(resource.key)
        if resource.namespace:
            _check_namespace(resource, objects)
        admitted = admission.admit(resource, old, used_ips, self._service_cidrs, lambda: _emptiest(objects))
        if old is None:
            created = self._now().replace(microsecond=0)
            return Stored(admitted, self._new_uid(), 1, self.revision + 1, created)
        if admitted == old.resource:
            return old
        changed = admitted.raw != old.resource.raw
        return replace(old, resource=admitted, generation=old.generation + changed, revision=self.revision + 1)

    def _commit(self, changes: Sequence[Change], durable: bool = True) -> list[Change]:
        if not changes:
            return []
        puts = [change.new for change in changes if change.new is not None]
        deletes = [change.key for change in changes if change.new is None]
        self._database.write(self.revision + 1, puts, deletes, durable)
        self.revision += 1
        self._put(changes)
        return list(changes)

    def _put(self, changes: Sequence[Change]) -> None:
        """What the file has by now."""
        for change in changes:
            if change.new is not None:
                self._objects[change.key] = change.new
            else:
                del self._objects[change.key]
        if changes:
            self._untold.append(changes)

    def _tell(self) -> None:
        """One transaction after the other to all subscribers, also when one of them changes the store in between."""
        if self._telling:
            return
        self._telling = True
        try:
            while self._untold:
                told = self._untold.popleft()
                for subscriber in tuple(self._subscribers):
                    subscriber(told)
        finally:
            self._telling = False


def _namespace(name: str) -> Resource:
    raw: Json = {"apiVersion": "v1", "kind": NAMESPACE, "metadata": {"name": name}}
    obj: Any = msgspec.convert(raw, KINDS[NAMESPACE].shape)
    return Resource("v1", NAMESPACE, "", name, obj, raw, NOWHERE)


def _check_namespace(resource: Resource, objects: Mapping[Key, Stored]) -> None:
    home = objects.get(Key(NAMESPACE, "", resource.namespace))
    path = ("metadata", "namespace")
    if home is None:
        remedy = f"apply a Namespace {resource.namespace} before or with it"
        raise ManifestError(resource.origin, path, f'namespaces "{resource.namespace}" not found', remedy)
    if home.deleting is not None:
        problem = f'namespace "{resource.namespace}" is being deleted'
        raise ManifestError(resource.origin, path, problem, "wait until it is gone")


def _emptiest(objects: Mapping[Key, Stored]) -> str:
    """The node with the fewest pods, of those that share the store; nothing if there are none."""
    pods = Counter(stored.obj.spec.node_name for stored in objects.values() if stored.key.kind == POD)
    nodes = (key.name for key in objects if key.kind == NODE)
    return min(nodes, key=lambda name: (pods[name], name), default="")


def _addresses(stored: Stored) -> list[str]:
    return admission.addresses_of(stored.resource) if stored.key.kind == SERVICE else []
