"""What weft.cni asks of the datapath for one pod. ``weft.agent`` passes weft.datapath.pod's implementation in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from weft.model.net import EndpointId, IPAddress
from weft.model.objects import LocalEndpoint


class PluggedNetwork(Protocol):
    """``name`` is a sandbox's (its container id): the device on the host follows from it.

    ``netns`` is a descriptor of the pod's network namespace, which the container runtime has made.
    """

    @property
    def mtu(self) -> int:
        """Of both ends."""
        ...

    def gateway(self, address: IPAddress) -> IPAddress:
        """By which a pod with this address reaches everything."""
        ...

    async def plug(
        self, name: str, netns: int, ifname: str, addresses: Sequence[IPAddress], endpoint: EndpointId
    ) -> LocalEndpoint:
        """A veth into that namespace, with its program; the host side stays down. What is left of an earlier attempt
        under the same name is replaced; a device ``ifname`` that is not ours is an error."""
        ...

    async def up(self, name: str) -> None:
        """Host side up: the pod's packets may pass. Only after the plan that knows the pod is in force."""
        ...

    async def unplug(self, name: str) -> None:
        """Both ends and the program; nothing there is not an error."""
        ...

    def find_plugged(self, name: str, addresses: Sequence[IPAddress], endpoint: EndpointId) -> LocalEndpoint | None:
        """The pod's network as an earlier agent left it; None if its host side is not there, or never came up."""
        ...

    async def check_plugged(self, name: str, netns: int, ifname: str, addresses: Sequence[IPAddress]) -> None:
        """Errors: one that says what is missing or wrong, inside or on the host."""
        ...

    def device(self, name: str) -> tuple[str, bytes]:
        """Name and MAC of the host side."""
        ...
