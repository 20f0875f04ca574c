"""What can be wrong with manifests and with the store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from weft.model.origin import FieldPath, ManifestError, Origin


class ManifestErrors(ManifestError):
    """Everything that is wrong with one apply. It is a ManifestError itself (the first of ``errors``)."""

    def __init__(self, errors: Iterable[ManifestError]) -> None:
        self.errors = tuple(errors)
        first = self.errors[0]
        super().__init__(first.origin, first.path, first.problem, first.remedy)
        self.args = ("\n".join(str(error) for error in self.errors),)


class NotFound(LookupError):
    """No such object, in kubectl's words: ``pods "x" not found``."""


class Forbidden(ValueError):
    """An object that may not be deleted or changed this way: names the object and the reason."""


class StoreError(RuntimeError):
    """The store's file failed: names the file, the cause and the remedy. What was in force stays in force."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A warning about an accepted manifest: a field that has no effect here."""

    origin: Origin
    path: FieldPath
    text: str

    def __str__(self) -> str:
        return f"{self.origin.place(self.path)}: {self.text}"
