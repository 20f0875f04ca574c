"""The specification's verbs in all versions, by the real program against the real datapath."""

from __future__ import annotations

import asyncio
import subprocess
from typing import Any

import pytest

from tests.cni.scene import MTU, Agent, Runtime, agent, reaches, remains
from weft.datapath import netns, rtnetlink
from weft.datapath.netlink import Netlink
from weft.datapath.pod import device_name, pod_mac


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


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0", "1.1.0"])
def test_the_result_is_the_versions_own(containers: Runtime, version: str) -> None:
    """Section 5 of the specification; "version" of an address went with 1.0.0, "mtu" came with 1.1.0."""
    mac = ":".join(f"{byte:02x}" for byte in bytes.fromhex("02770a370002"))
    host: dict[str, Any] = {"name": device_name("c1"), "mac": "02:77:65:66:74:01"}
    pod: dict[str, Any] = {"name": "net1", "mac": mac, "sandbox": str(containers.netns("c1"))}
    v4: dict[str, Any] = {"address": "10.55.0.2/32", "gateway": "169.254.1.1", "interface": 1}
    v6: dict[str, Any] = {"address": "fd55::2/128", "gateway": "fe80::1", "interface": 1}
    if version == "0.4.0":
        v4["version"], v6["version"] = "4", "6"
    if version == "1.1.0":
        host["mtu"] = pod["mtu"] = MTU

    async def scene() -> None:
        async with agent(containers):
            answer = await containers.add(containers.start("c1"), version=version, CNI_IFNAME="net1")
            assert answer.json == {
                "cniVersion": version,
                "interfaces": [host, pod],
                "ips": [v4, v6],
                "routes": [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}, {"dst": "::/0", "gw": "fe80::1"}],
                "dns": {},
            }
            again = await containers.add("c1", version=version, CNI_IFNAME="net1")
            assert again == answer
            checked = await containers.call("CHECK", "c1", version, prevResult=answer.json, CNI_IFNAME="net1")
            assert (checked.status, checked.text) == (0, "")
            with netns.entered(containers.netns("c1")), Netlink() as inside:
                link = rtnetlink.links(inside)["net1"]
            assert (link.mtu, link.mac) == (MTU, pod_mac([containers.node.v4(2), containers.node.v6(2)]))

    asyncio.run(scene())


