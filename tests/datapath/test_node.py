"""The node's own networking: made, repaired, and gone without a trace."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

from tests.datapath.conftest import CONFIG, Node
from weft.datapath import netns, node, rtnetlink, sysctl
from weft.datapath.kernel import Datapath
from weft.datapath.netlink import Netlink
from weft.datapath.node import NodePaths
from weft.datapath.ways import close_proxy_way, open_proxy_way

SETTINGS = ("ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv6/conf/default/accept_ra", "ipv4/conf/all/rp_filter")


def picture() -> dict[str, object]:
    """All that a node changes in its network namespace."""
    with Netlink() as netlink:
        links = {name: (link.up, link.mtu, link.mac) for name, link in rtnetlink.links(netlink).items()}
        by_index = {link.ifindex: name for name, link in rtnetlink.links(netlink).items()}
        addresses = sorted((by_index[i], str(address), bits) for i, address, bits in rtnetlink.addresses(netlink))
        routes = sorted(str(r._replace(ifindex=0)) for version in (4, 6) for r in rtnetlink.routes(netlink, version))
    rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    return {
        "links": links, "addresses": addresses, "routes": routes, "rules": rules,
        "settings": {name: sysctl.read(name) for name in SETTINGS},
    }  # fmt: skip


def ip(*commands: str) -> None:
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)


def up(paths: NodePaths, datapath: Datapath) -> None:
    node.set_up(paths, CONFIG, 1400)
    datapath.enforce()
    node.bring_up(CONFIG)


def test_everything_goes_again(paths: NodePaths) -> None:
    before = picture()
    sysctl.write("ipv4/conf/all/rp_filter", 0)
    with Datapath.open(paths) as datapath:
        up(paths, datapath)
        during = picture()
        assert during != before
        assert during["settings"] == {
            "ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1",
            "ipv6/conf/default/accept_ra": "2", "ipv4/conf/all/rp_filter": "0",
        }  # fmt: skip
    node.tear_down(paths)
    assert picture() == before
    assert not paths.pin_dir.exists()
    assert not paths.cgroup.parent.exists()
    node.tear_down(paths)


def test_the_way_to_envoy_goes_too(running: Node) -> None:
    before = picture()
    for _ in range(2):
        running.datapath.watch_proxy(running.paths.cgroup)
        open_proxy_way(running.datapath, 1500)
    assert "weft_proxy" in str(picture()) and running.paths.proxy_netns.exists()
    for _ in range(2):
        close_proxy_way(running.datapath)
    assert picture() == before and not running.paths.proxy_netns.exists()
    open_proxy_way(running.datapath, 1500)
    node.tear_down(running.paths)
    assert "weft" not in str(picture()) and not running.paths.proxy_netns.exists()


def test_repeating_and_repairing_come_to_the_same(running: Node) -> None:
    whole = picture()
    up(running.paths, running.datapath)
    node.set_up(running.paths, CONFIG, 1500)
    assert picture() == whole
    for damage in (
        "ip link set weft_host down",
        "ip link delete weft_host",
        "nft delete table inet weft",
        "ip route flush proto 119",
        "ip addr add 10.99.0.1/24 dev weft_host",
    ):
        subprocess.run(damage.split(), check=True)
        node.set_up(running.paths, CONFIG, 1500)
        running.datapath.enforce()
        node.bring_up(CONFIG)
        assert picture() == whole, damage
    running.pod(11)
    with running.listen(11):
        assert running.reaches(None, 11)


def test_routes_of_an_earlier_configuration_go(running: Node) -> None:
    changed = replace(CONFIG, service_cidrs=(ip_network("10.57.0.0/16"),))
    node.bring_up(changed)
    with Netlink() as netlink:
        unreachable = [r.destination for r in rtnetlink.routes(netlink, 4) if r.kind == rtnetlink.UNREACHABLE]
    assert unreachable == [ip_network("10.57.0.0/16")]


def test_the_host_is_every_address_that_the_node_answers_to(running: Node) -> None:
    ip("link add outer type veth peer name outer2", "addr add 192.0.2.7/24 brd + dev outer", "link set outer up")
    found = node.host_addresses()
    for text in ("192.0.2.7", "192.0.2.255", "169.254.1.1", "10.55.0.1", "fd55::1"):
        assert ip_address(text) in found
    assert not any(address.is_loopback for address in found)


def test_the_uplink_is_the_device_of_the_default_route(running: Node) -> None:
    assert node.uplink_mtu() == node.DEFAULT_MTU
    ip("link add outer mtu 1420 type veth peer name outer2", "addr add 192.0.2.7/24 dev outer", "link set outer up")
    ip("route add default via 192.0.2.1")
    assert node.uplink_mtu() == 1420


def test_the_pods_namespaces_go_with_one_mount(running: Node) -> None:
    """A container that wants none of them lets go of one mount, however many pods there are."""
    folder = running.paths.run_dir / "netns"
    running.pod(11)
    running.pod(12)
    mounts = [line.split()[:5] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    ours = [number for number, _, _, _, path in mounts if path == str(folder)]
    parents = {parent for _, parent, _, _, path in mounts if Path(path).parent == folder}
    assert len(ours) == 1 and parents == set(ours)


def test_a_folder_with_namespaces_of_an_earlier_version_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "netns").mkdir()
    (tmp_path / "netns" / "default_p11").touch()
    netns.gather(tmp_path / "netns")
    assert (tmp_path / "netns" / "default_p11").exists()


def test_paths_of_a_plain_machine() -> None:
    paths = NodePaths.default("n1")
    assert (paths.run_dir, paths.state_dir) == (Path("/run/weft/n1"), Path("/var/lib/weft/n1"))
    assert paths.pin_dir.parts[-2:] == ("weft", "n1")
    assert paths.cgroup.parts[-3:] == ("weft", "n1", "pods")
