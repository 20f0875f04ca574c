"""The book of names remembers what a record's moment needs."""

from __future__ import annotations

import pytest

from tests.flows.scene import ALLOW_RULE, API, DENY_RULE, FRONTEND, address, pod
from weft.flows.moments import moment_or_ago, parse_duration, parse_moment
from weft.flows.names import NameBook, PodName
from weft.model.identity import Identity
from weft.model.labels import LabelSet
from weft.model.net import IdentityId, RuleId
from weft.model.objects import NamespacedName, Workload

V4 = address("10.244.0.11")


def test_a_pod_is_known_by_number_then_by_address() -> None:
    book = NameBook()
    book.change_pods([], [FRONTEND, API], 0)
    assert book.pod(V4, 0, 5) is FRONTEND
    assert book.pod(V4, API.id, 5) is API
    assert book.pod(address("1.1.1.1"), 0, 5) is None
    assert book.pod(V4, 99, 5) is None
    assert book.sender(API.ifindex, 0, 5) is API
    assert book.sender(0, API.cgroup, 5) is API
    assert book.sender(5, 0, 5) is None and book.sender(0, 0, 5) is None


def test_a_pod_that_is_gone_is_known_at_its_time() -> None:
    book = NameBook()
    book.change_pods([], [FRONTEND], 0)
    second = pod(21, "default", "frontend-2", 70_001, "10.244.0.11")
    book.change_pods([FRONTEND], [second], 100)
    book.change_pods([second], [], 200)
    third = pod(31, "default", "frontend-3", 70_001, "10.244.0.11")
    book.change_pods([], [third], 300)
    assert [book.pod(V4, 0, when) for when in (50, 150, 350)] == [FRONTEND, second, third]
    assert book.pod(V4, FRONTEND.id, 50) is FRONTEND
    assert book.pod(V4, FRONTEND.id, 150) is None
    assert {FRONTEND, second, third} == set(book.pods())


def test_only_so_many_are_remembered() -> None:
    book = NameBook(keep=8)
    pods = [pod(number, "default", f"p-{number}", 70_001, f"10.0.0.{number}") for number in range(1, 9)]
    for number, one in enumerate(pods):
        book.change_pods(pods[number - 1 : number], [one], one.id * 10)
    assert book.pod(address("10.0.0.5"), 0, 51) is None
    assert book.pod(address("10.0.0.6"), 0, 61) is not None
    assert len(list(book.pods())) == 8 + 4  # by address, number, device and cgroup: two are gone, one is there


def test_a_pod_that_stays_is_not_gone() -> None:
    book = NameBook()
    book.change_pods([], [FRONTEND], 0)
    renewed = pod(11, "default", "frontend-1", 70_009, "10.244.0.11", "fd00:244::11")
    book.change_pods([FRONTEND], [renewed], 100)
    assert book.pod(V4, 0, 50) is renewed


def test_of_two_pods_with_one_address_the_later_has_it_while_it_is_there() -> None:
    book = NameBook()
    other, third = (pod(0, "default", name, 70_001, "10.244.0.11") for name in ("other", "third"))
    book.change_pods([], [FRONTEND, other, third], 0)
    book.change_pods([other], [], 100)
    assert book.pod(V4, 0, 150) is third
    book.change_pods([third], [], 200)
    assert [book.pod(V4, 0, when) for when in (150, 250)] == [third, FRONTEND]
    book.change_pods([FRONTEND], [], 300)
    assert book.pod(V4, 0, 350) is None


def test_a_pod_of_another_node_is_described_when_somebody_asks() -> None:
    book = NameBook()
    where = address("10.244.1.9")
    far = Workload(NamespacedName("shop", "far"), {}, "default", "another-node", (where,))
    book.change_pods([], [far], 0)
    asked = []

    def describe(workload: Workload) -> PodName:
        asked.append(workload)
        return pod(0, *workload.key, 70_000 + len(asked), str(where))

    book.describe = describe
    assert asked == []
    found = book.pod(where, 0, 50)
    assert found and (found.name, found.identity) == ("far", 70_001)
    assert [each.identity for each in book.pods()] == [70_002]
    book.change_pods([far], [], 100)
    found = book.pod(where, 0, 50)
    assert found and found.identity == 70_003 and len(asked) == 3  # as it was when it went
    assert book.pod(where, 0, 150) is None


def test_labels_and_rules_of_before_stay_known() -> None:
    book = NameBook(keep=1, keep_labels=1)
    one, two, three = (LabelSet({"k8s:app": name}) for name in "abc")
    for labels in ({1: one, 2: two}, {2: two}, {3: three}):
        book.set_identities({IdentityId(number): Identity(IdentityId(number), each) for number, each in labels.items()})
    assert [book.labels(number) for number in (1, 2, 3, 4)] == [LabelSet(), two, three, LabelSet()]
    book.set_rules({RuleId(1): ALLOW_RULE})
    book.set_rules({RuleId(2): DENY_RULE})
    assert (book.rule(1), book.rule(2), book.rule(3)) == (ALLOW_RULE, DENY_RULE, None)
    assert dict(book.identities()) == {2: two, 3: three}


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("3s", 3 * 10**9),
        ("1h30m", 5400 * 10**9),
        ("1.5s", 1_500_000_000),
        ("250ms", 250 * 10**6),
        ("0", 0),
        ("-2s", -2 * 10**9),
    ],
)
def test_durations(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize(
    ("text", "seconds", "nanos"),
    [
        ("2023-11-14", 1_699_920_000, 0),
        ("2023-11-14T22Z", 1_699_999_200, 0),
        ("2023-11-14T22:13Z", 1_699_999_980, 0),
        ("2023-11-14T22:13:20Z", 1_700_000_000, 0),
        ("2023-11-14T23:13:20.000000001+01:00", 1_700_000_000, 1),
        ("2023-11-14T22:13:20.5Z", 1_700_000_000, 500_000_000),
        ("Tue, 14 Nov 2023 22:13:20 +0000", 1_700_000_000, 0),
    ],
)
def test_moments(text: str, seconds: int, nanos: int) -> None:
    assert parse_moment(text) == seconds * 10**9 + nanos
    assert moment_or_ago(text, 0) == parse_moment(text)


@pytest.mark.parametrize("text", ["", "5", "5 s", "s", "5d", "2023-13-01", "2023-11-14T22:13:20", "now", "1e3s"])
def test_what_is_neither(text: str) -> None:
    with pytest.raises(ValueError, match="neither a duration"):
        moment_or_ago(text, 0)
