"""What an API server has of one resource, as values of the world; one Table each.

A table is told of whole objects, in the order in which the API server tells, and answers with the key if the value is
another one than before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from weft.model.objects import LocalPod, NamespacedName, Workload
from weft.sources.kubernetes import shapes, values
from weft.sources.kubernetes.complaints import Complaint, Complaints
from weft.sources.kubernetes.resources import Reference, Resource
from weft.sources.objects import Key

S = TypeVar("S", bound=Any)
Local = Callable[[NamespacedName], LocalPod | None]


class Table(ABC):
    """``field``: of the World. Keys are the field's."""

    def __init__(self, resource: Resource, field: str, complaints: Complaints) -> None:
        self.resource, self.field, self._complaints = resource, field, complaints

    @abstractmethod
    def key(self, meta: shapes.Meta) -> Any: ...

    @abstractmethod
    def known(self) -> list[Any]:
        """Of every object that the API server has, also of one without a value."""

    @abstractmethod
    def value(self, key: Any) -> Any:
        """None: there is none."""

    @abstractmethod
    def put(self, raw: msgspec.Raw, version: str) -> tuple[Any, bool]:
        """``take`` for a good object. Raises ValidationError; the old one stays."""

    @abstractmethod
    def remove(self, key: Any) -> bool:
        """It is gone; whether it had a value."""

    def take(self, raw: msgspec.Raw, version: str) -> tuple[Any, bool]:
        """An object as it is now: (its key, whether its value is another one). Raises ValidationError if it has no
        name."""
        try:
            return self.put(raw, version)
        except msgspec.ValidationError as error:
            meta = msgspec.json.decode(raw, type=shapes.Headed).metadata
            self.complain(meta, version, str(error))
            return self.key(meta), False

    def drop(self, raw: msgspec.Raw) -> tuple[Any, bool]:
        meta = msgspec.json.decode(raw, type=shapes.Headed).metadata
        self._complaints.settle(self._name(meta))
        return self.key(meta), self.remove(self.key(meta))

    def complain(self, meta: shapes.Meta, version: str, message: str, **more: Any) -> None:
        reference = Reference(self._name(meta), version, meta.uid)
        self._complaints.raise_(Complaint(reference, message, **more))

    def _name(self, meta: shapes.Meta) -> Key:
        return Key(self.resource.kind, meta.namespace, meta.name)


class Flaw(NamedTuple):
    """What is odd about an object that has a value all the same."""

    message: str
    delay: float = 0
    """Seconds for which it is nothing unusual."""
    warning: bool = True


class PlainTable(Table, Generic[S]):
    """Objects whose value depends on nothing else."""

    def __init__(
        self,
        resource: Resource,
        field: str,
        complaints: Complaints,
        shape: type[S],
        convert: Callable[[S], Any],
        flaw: Callable[[S], Flaw | None] = lambda shape: None,
        namespaced: bool = True,
    ) -> None:
        super().__init__(resource, field, complaints)
        self._decoder = msgspec.json.Decoder(shape)
        self._convert, self._flaw, self._namespaced = convert, flaw, namespaced
        self._values: dict[Any, Any] = {}

    def key(self, meta: shapes.Meta) -> Any:
        return values.key(meta) if self._namespaced else meta.name

    def known(self) -> list[Any]:
        return list(self._values)

    def value(self, key: Any) -> Any:
        return self._values.get(key)

    def put(self, raw: msgspec.Raw, version: str) -> tuple[Any, bool]:
        shape = self._decoder.decode(raw)
        key, value = self.key(shape.metadata), self._convert(shape)
        if (flaw := self._flaw(shape)) is not None:
            self.complain(shape.metadata, version, flaw.message, delay=flaw.delay, warning=flaw.warning)
        else:
            self._complaints.settle(self._name(shape.metadata))
        if key in self._values and self._values[key] == value:
            return key, False
        self._values[key] = value
        return key, True

    def remove(self, key: Any) -> bool:
        return self._values.pop(key, None) is not None


class PodTable(Table):
    """Pods of the whole cluster; of this node's own ones the object is kept, for their value follows what is local."""

    def __init__(self, resource: Resource, complaints: Complaints, node: str, local: Local) -> None:
        super().__init__(resource, "workloads", complaints)
        self._node, self._local = node, local
        self._decoder = msgspec.json.Decoder(shapes.Pod)
        self._values: dict[NamespacedName, Workload] = {}
        self.own: dict[NamespacedName, shapes.Pod] = {}

    def key(self, meta: shapes.Meta) -> NamespacedName:
        return values.key(meta)

    def known(self) -> list[NamespacedName]:
        return list(self._values)

    def value(self, key: NamespacedName) -> Workload | None:
        return self._values.get(key)

    def put(self, raw: msgspec.Raw, version: str) -> tuple[NamespacedName, bool]:
        pod = self._decoder.decode(raw)
        key = values.key(pod.metadata)
        if pod.spec.node_name == self._node:
            self.own[key] = pod
            return key, self._set(values.workload(pod, self._node, self._local(key)))
        self.own.pop(key, None)
        return key, self._set(values.workload(pod, self._node, None))

    def remove(self, key: NamespacedName) -> bool:
        self.own.pop(key, None)
        return self._values.pop(key, None) is not None

    def refresh(self, key: NamespacedName) -> bool:
        """What is local has changed; whether the value has."""
        pod = self.own.get(key)
        return pod is not None and self._set(values.workload(pod, self._node, self._local(key)))

    def _set(self, workload: Workload) -> bool:
        """Names and addresses that stay remain the same objects, which slices share."""
        old = self._values.get(workload.key)
        if old == workload:
            return False
        if old is not None:
            addresses = old.addresses if old.addresses == workload.addresses else workload.addresses
            workload = replace(workload, key=old.key, addresses=addresses)
        self._values[workload.key] = workload
        return True
