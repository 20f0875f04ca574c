"""Which pod has which network: new sandboxes of the same pod, failures, exhaustion, many at once, and nothing left."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network

from tests.cni.scene import UID, Agent, Runtime, agent, reaches, remains
from weft.datapath.pod import device_name
from weft.model.objects import NamespacedName

WEB = NamespacedName("default", "web-0")


def test_the_newest_sandbox_counts(containers: Runtime) -> None:
    """kubelets make a pod's sandbox anew, and a StatefulSet its pod under the same name, before the old one is gone."""

    async def scene() -> None:
        async with agent(containers) as here:
            await containers.add(containers.start("old", "web-0"))
            same = await containers.add(containers.start("new", "web-0"))
            assert [str(a) for a in here.pods.local[WEB].addresses] == same.addresses
            newest = await containers.add(containers.start("newest", "web-0"), uid="another")
            await containers.add(containers.start("client"))
            assert (await containers.delete("old")).text == ""
            assert (await containers.delete("new")).text == ""
            assert here.pods.local[WEB].uid == "another"
            assert [str(a) for a in here.pods.local[WEB].addresses] == newest.addresses
            assert await asyncio.to_thread(reaches, containers, "client", "newest", newest.addresses[0])
            await containers.delete("newest")
            await containers.delete("client")
            assert remains(containers.node) == []

    asyncio.run(scene())


def test_the_newest_sandbox_counts_after_a_restart(containers: Runtime) -> None:
    async def scene() -> None:
        async with agent(containers):
            await containers.add(containers.start("z-old", "web-0"))
            newest = await containers.add(containers.start("a-new", "web-0"), uid="another")
        async with agent(containers) as here:
            assert [str(a) for a in here.pods.local[WEB].addresses] == newest.addresses
            assert here.pods.local[WEB].uid == "another"
            await containers.delete("a-new")
            assert here.pods.local[WEB].uid == UID
            await containers.delete("z-old")
            assert remains(containers.node) == []

    asyncio.run(scene())


def test_a_plan_that_is_not_in_force_undoes_the_add(containers: Runtime) -> None:
    async def scene() -> None:
        async with agent(containers) as here:
            first = await containers.add(containers.start("old", "web-0"))
            here.refused.add("web-0")
            failed = await containers.add(containers.start("new", "web-0"), uid="another")
            assert failed.code == 100
            assert "default/web-0" in failed.json["msg"] and "the map is full" in failed.json["msg"]
            assert [str(a) for a in here.pods.local[WEB].addresses] == first.addresses
            here.refused.clear()
            await here.commit(WEB)
            await containers.delete("old")
            assert remains(containers.node) == []

    asyncio.run(scene())


def test_a_pod_of_which_nobody_has_heard_is_tried_again(containers: Runtime) -> None:
    async def scene() -> None:
        async with agent(containers) as here:
            here.unknown.add("c1")
            refused = await containers.add(containers.start("c1"))
            assert refused.code == 11 and "default/c1" in refused.json["msg"]
            assert remains(containers.node) == []
            here.unknown.clear()
            assert (await containers.add("c1")).status == 0

    asyncio.run(scene())


def test_exhausted_ranges_are_named(containers: Runtime) -> None:
    """10.55.0.8/29 has six addresses; the n-th of both ranges belong together, and fd55::1 is the node's own."""

    async def scene() -> None:
        async with agent(containers, (ip_network("10.55.0.8/29"), ip_network("fd55::/64"))):
            for number in range(5):
                assert (await containers.add(containers.start(f"c{number}"))).status == 0
            full = await containers.add(containers.start("late"))
            assert full.code == 11
            for words in ("default/late", "podCIDRs", "10.55.0.8/29", "fd55::/64", "all 5 addresses"):
                assert words in full.json["msg"]
            assert (await containers.call("STATUS")).text == ""  # a full node is a working node
            await containers.delete("c3")
            late = await containers.add("late")
            assert late.addresses == ["10.55.0.13", "fd55::5"]

    asyncio.run(scene())


def test_thirty_at_once_with_one_that_fails(containers: Runtime) -> None:
    class OneNever(Agent):
        async def known(self, key: NamespacedName, uid: str) -> bool:
            if key.name == "never":
                await asyncio.Event().wait()
            return True

    async def scene() -> None:
        async with agent(containers, kind=OneNever) as here:
            here.refused.add("refused")
            names = [f"c{number}" for number in range(28)]
            never = asyncio.create_task(containers.add(containers.start("never")))
            answers = await asyncio.gather(*(containers.add(containers.start(one)) for one in [*names, "refused"]))
            assert [answer.code for answer in answers] == [0] * 28 + [100]
            assert len({answer.addresses[0] for answer in answers[:28]}) == 28
            assert await asyncio.to_thread(reaches, containers, "c0", "c27", answers[27].addresses[1])
            await asyncio.gather(*(containers.delete(one) for one in names))
            assert not never.done()
            assert remains(containers.node) == []
        assert (await never).code == 11

    asyncio.run(scene())


def test_a_hundred_rounds_leave_nothing(containers: Runtime) -> None:
    async def scene() -> None:
        async with agent(containers, (ip_network("10.55.0.0/28"), ip_network("fd55::/64"))) as here:
            for name in ("c1", "c2", "c3", "c4"):
                containers.start(name)

            async def rounds(name: str) -> None:
                for _ in range(25):
                    assert (await containers.add(name)).status == 0
                    assert (await containers.delete(name)).status == 0

            await asyncio.gather(*(rounds(name) for name in containers.pods))
            assert remains(containers.node) == []
            assert here.pods.local == {}
            pool = [here.pool.allocate(number) for number in range(13)]  # all but the router's
            assert len(set(pool)) == 13

    asyncio.run(scene())


def test_records_that_cannot_be_read_are_cleared_away(containers: Runtime) -> None:
    async def scene() -> None:
        async with agent(containers):
            await containers.add(containers.start("c1"))
            await containers.add(containers.start("c2"))
        (containers.node.paths.run_dir / "cni" / "c1.json").write_bytes(b'{"container": "c1", "addre')
        (containers.node.paths.run_dir / "cni" / "c2.json.tmp").write_bytes(b"{")
        async with agent(containers) as here:
            assert [key.name for key in here.pods.local] == ["c2"]
            assert not any(device_name("c1") in one for one in remains(containers.node))
            await containers.delete("c1")
            await containers.delete("c2")
        assert remains(containers.node) == []

    asyncio.run(scene())
