"""What outlives the agent: a record per connected container, written before its devices and removed after them; and
the notes of containers that were deleted while there was no agent."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import msgspec

from weft.model.net import EndpointId, IPAddress
from weft.model.objects import NamespacedName
from weft.runtime.folder import write_whole


class Record(msgspec.Struct, frozen=True):
    """``<container id>.json``."""

    container: str
    ifname: str
    namespace: str
    name: str
    uid: str
    addresses: tuple[str, ...]
    endpoint: EndpointId
    """Grows with every container of the node: of two with the same pod, the higher one is newer."""

    @property
    def key(self) -> NamespacedName:
        return NamespacedName(self.namespace, self.name)

    @property
    def ips(self) -> tuple[IPAddress, ...]:
        return tuple(map(ip_address, self.addresses))


class Records:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def write(self, record: Record) -> None:
        write_whole(self._path(record.container), msgspec.json.encode(record))

    def remove(self, container: str) -> None:
        self._path(container).unlink(missing_ok=True)

    def read(self) -> Iterator[tuple[str, Record | None]]:
        """Container id → its record; None: the file is not one, so nothing but the id is known. What was never
        finished goes."""
        for unfinished in self._folder.glob("*.tmp"):
            unfinished.unlink()
        for path in sorted(self._folder.glob("*.json")):
            record = None
            try:
                record = msgspec.json.decode(path.read_bytes(), type=Record)
                _ = record.ips
            except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
                record = None
            yield path.stem, record if record and record.container == path.stem else None

    def _path(self, container: str) -> Path:
        return self._folder / f"{container}.json"


def notes_folder(socket: Path) -> Path:
    """Where weft-cni leaves word when nobody answers at ``socket``: an empty file ``<container id>.<interface>``."""
    return socket.parent / "cni-deleted"
