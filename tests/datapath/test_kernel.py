"""Opening, applying, reading back, replacing; what is in force stays in force."""

from __future__ import annotations

import os
from dataclasses import replace
from ipaddress import ip_address

import pytest

from tests.datapath.conftest import OPTIONS, SIZES, Node, address, table
from weft.datapath import bpf
from weft.datapath.errors import CapacityError
from weft.datapath.kernel import Datapath, Options
from weft.datapath.query import Question, ask
from weft.model.desired import (
    Backend,
    BackendKey,
    BumpRevision,
    Desired,
    EndpointEntry,
    IpcacheEntry,
    MemberKey,
    PolicyEntry,
    PolicyKey,
    ServiceEntry,
    ServiceKey,
    Write,
)
from weft.model.net import ClassId, EndpointId, IdentityId, Prefix, RuleId, TableId, to_wide
from weft.model.verdicts import Verdict

WIDE = to_wide(ip_address("10.55.0.9"))
ENTRY = EndpointEntry(EndpointId(7), 3, IdentityId(70_000), ClassId(9), TableId(1), TableId(2), b"\2wabcd")


def test_a_large_write_is_carried_out_in_parts(running: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.datapath.kernel._ENCODED_AT_ONCE", 3)
    entries = {
        Prefix(to_wide(ip_address(f"10.1.0.{n}")), 128): IpcacheEntry(IdentityId(9), ClassId(n)) for n in range(10)
    }
    running.apply(Write("ipcache", entries))
    assert entries.items() <= running.datapath.read().ipcache.items()


def test_what_is_applied_is_read_back(running: Node) -> None:
    key = PolicyKey(TableId(1), ClassId(9), 6, 8080, 88)
    backends = (Backend(WIDE, 80), Backend(to_wide(ip_address("fd55::9")), 81))
    before = running.kernel
    running.apply(
        Write("endpoints", {WIDE: ENTRY}),
        Write("ipcache", {Prefix(bytes(16), 0): IpcacheEntry(IdentityId(2), ClassId(3))}),
        Write("policy", {key: PolicyEntry(1, RuleId(5)), key._replace(port=0, bits=32): PolicyEntry(0, RuleId(0), 1)}),
        Write("services", {ServiceKey(WIDE, 53, 17): ServiceEntry(4, 2, 60, 11)}),
        Write("backends", {BackendKey(4, slot): backend for slot, backend in enumerate(backends)}),
        Write("backend_members", {MemberKey(4, backend.address, backend.port): True for backend in backends}),
        BumpRevision("test"),
    )
    assert running.datapath.read() == Desired(
        endpoints={WIDE: ENTRY},
        ipcache={**before.ipcache, Prefix(bytes(16), 0): IpcacheEntry(IdentityId(2), ClassId(3))},
        tables={
            TableId(1): {key: PolicyEntry(1, RuleId(5)), key._replace(port=0, bits=32): PolicyEntry(0, RuleId(0), 1)}
        },
        services={ServiceKey(WIDE, 53, 17): ServiceEntry(4, 2, 60, 11)},
        backends={4: backends},
        member_lists=frozenset({4}),
    )
    assert running.datapath.revision == 1
    running.apply(Write("policy", {}, (key,)), Write("endpoints", {}, (WIDE,)))
    assert list(running.kernel.tables[TableId(1)]) == [key._replace(port=0, bits=32)]
    assert not running.kernel.endpoints


def test_half_written_lists_that_nothing_uses_are_removed(running: Node) -> None:
    running.apply(
        Write("backends", {BackendKey(4, 1): Backend(WIDE, 80), BackendKey(5, 0): Backend(WIDE, 80)}),
        Write("backend_members", {MemberKey(6, WIDE, 80): True}),
    )
    assert running.datapath.read() == replace(running.kernel, backends={5: (Backend(WIDE, 80),)})
    assert running.datapath.maps["backends"].count() == 1
    assert running.datapath.maps["backend_members"].count() == 0


def test_a_pod_may_have_flows_while_it_has_an_address(running: Node) -> None:
    counts = running.datapath.maps["flow_count"]
    other = to_wide(ip_address("fd55::9"))
    running.apply(Write("endpoints", {WIDE: ENTRY, other: ENTRY}))
    assert counts.lookup(b"\7\0\0\0") == bytes(4) + (SIZES["flows"] // 4).to_bytes(4, "little")
    running.apply(Write("endpoints", {}, (WIDE,)))
    assert counts.lookup(b"\7\0\0\0")
    running.apply(Write("endpoints", {}, (other,)))
    assert counts.lookup(b"\7\0\0\0") is None


def test_a_plan_that_does_not_fit_is_refused_whole(running: Node) -> None:
    many = {PolicyKey(TableId(9), ClassId(n), 6, n, 88): PolicyEntry(1, RuleId(1)) for n in range(SIZES["policy"])}
    before = running.datapath.read()
    with pytest.raises(
        CapacityError,
        match=r"map policy: the change needs 1024 entries, it has room for 1023; .*--map-size policy=1025 ",
    ):
        running.datapath.apply(before, [Write("endpoints", {WIDE: ENTRY}), Write("policy", many)])
    assert running.datapath.read() == before
    members = {BackendKey(4, n): Backend(WIDE, n) for n in range(SIZES["backends"] + 1)}
    with pytest.raises(CapacityError, match="with --map-size policy=1025 --map-size backends=65 or more"):
        running.datapath.apply(before, [Write("policy", many), Write("backends", members)])
    some = dict(list(many.items())[:600])
    running.apply(Write("policy", some))
    following = {key._replace(table=TableId(10)): entry for key, entry in some.items()}
    with pytest.raises(CapacityError, match="needs 1200 entries"):  # old and new stand side by side before the flip
        running.datapath.apply(running.kernel, [Write("policy", following), Write("policy", {}, tuple(some))])
    running.apply(Write("policy", {}, tuple(some)), Write("policy", following))
    assert set(running.kernel.tables) == {TableId(10)}


def verdict(node: Node, source: int, target: int) -> int:
    wide = {number: to_wide(ip_address(address(number, 4))) for number in (source, target)}
    return ask(node.datapath, [Question(wide[source], wide[target], 6, 8080)])[0].reason


@pytest.mark.parametrize("tcx", [None, False], ids=["tcx", "clsact"])
def test_policy_is_in_force_and_outlives_the_agent(running: Node, tcx: bool | None) -> None:
    options = replace(OPTIONS, tcx=tcx)
    running.detach_all()
    running.reopen(options)
    running.apply(Write("policy", table(5, allowed=11)))
    for number in (11, 12):
        running.pod(number)
    running.pod(13, ingress=5)
    with running.listen(13):
        for _ in range(2):
            assert verdict(running, 11, 13) == Verdict.FORWARDED
            assert verdict(running, 12, 13) == Verdict.POLICY_DENIED
            assert running.reaches(11, 13)
            assert running.refused(12, 13)
            running.reopen(options)
        running.datapath.close()
        assert running.reaches(11, 13)
        assert running.refused(12, 13)
        running.reopen(options)


def test_many_questions_at_once(running: Node) -> None:
    running.apply(
        Write("policy", table(5, allowed=11)), Write("endpoints", {WIDE: ENTRY._replace(ingress_table=TableId(5))})
    )
    strangers = [to_wide(ip_address(f"192.0.2.{n}")) for n in range(200)]
    answers = ask(running.datapath, [Question(source, WIDE, 6, 80) for source in strangers])
    assert [answer.reason for answer in answers] == [Verdict.POLICY_DENIED] * 200
    assert ask(running.datapath, []) == []


def test_another_shape_of_maps_is_filled_before_it_is_in_force(running: Node) -> None:
    running.apply(Write("policy", table(5, allowed=11)))
    running.pod(11)
    running.pod(12)
    running.pod(13, ingress=5)
    old = running.datapath
    larger = Options(sizes=SIZES | {"policy": 4096})
    running.datapath = Datapath.open(running.paths, larger)
    assert running.datapath.read() == Desired()
    with running.listen(13):
        assert running.reaches(11, 13)
        assert running.refused(12, 13)
        steps = [Write("policy", table(5, allowed=12)), Write("ipcache", running.kernel.ipcache)]
        running.datapath.apply(Desired(), [*steps, Write("endpoints", running.kernel.endpoints)])
        running.datapath.enforce()
        old.close()
        assert running.refused(11, 13)
        assert running.reaches(12, 13)
    assert len([folder for folder in running.paths.pin_dir.iterdir() if folder.name.startswith("v")]) == 1


def test_socket_hooks_follow_a_cgroup_that_was_made_again(running: Node) -> None:
    running.paths.cgroup.rmdir()
    running.paths.cgroup.mkdir()
    running.datapath.enforce()
    folder = os.open(running.paths.cgroup, os.O_RDONLY)
    for name in ("service_connect4", "service_getpeername6"):
        link = bpf.object_get(running.paths.pin_dir / "links" / name)
        assert bpf.link_target(link) == os.fstat(folder).st_ino
        os.close(link)
    os.close(folder)
