"""The specification's verbs, by the real program against the real datapath."""

from __future__ import annotations

import asyncio

from tests.cni.scene import Runtime, agent, reaches, remains


def test_add_connects_and_del_leaves_nothing(containers: Runtime) -> None:
    async def scene() -> None:
        async with agent(containers):
            one, two = [await containers.add(containers.start(name)) for name in ("c1", "c2")]
            assert (one.status, two.status) == (0, 0), (one.text, two.text)
            assert one.addresses == ["10.55.0.2", "fd55::2"]
            for address in two.addresses:
                assert await asyncio.to_thread(reaches, containers, "c1", "c2", address)
            for name in ("c1", "c2"):
                assert (await containers.delete(name)).text == ""
            assert remains(containers.node) == []

    asyncio.run(scene())
