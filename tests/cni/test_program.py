"""weft-cni's own reading of the configuration: never past the text, and never another socket than JSON says."""

from __future__ import annotations

import asyncio
import json
import random
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cni.scene import PROGRAM, Runtime, agent
from tests.lab.waiting import volume
from weft.datapath import netns, rtnetlink
from weft.datapath.netlink import Netlink

SOURCES = (Path(__file__).with_name("c") / "read_config.c", Path(__file__).parents[2] / "cni" / "config.c")
SANITIZERS = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


class Reader:
    """The program's own reading, in a process that the sanitizers end at the first mistake."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def read(self, text: bytes) -> tuple[str, str] | None:
        """(version, socket); None: refused."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(struct.pack("=I", len(text)) + text)
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"it ended at {text!r}"
        if line[:1] == b"\1":
            return None
        version, socket = line[:-1].decode(errors="surrogateescape").split("\0")
        return version, socket

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        status = self._process.wait(60)
        self._process.stdout.close()
        assert status == 0


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    program = tmp_path_factory.mktemp("reader") / "read-config"
    subprocess.run(["gcc", *SANITIZERS, "-o", program, *SOURCES], check=True)
    made = Reader(program)
    yield made
    made.close()


OURS = ("cniVersion", "socket")
others = st.text().filter(lambda name: name not in OURS)
paths = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=107)
values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(
    st.lists(
        st.tuples(st.sampled_from(OURS), paths) | st.tuples(others, values),
        unique_by=lambda pair: pair[0],
    ),
    st.sampled_from([None, 1]),
    st.booleans(),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_it_finds_what_json_says(
    reader: Reader, pairs: list[tuple[str, object]], indent: int | None, ascii_only: bool
) -> None:
    fields = dict(pairs)
    found = reader.read(json.dumps(fields, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "replace"))
    wanted = tuple(fields.get(name, "") for name in OURS)
    if len(str(wanted[0])) < 16:
        assert found == wanted
    else:
        assert found is None


def test_no_text_makes_it_read_further(reader: Reader) -> None:
    """Thirty thousand texts, each cut, bent and mixed from good ones; the sanitizers end the program at the first."""
    chance = random.Random(5)
    good = [
        b'{"cniVersion": "1.1.0", "name": "weft", "type": "weft-cni", "socket": "/run/weft/cni.sock"}',
        b'{"a":[{"b":"\\"]}"},[],{}],"socket":"\\/run\\/x","prevResult":{"ips":[{"interface":0}]}}',
        b' {\n "socket" : "' + b"x" * 107 + b'" , "cniVersion" : "' + b"1" * 15 + b'" }',
    ]
    pieces = [
        b'"',
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b'"socket"',
        b'"socket":"',
        b"\\u0000",
        b"\0",
        b"\xff",
        b"1e9",
        b" ",
    ]
    answers = []
    for _ in range(volume(30_000)):
        text = bytearray(chance.choice(good))
        for _ in range(chance.randrange(6)):
            at = chance.randrange(len(text) + 1)
            text[at : at + chance.randrange(4)] = chance.choice(pieces) * chance.choice((1, 1, 1, 40))
        cut = chance.randrange(len(text) + 1) if chance.random() < 0.5 else len(text)
        answers.append(reader.read(bytes(text[:cut])))
        assert answers[-1] is None or (len(answers[-1][0]) < 16 and len(answers[-1][1]) < 108), text
    assert any(answers) and None in answers


LARGE = {
    "nothing but brackets": b"[" * (1 << 20),
    "larger than a mebibyte": b'{"a": "' + b"x" * (1 << 20) + b'"}',
    "deep": b'{"a": ' + b"[" * 400_000 + b"]" * 400_000 + b', "cniVersion": "1.1.0", "socket": "%s"}',
    "no end": b'{"socket": "/run/' + b"x" * 500_000,
    "a long socket": b'{"socket": "/' + b"x" * 107 + b'"}',
    "escapes in a socket": b'{"socket": "/run/\\u0077eft"}',
    "a zero byte in a socket": b'{"socket": "/run\0/weft"}',
}


@pytest.mark.parametrize("case", LARGE)
def test_the_program_answers_whatever_it_reads(containers: Runtime, case: str) -> None:
    text = LARGE[case].replace(b"%s", str(containers.socket).encode())

    async def scene() -> None:
        async with agent(containers):
            for verb in ("ADD", "DEL", "STATUS"):
                answer = await containers.run(containers.environment(verb, containers.start(f"{verb}1")), text)
                assert answer.status == 1 and answer.code in (5, 6), answer.text
            version = await containers.run({"CNI_COMMAND": "VERSION"}, text)
            assert version.status == 0 or version.code == 5

    asyncio.run(scene())


def test_hostile_variables(containers: Runtime) -> None:
    async def scene() -> None:
        async with agent(containers):
            environment = containers.environment("ADD", containers.start("c1"))
            for changes, code in (
                ({"CNI_ARGS": ";".join(f"K{number}=" + "v" * 1000 for number in range(100)) + ";x"}, 4),
                ({"CNI_EXTRA": "v" * 120_000, "CNI_MORE": "v" * 120_000, "CNI_MUCH": "v" * 120_000}, 11),
                ({"CNI_CONTAINERID": 'c"1\\'}, 4),
                ({"CNI_COMMAND": 'A"DD\x01\u00e9'}, 4),
            ):
                answer = await containers.run(environment | changes, containers.config())
                assert answer.code == code, answer.text

    asyncio.run(scene())


@pytest.mark.parametrize("version", ["0.3.1", "1.0.0"])
def test_called_as_loopback_it_brings_lo_up(containers: Runtime, tmp_path: Path, version: str) -> None:
    """containerd's own configuration of its loopback is of 0.3.1; no agent is needed."""
    program = tmp_path / "loopback"
    program.symlink_to(PROGRAM)
    containers.program = program

    async def scene() -> None:
        container = containers.start("c1")
        made = await containers.add(container, version=version, CNI_IFNAME="lo")
        assert made.json["interfaces"][0]["sandbox"] == str(containers.netns("c1"))
        assert [one.get("version") for one in made.json["ips"]] == (["4", "6"] if version < "1" else [None, None])
        assert made.addresses == ["127.0.0.1", "::1"]
        with netns.entered(containers.netns("c1")), Netlink() as inside:
            assert rtnetlink.links(inside)["lo"].up
        assert (await containers.delete(container, version=version)).text == ""
        assert (await containers.add(container, CNI_NETNS="/etc/passwd")).code == 5

    asyncio.run(scene())


def test_the_program_depends_on_nothing() -> None:
    """Static: it runs on whatever a node's own file system has."""
    found = subprocess.run(["ldd", PROGRAM], capture_output=True, text=True, check=False)
    assert "not a dynamic executable" in found.stderr
