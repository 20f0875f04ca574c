"""What is refused, with the specification's codes and words that name the cause."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import pytest

from tests.cni.scene import Runtime, agent, remains

ENVIRONMENTS: dict[str, tuple[str, dict[str, str], str]] = {
    "no command": ("", {}, "CNI_COMMAND"),
    "another command": ("UPDATE", {}, "CNI_COMMAND"),
    "no container": ("ADD", {"CNI_CONTAINERID": ""}, "CNI_CONTAINERID"),
    "a path as container": ("ADD", {"CNI_CONTAINERID": "../../etc/passwd"}, "CNI_CONTAINERID"),
    "a long container": ("ADD", {"CNI_CONTAINERID": "c" * 300}, "CNI_CONTAINERID"),
    "DEL of a path": ("DEL", {"CNI_CONTAINERID": "../c1"}, "CNI_CONTAINERID"),
    "no namespace": ("ADD", {"CNI_NETNS": ""}, "CNI_NETNS"),
    "a namespace that is none": ("ADD", {"CNI_NETNS": "/nowhere"}, "CNI_NETNS"),
    "no interface": ("ADD", {"CNI_IFNAME": ""}, "CNI_IFNAME"),
    "a long interface": ("ADD", {"CNI_IFNAME": "sixteen-letters-"}, "CNI_IFNAME"),
    "a slash in an interface": ("DEL", {"CNI_IFNAME": "a/b"}, "CNI_IFNAME"),
    "two dots": ("CHECK", {"CNI_IFNAME": ".."}, "CNI_IFNAME"),
    "no arguments": ("ADD", {"CNI_ARGS": ""}, "K8S_POD_NAMESPACE, K8S_POD_NAME, K8S_POD_UID"),
    "no uid": ("ADD", {"CNI_ARGS": "K8S_POD_NAMESPACE=default;K8S_POD_NAME=c1"}, "K8S_POD_UID"),
    "arguments without a value": ("ADD", {"CNI_ARGS": "K8S_POD_NAME"}, "CNI_ARGS"),
}


@pytest.mark.parametrize("case", ENVIRONMENTS)
def test_invalid_environment_is_code_4_and_names_the_variable(containers: Runtime, case: str) -> None:
    verb, changes, name = ENVIRONMENTS[case]

    async def scene() -> None:
        async with agent(containers):
            answer = await containers.call(verb, containers.start("c1"), **changes)
            assert (answer.status, answer.code) == (1, 4), answer.text
            assert name in answer.json["msg"]
            assert remains(containers.node) == []

    asyncio.run(scene())


CONFIGS: dict[str, tuple[str, dict[str, Any], int, str]] = {
    "too old": ("ADD", {"version": "0.3.1"}, 1, "0.3.1"),
    "too new": ("ADD", {"version": "2.0.0"}, 1, "0.4.0, 1.0.0, 1.1.0"),
    "a number": ("ADD", {"version": "1.10.0"}, 1, "1.10.0"),
    "STATUS before 1.1": ("STATUS", {"version": "1.0.0"}, 1, "STATUS"),
    "GC before 1.1": ("GC", {"version": "0.4.0", "cni.dev/valid-attachments": []}, 1, "GC"),
    "another's addresses": ("ADD", {"ipam": {"type": "host-local"}}, 2, '"ipam": {"type":"host-local"}'),
    "chained": ("ADD", {"prevResult": {"ips": [{"address": "192.0.2.1/24"}]}}, 2, "192.0.2.1/24"),
    "unknown container": ("CHECK", {}, 3, "c1"),
    "no name": ("ADD", {"name": ""}, 7, '"name"'),
    "a name that is none": ("ADD", {"name": ["weft"]}, 7, '"name"'),
    "attachments that are none": ("GC", {"cni.dev/valid-attachments": [3]}, 7, "cni.dev/valid-attachments"),
    "a relative socket": ("ADD", {"socket": "run/weft/cni.sock"}, 7, "run/weft/cni.sock"),
    "an empty socket": ("ADD", {"socket": ""}, 7, "socket"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_configuration_that_is_refused(containers: Runtime, case: str) -> None:
    verb, fields, code, words = CONFIGS[case]

    async def scene() -> None:
        async with agent(containers):
            answer = await containers.call(verb, containers.start("c1") if verb in ("ADD", "CHECK") else "", **fields)
            assert (answer.status, answer.code) == (1, code), answer.text
            assert words in answer.json["msg"]
            assert answer.json["cniVersion"] == fields.get("version", "1.1.0")
            assert remains(containers.node) == []

    asyncio.run(scene())


@pytest.mark.parametrize(
    "text", [b"", b"{", b"null", b"[]", b'"x"', b'{"cniVersion": 1}', b'{"socket": ["/x"]}', b'{"a": }', b"\xff\xfe{}"]
)
def test_what_is_no_configuration_is_code_6(containers: Runtime, text: bytes) -> None:
    async def scene() -> None:
        async with agent(containers):
            answer = await containers.run(containers.environment("ADD", containers.start("c1")), text)
            assert (answer.status, answer.code) == (1, 6), answer.text

    asyncio.run(scene())


def test_json_that_only_the_agent_reads_to_its_end(containers: Runtime) -> None:
    """The program looks for two strings and lets everything else pass; the agent is strict."""
    socket = json.dumps(str(containers.socket)).encode()

    async def scene() -> None:
        async with agent(containers):
            environment = containers.environment("ADD", containers.start("c1"))
            for rest in (b'"a": tru', b'"a": {]}', b'"a": "\xff"', b'"a": ' + b"[" * 5000 + b"]" * 5000):
                answer = await containers.run(
                    environment, b'{"socket": ' + socket + b', "cniVersion": "1.0.0", ' + rest + b"}"
                )
                assert (answer.status, answer.code) == (1, 6), answer.text

    asyncio.run(scene())


def test_a_device_of_another_plugin_is_not_replaced(containers: Runtime) -> None:
    async def scene() -> None:
        async with agent(containers):
            await containers.add(containers.start("c1"))
            other = await containers.call("ADD", containers.start("c2"), CNI_NETNS=str(containers.netns("c1")))
            assert other.code == 100 and "eth0" in other.json["msg"]
            second = await containers.add("c1", CNI_IFNAME="net1")
            assert second.code == 4 and "one interface" in second.json["msg"]
            assert (await containers.call("CHECK", "c1")).text == ""
            await containers.delete("c1", CNI_IFNAME="net1")
            assert (await containers.call("CHECK", "c1")).text == ""
            await containers.delete("c1")
            assert remains(containers.node) == []

    asyncio.run(scene())


def test_the_nodes_own_namespace_is_refused(containers: Runtime) -> None:
    async def scene() -> None:
        async with agent(containers):
            own = f"/proc/{os.getpid()}/ns/net"
            answer = await containers.call("ADD", containers.start("c1"), CNI_NETNS=own)
            assert answer.code == 100 and "node's own" in answer.json["msg"]
            file = await containers.call("ADD", "c1", CNI_NETNS="/etc/passwd")
            assert file.code == 100 and "network namespace" in file.json["msg"]
            assert remains(containers.node) == []

    asyncio.run(scene())
