"""A pod's run directory: ``pods/<namespace>_<name>/`` with pod.json, etc/ and one folder per container.

pod.json is written first and goes last, so whatever else exists of a pod can be found by it. What the agent writes here
it writes once, before a supervisor is there to read it: a death in the middle leaves a pod that is made again.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from hashlib import blake2s
from pathlib import Path

import msgspec

from weft.model.objects import NamespacedName

_NAME_MAX = 200


class Record(msgspec.Struct, frozen=True):
    """pod.json."""

    namespace: str
    name: str
    uid: str
    addresses: tuple[str, ...]
    endpoint: int
    containers: tuple[str, ...]
    restart_policy: str

    @property
    def key(self) -> NamespacedName:
        return NamespacedName(self.namespace, self.name)


def sandbox_name(key: NamespacedName) -> str:
    """``<namespace>_<name>``, unique on the node; a long one ends in a hash, for file names end at 255 bytes."""
    name = f"{key.namespace}_{key.name}"
    if len(name) <= _NAME_MAX:
        return name
    return f"{name[:_NAME_MAX]}~{blake2s(name.encode(), digest_size=8).hexdigest()}"


def write_whole(path: Path, content: bytes) -> None:
    """Replaces a file in one step, so that no reader and no death ever leaves half of it."""
    fresh = path.with_name(path.name + ".tmp")
    fresh.write_bytes(content)
    fresh.rename(path)


@dataclass(frozen=True, slots=True)
class PodFolder:
    path: Path

    @property
    def etc(self) -> Path:
        return self.path / "etc"

    def container(self, name: str) -> Path:
        return self.path / "containers" / name

    def create(self, record: Record) -> None:
        self.path.mkdir(mode=0o700, parents=True)
        (self.path / "pod.json").write_bytes(msgspec.json.encode(record))
        self.etc.mkdir(mode=0o755)
        for name in record.containers:
            self.container(name).mkdir(mode=0o700, parents=True)

    def record(self) -> Record | None:
        """None: the pod is half made or half removed."""
        try:
            return msgspec.json.decode((self.path / "pod.json").read_bytes(), type=Record)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def remove(self) -> None:
        """pod.json goes last."""
        for child in self.path.iterdir() if self.path.exists() else ():
            if child.is_dir():
                shutil.rmtree(child)
            elif child.name != "pod.json":
                child.unlink()
        shutil.rmtree(self.path, ignore_errors=True)


def folders(pods: Path) -> list[PodFolder]:
    return [PodFolder(Path(entry.path)) for entry in os.scandir(pods)] if pods.exists() else []
