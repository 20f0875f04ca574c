"""No agent, an agent that comes back, and one that goes away in the middle of an answer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from pathlib import Path

import pytest

from tests.cni.scene import Agent, Runtime, agent, remains
from tests.runtime.node import until
from weft.datapath import rtnetlink
from weft.datapath.pod import device_name
from weft.model.objects import NamespacedName

AWAY = {"ADD": 11, "CHECK": 11, "STATUS": 50, "GC": 11}


@pytest.mark.parametrize("socket_file", ["none", "nobody listens", "another file"])
def test_without_an_agent(containers: Runtime, socket_file: str) -> None:
    """Whoever waits is told to try again; what goes, goes."""
    containers.socket.parent.mkdir(parents=True, exist_ok=True)
    if socket_file == "nobody listens":
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(containers.socket))
    elif socket_file == "another file":
        containers.socket.write_text("")

    async def scene() -> None:
        container = containers.start("c1")
        for verb, code in AWAY.items():
            answer = await containers.call(verb, container if verb in ("ADD", "CHECK") else "")
            assert (answer.status, answer.code) == (1, code), answer.text
            assert str(containers.socket) in answer.json["msg"]
            assert answer.json["cniVersion"] == "1.1.0"
        assert (await containers.call("VERSION")).status == 0
        gone = await containers.delete(container)
        assert (gone.status, gone.text) == (0, "")

    asyncio.run(scene())
    note = containers.socket.parent / "cni-deleted" / "c1.eth0"
    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    assert stat.S_IMODE(note.parent.stat().st_mode) == 0o700


def test_what_was_deleted_meanwhile_goes_when_the_agent_is_back(containers: Runtime) -> None:
    async def scene() -> None:
        async with agent(containers):
            for name in ("c1", "c2", "c3"):
                await containers.add(containers.start(name))
        assert (await containers.delete("c1")).text == ""
        assert (await containers.delete("c2", CNI_IFNAME="net1")).text == ""  # of which nobody knows
        containers.stop("c3")  # its namespace alone is gone, and the device with it
        await until(lambda: not rtnetlink.index_of(device_name("c3")), "the kernel has ended the namespace", 60)
        async with agent(containers) as here:
            assert "c3" not in {key.name for key in here.pods.local}
            await until(lambda: [key.name for key in here.pods.local] == ["c2"], "c1 is gone", 60)
            await until(
                lambda: not list((containers.socket.parent / "cni-deleted").iterdir()), "the notes are gone", 60
            )
            assert NamespacedName("default", "c1") in here.committed
            assert (await containers.call("CHECK", "c2")).text == ""
            await containers.delete("c2")
            assert remains(containers.node) == []

    asyncio.run(scene())


def test_pods_and_addresses_outlive_the_agent(containers: Runtime) -> None:
    async def scene() -> None:
        async with agent(containers) as first:
            made = await containers.add(containers.start("c1"))
            before = dict(first.pods.local)
        async with agent(containers) as second:
            assert second.pods.local == before
            other = await containers.add(containers.start("c2"))
            assert not set(other.addresses) & set(made.addresses)
            assert (
                second.pods.local[NamespacedName("default", "c2")].endpoint.id
                > before[NamespacedName("default", "c1")].endpoint.id
            )
            assert (await containers.add("c1")).text == made.text
            assert (await containers.call("CHECK", "c1", prevResult=made.json)).text == ""

    asyncio.run(scene())


@pytest.mark.parametrize("answer", [b"", b"0", b'1{"code": 3', b"\0", b"0" + b"x" * 70000])
def test_an_answer_that_is_not_finished_is_none(containers: Runtime, answer: bytes) -> None:
    """An agent that dies while it answers has not answered."""

    async def scene() -> None:
        containers.socket.parent.mkdir(parents=True, exist_ok=True)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(20)
            writer.write(answer)
            writer.close()

        async with await asyncio.start_unix_server(serve, containers.socket):
            assert (await containers.add(containers.start("c1"))).code == 11
            gone = await containers.delete("c1")
            assert (gone.status, gone.text) == (0, "")
        assert (containers.socket.parent / "cni-deleted" / "c1.eth0").exists()

    asyncio.run(scene())


def test_a_delete_that_finds_the_agent_back_leaves_no_note(containers: Runtime) -> None:
    """The agent looked for notes before this one was there: so it is asked once more, after the note."""

    async def scene() -> None:
        async with agent(containers):
            await containers.add(containers.start("c1"))
            containers.socket.rename(containers.socket.with_name("hidden"))

            async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                server.close()
                containers.socket.unlink()
                containers.socket.with_name("hidden").rename(containers.socket)
                writer.close()

            server = await asyncio.start_unix_server(hang_up, containers.socket)
            assert (await containers.delete("c1")).text == ""
            assert remains(containers.node) == []

    asyncio.run(scene())


def test_nobody_else_may_ask(containers: Runtime) -> None:
    async def scene() -> None:
        async with agent(containers):
            assert stat.S_IMODE(containers.socket.stat().st_mode) == 0o600
            assert stat.S_IMODE((containers.node.paths.run_dir / "cni").stat().st_mode) == 0o700

    asyncio.run(scene())


NONSENSE = [b"", b"GET / HTTP/1.1\r\n\r\n", b"weftcni1" + b"\xff" * 8, b"weftcni1\x08\0\0\0\0\0\0\0CNI"]


@pytest.mark.parametrize("words", NONSENSE)
def test_the_agent_survives_nonsense(containers: Runtime, words: bytes) -> None:
    async def scene() -> None:
        async with agent(containers):
            reader, writer = await asyncio.open_unix_connection(containers.socket)
            writer.write(words)
            writer.write_eof()
            with contextlib.suppress(ConnectionResetError):  # what it did not read
                assert await reader.read() == b""
            writer.close()
            before = len(list(Path("/proc/self/fd").iterdir()))
            assert (await containers.add(containers.start("c1"))).status == 0
            await until(lambda: len(list(Path("/proc/self/fd").iterdir())) <= before, "descriptors are closed", 60)

    asyncio.run(scene())


def test_an_add_whose_caller_has_gone_is_undone(containers: Runtime) -> None:
    waiting, goes_on = asyncio.Event(), asyncio.Event()

    class Slow(Agent):
        async def known(self, key: NamespacedName, uid: str) -> bool:
            waiting.set()
            await goes_on.wait()
            return True

    async def scene() -> None:
        async with agent(containers, kind=Slow) as here:
            call = asyncio.create_task(containers.add(containers.start("c1")))
            await asyncio.wait_for(waiting.wait(), 30)
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            for child in children:
                if "weft-cni" in Path(f"/proc/{child}/cmdline").read_text():
                    os.kill(int(child), 9)
            with pytest.raises(AssertionError):
                await call
            assert (await containers.delete("c1")).text == ""
            assert remains(containers.node) == [] and here.pods.local == {}
            goes_on.set()
            assert (await containers.add("c1")).addresses == ["10.55.0.2", "fd55::2"]

    asyncio.run(scene())
