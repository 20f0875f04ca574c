"""Does a plan fit? Counted through all its steps before the first write, because old and new stand side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from weft.datapath.errors import CapacityError
from weft.model.desired import BumpRevision, Desired, MapName, Step

LPM = ("ipcache", "policy")
"""A full trie refuses to replace an entry on kernels before 6.13, so one entry stays free."""


SIZED_BY = {"backend_members": "backends"}
"""Maps that have the size of another one."""


def entries(kernel: Desired) -> dict[MapName, int]:
    """How many entries each map of the plan has."""
    return {
        "endpoints": len(kernel.endpoints),
        "ipcache": len(kernel.ipcache),
        "policy": sum(map(len, kernel.tables.values())),
        "services": len(kernel.services),
        "backends": sum(map(len, kernel.backends.values())),
        "routes": len(kernel.routes),
        "nodes": len(kernel.nodes),
        "backend_members": sum(len(kernel.backends[number]) for number in kernel.member_lists),
    }


def check(kernel: Desired, steps: Sequence[Step], sizes: Mapping[str, int]) -> None:
    """Errors: CapacityError with need and size for each map that some step would overfill."""
    now = entries(kernel)
    rooms = {name: sizes[name] - (name in LPM) for name in now}
    writes = [step for step in steps if not isinstance(step, BumpRevision)]
    most = Counter(now)
    for write in writes:
        most[write.map] += len(write.puts)
    tight = {name for name, room in rooms.items() if most[name] > room}
    """Maps that would not hold every put if none replaced an entry: there they are counted one by one."""
    changed: dict[MapName, dict[Any, bool]] = {name: {} for name in tight}
    """Key → whether it is there by now, for keys that the steps touch."""
    needs: dict[MapName, int] = {}
    """The most that a map without room would hold on the way."""
    for write in writes:
        if write.map not in tight:
            continue
        touched = changed[write.map]
        for keys, there in ((write.puts, True), (write.deletes, False)):
            for key in keys:
                before = touched[key] if key in touched else _holds(kernel, write.map, key)
                touched[key] = there
                now[write.map] += there - before
        if now[write.map] > max(rooms[write.map], needs.get(write.map, 0)):
            needs[write.map] = now[write.map]
    if needs:
        (first, cause), *others = (
            (f"map {name}", f"the change needs {need} entries, it has room for {rooms[name]}")
            for name, need in needs.items()
        )
        cause += "".join(f"; {what}: {more}" for what, more in others)
        raise CapacityError(first, cause, f"nothing was changed; start the agent with {_sizes(needs)}, or ask for less")


def _sizes(needs: Mapping[MapName, int]) -> str:
    """Options that are just enough."""
    sizes: dict[str, int] = {}
    for name, need in needs.items():
        sized = SIZED_BY.get(name, name)
        sizes[sized] = max(sizes.get(sized, 0), need + (name in LPM))
    return " ".join(f"--map-size {name}={size}" for name, size in sizes.items()) + " or more"


def _holds(kernel: Desired, name: MapName, key: Any) -> bool:
    if name == "policy":
        return key in kernel.tables.get(key.table, ())
    if name == "backends":
        return bool(key.slot < len(kernel.backends.get(key.backends, ())))
    if name == "backend_members":
        return key.backends in kernel.member_lists
    return key in getattr(kernel, name)
