"""What the runtime asks of the datapath for one pod. ``weft.agent`` passes weft.datapath.pod's implementation in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from weft.model.net import EndpointId, IPAddress
from weft.model.objects import LocalEndpoint


class PodNetwork(Protocol):
    """Every method is idempotent, and safe to repeat after a death in its middle.

    ``name`` is unique on the node while the pod lives (``<namespace>_<name>``); the device's name follows from it.
    """

    def get_ready(self) -> None:
        """Pods may come from now on, and no other that came is waiting for the machine. May be repeated."""
        ...

    async def create(
        self, name: str, netns: Path, addresses: Sequence[IPAddress], endpoint: EndpointId
    ) -> LocalEndpoint:
        """Makes the namespace (mounted at ``netns``) and the veth with its program; the host side stays down.
        What is left of an earlier attempt under the same name is replaced."""
        ...

    def find(
        self, name: str, netns: Path, addresses: Sequence[IPAddress], endpoint: EndpointId
    ) -> LocalEndpoint | None:
        """The pod's network as an earlier agent left it, or None if it must be made again."""
        ...

    async def up(self, name: str) -> None:
        """Host side up: the pod's packets may pass. Only after the plan that knows the pod is in force."""
        ...

    async def delete(self, name: str, netns: Path) -> None:
        """Removes veth, program and namespace; nothing there is not an error."""
        ...
