"""What ``weft wait`` waits for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from weft.api.server import Refusal
from weft.sources.objects import Json, Key, Stored
from weft.sources.registry import DEPLOYMENT, POD
from weft.sources.store import Store
from weft.sources.world import is_ready

CONDITIONS = ("Ready", "Running", "Started", "delete")
"""Started: it runs, or has run to its end."""
START_ERROR = "StartError"


@dataclass(frozen=True, slots=True)
class Wanted:
    """``keys`` empty: every pod of the namespace, and at least one."""

    keys: tuple[Key, ...]
    namespace: str
    condition: str

    def hopeless(self, store: Store) -> bool:
        """Waiting on is no use: a pod that should run has a command that cannot be started."""
        if self.condition == "delete":
            return False
        found = [stored for stored in store.objects(POD) if stored.key in self.keys]
        return any(map(_cannot_start, found))

    def missing(self, store: Store) -> list[str]:
        """One line for each object of which it does not hold; empty when it holds."""
        known = {stored.key: stored for stored in store.objects()}
        if self.keys:
            rows = [(key, known.get(key)) for key in self.keys]
        else:
            rows = [(key, one) for key, one in known.items() if key.kind == POD and key.namespace == self.namespace]
            if not rows and self.condition != "delete":
                return [f"no pods in namespace {self.namespace}"]
        lines = [(key, self._lacks(stored)) for key, stored in rows]
        return [f"{key.kind.lower()}/{key.name}: {lack}" for key, lack in lines if lack]

    def _lacks(self, stored: Stored | None) -> str:
        if self.condition == "delete":
            return "still there" if stored else ""
        if stored is None:
            return "not found"
        if stored.key.kind == DEPLOYMENT:
            wanted, ready = stored.obj.spec.replicas, stored.status.get("readyReplicas", 0)
            done = ready == stored.status.get("updatedReplicas") == stored.status.get("replicas") == wanted
            return "" if done else f"{ready} of {wanted} replicas ready"
        phase = stored.status.get("phase", "Pending")
        if self.condition == "Ready":
            return "" if is_ready(stored) else f"not ready ({phase}{_why(stored)})"
        if self.condition == "Started" and phase in ("Succeeded", "Failed") and not _cannot_start(stored):
            return ""
        if phase == "Running" and not _cannot_start(stored):
            return ""
        return f"{'cannot start' if _cannot_start(stored) else phase}{_why(stored)}"


def _held_up(stored: Stored) -> list[Json]:
    """Why containers wait or have ended: ``{"reason", "message"}``."""
    states = [one.get("state", {}) for one in stored.status.get("containerStatuses", ())]
    return [found for state in states if (found := state.get("waiting") or state.get("terminated"))]


def _cannot_start(stored: Stored) -> bool:
    """A command that does not exist: it is tried again, as Kubernetes does, but that is not "running"."""
    return any(one.get("reason") == START_ERROR for one in _held_up(stored))


def _why(stored: Stored) -> str:
    said = [": ".join(filter(None, (one.get("reason"), one.get("message")))) for one in _held_up(stored)]
    return f": {'; '.join(said)}" if said else ""


def parse(pods: Sequence[dict[str, str]], namespace: str, condition: str) -> Wanted:
    """``pods``: ``{"namespace", "name"}``; ``deployment/NAME`` parses as that namespace. Errors: Refusal."""
    known = {name.lower(): name for name in CONDITIONS} | {"available": "Ready"}
    if condition.lower() not in known:
        raise Refusal(f"--for {condition}: unknown condition; known: {', '.join(CONDITIONS)}")
    keys = []
    for one in pods:
        if one["namespace"] in ("deployment", "deploy"):
            keys.append(Key(DEPLOYMENT, namespace, one["name"]))
        else:
            keys.append(Key(POD, one["namespace"], one["name"]))
    return Wanted(tuple(keys), namespace, known[condition.lower()])