def test_the_pod_is_quiet_and_its_other_devices_are_left_alone(containers: Runtime) -> None:
    """No duplicate address detection, no router solicitation: only of our device, the namespace is the runtime's."""

    async def scene() -> None:
        async with agent(containers):
            await containers.add(containers.start("c1"))

    asyncio.run(scene())
    with netns.entered(containers.netns("c1")):
        words = subprocess.run("ip neigh; ip -6 neigh; ip -6 addr show tentative", shell=True, capture_output=True,
                               text=True, check=True)  # fmt: skip
        settings = subprocess.run(
            ["sysctl", "-n", *(f"net.ipv6.conf.{one}.accept_dad" for one in ("eth0", "default"))],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert words.stdout.count("02:77:65:66:74:01 PERMANENT") >= 2
    assert "inet6" not in words.stdout
    assert settings.stdout.split() == ["0", "1"]


def test_a_namespace_without_ipv6_gets_it_on_our_device(containers: Runtime) -> None:
    """Some runtimes switch it off for every new device of a pod."""

    async def scene() -> None:
        async with agent(containers):
            for name in ("c1", "c2"):
                with netns.entered(containers.netns(containers.start(name))):
                    off = [f"net.ipv6.conf.{one}.disable_ipv6=1" for one in ("all", "default")]
                    subprocess.run(["sysctl", "-qw", *off], check=True)
            one, two = [await containers.add(name) for name in ("c1", "c2")]
            assert (one.status, two.status) == (0, 0), one.text
            assert await asyncio.to_thread(reaches, containers, "c1", "c2", "fd55::3")

    asyncio.run(scene())


def test_status_version_and_gc(containers: Runtime) -> None:
    async def scene() -> None:
        async with agent(containers) as here:
            assert (await containers.call("STATUS")).text == ""
            version = await containers.call("VERSION", version="1.0.0")
            assert version.json == {"cniVersion": "1.0.0", "supportedVersions": ["0.4.0", "1.0.0", "1.1.0"]}
            for name in ("c1", "c2", "c3"):
                assert (await containers.add(containers.start(name))).status == 0
            valid = [{"containerID": "c2", "ifname": "eth0"}, {"containerID": "c3", "ifname": "eth1"}]
            assert (await containers.call("GC", **{"cni.dev/valid-attachments": valid})).text == ""
            assert [key.name for key in here.pods.local] == ["c2"]
            assert (await containers.call("CHECK", "c2")).text == ""
            assert (await containers.call("CHECK", "c1")).code == 3
            nothing = await containers.call("GC")
            assert nothing.code == 7 and "cni.dev/valid-attachments" in nothing.json["msg"]
            assert [key.name for key in here.pods.local] == ["c2"]
            assert (await containers.call("GC", **{"cni.dev/valid-attachments": []})).text == ""
            assert remains(containers.node) == []

    asyncio.run(scene())


BREAKS = {
    "address": "ip address del 10.55.0.2/32 dev eth0",
    "IPv6 address": "ip address del fd55::2/128 dev eth0",
    "route": "ip route del default",
    "IPv6 route": "ip -6 route del default",
    "down": "ip link set eth0 down",
    "renamed": "ip link set eth0 down; ip link set eth0 name other; ip link set other up",
    "mac": "ip link set eth0 address 02:77:00:00:00:99",
}


@pytest.mark.parametrize("broken", [*BREAKS, "host side down", "device gone", "program gone"])
def test_check_sees_what_is_broken_and_add_mends_it(containers: Runtime, broken: str) -> None:
    async def scene() -> None:
        async with agent(containers):
            made = await containers.add(containers.start("c1"))
            assert (await containers.call("CHECK", "c1", prevResult=made.json)).text == ""
            if broken in BREAKS:
                with netns.entered(containers.netns("c1")):
                    subprocess.run(BREAKS[broken], shell=True, check=True)
            elif broken == "program gone":
                if containers.node.datapath.tcx:
                    (containers.node.paths.pin_dir / "links" / device_name("c1")).unlink()
                else:
                    subprocess.run(["tc", "filter", "del", "dev", device_name("c1"), "ingress"], check=True)
            else:
                how = ("set", device_name("c1"), "down") if broken == "host side down" else ("del", device_name("c1"))
                subprocess.run(["ip", "link", *how], check=True)
            refused = await containers.call("CHECK", "c1", prevResult=made.json)
            assert refused.code == 101, refused
            assert "default/c1" in refused.json["msg"]
            again = await containers.add("c1")
            assert (await containers.call("CHECK", "c1", prevResult=again.json)).text == ""
            made = 5 if containers.node.datapath.tcx else 4  # device, its link, record, an entry for each address
            assert len(remains(containers.node)) == made

    asyncio.run(scene())


def test_check_compares_with_what_add_answered(containers: Runtime) -> None:
    async def scene() -> None:
        async with agent(containers):
            made = (await containers.add(containers.start("c1"))).json
            made["ips"][0]["address"] = "10.55.0.77/32"
            refused = await containers.call("CHECK", "c1", prevResult=made)
            assert refused.code == 101 and "10.55.0.77" in refused.json["msg"]
            assert (await containers.call("CHECK", "c1", prevResult={"ips": 3})).code == 101

    asyncio.run(scene())


def test_nothing_passes_before_the_plan_is_in_force(containers: Runtime) -> None:
    seen: list[bool] = []

    class Watching(Agent):
        async def commit(self, key: Any) -> None:
            with Netlink() as host:
                seen.append(rtnetlink.links(host)[device_name("c1")].up)
            await super().commit(key)

    async def scene() -> None:
        async with agent(containers, kind=Watching):
            assert (await containers.add(containers.start("c1"))).status == 0
            with Netlink() as host:
                seen.append(rtnetlink.links(host)[device_name("c1")].up)

    asyncio.run(scene())
    assert seen == [False, True]
