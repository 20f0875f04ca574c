"""Numbers of namespaces: of those that local pods are in, and of those that have routes of their own."""

from __future__ import annotations

from collections.abc import Set

from weft.plan.numbering import NumberSpace
from weft.policy.digests import digest


class Scopes:
    """Namespace → number. One instance for each user of the space; a number is given back when no user has it."""

    def __init__(self, numbers: NumberSpace, shared: dict[str, int]) -> None:
        """``shared``: how many users each namespace has; the same mapping for all of them."""
        self._numbers, self._uses = numbers, shared
        self._mine: dict[str, int] = {}

    def replace(self, namespaces: Set[str]) -> None:
        """These are in use here from now on."""
        for namespace in sorted(namespaces - self._mine.keys(), key=scope_digest):
            self._uses[namespace] = self._uses.get(namespace, 0) + 1
            self._mine[namespace] = self._numbers.assign(scope_digest(namespace))
        for namespace in self._mine.keys() - namespaces:
            del self._mine[namespace]
            self._uses[namespace] -= 1
            if not self._uses[namespace]:
                del self._uses[namespace]
                self._numbers.release(scope_digest(namespace))

    def number(self, namespace: str) -> int:
        """Of a namespace in use here."""
        return self._mine[namespace]


def scope_digest(namespace: str) -> bytes:
    return digest("scope", namespace)
