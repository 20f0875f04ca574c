"""What API servers do seldom, told by a script: answers in their order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from weft.model.objects import NamespacedName
from weft.sources.kubernetes import reflector, resources, shapes, values
from weft.sources.kubernetes.api import ApiError, UnreachableError
from weft.sources.kubernetes.complaints import Complaints
from weft.sources.kubernetes.reflector import Reflector
from weft.sources.kubernetes.resources import Resource
from weft.sources.kubernetes.tables import PlainTable, Table

Json = dict[str, Any]
GONE = ApiError(410, "Expired", "too old resource version")
CUSTOM = Resource("Service", "services", ("example.org/v1beta1", "example.org/v1"), custom=True)


def service(name: str, version: int = 1) -> Json:
    return {"metadata": {"name": name, "namespace": "shop", "resourceVersion": str(version)}, "spec": {}}


def listing(*names: str, version: int = 1, more: str = "") -> Json:
    return {"metadata": {"resourceVersion": str(version), "continue": more}, "items": [service(one) for one in names]}


def event(kind: str, item: Json) -> Json:
    return {"type": kind, "object": item}


class Script:
    """Answers to lists and watches, one after the other: a page, a list of watch events, or an error. After the last
    the connection hangs. ``asked``: the requests; ``pauses``: what the reflector waited."""

    problem = ""

    def __init__(self, *answers: Json | list[Json] | Exception) -> None:
        self._answers = list(answers)
        self.asked: list[Json] = []
        self.pauses: list[float] = []
        self.done = asyncio.Event()

    async def _next(self, path: str, params: Any) -> Any:
        self.asked.append({"path": path, **dict(params or {})})
        if not self._answers:
            self.done.set()
            await asyncio.Event().wait()
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def get(self, path: str, params: Any = None) -> bytes:
        answer = await self._next(path, params)
        return answer if isinstance(answer, bytes) else json.dumps(answer).encode()

    @asynccontextmanager
    async def stream(self, path: str, params: Any, silence: float) -> AsyncIterator[AsyncIterator[list[bytes]]]:
        answer = await self._next(path, params)

        async def lines() -> AsyncIterator[list[bytes]]:
            for one in answer:
                yield [json.dumps(one).encode()]

        yield lines()

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)


class Outcome:
    def __init__(self, script: Script, table: Table, marks: list[Any], found: Reflector) -> None:
        self.script, self.marks, self.problem = script, marks, found.problem
        self.names = {key.name for key in table.known()}


def follow(*answers: Any, resource: Resource = resources.SERVICES, only_sync: bool = False) -> Outcome:
    async def work() -> Outcome:
        script, marks = Script(*answers), []
        table: Table = PlainTable(resource, "services", Complaints(), shapes.Service, values.service)

        def mark(table: Table, keys: Iterable[Any]) -> None:
            marks.extend((key.name, table.value(key) is not None) for key in keys)

        found = Reflector(script, table, mark)  # type: ignore[arg-type]
        async with asyncio.timeout(20):
            await found.sync()
            if not only_sync:
                running = asyncio.create_task(found.run())
                await script.done.wait()
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
        return Outcome(script, table, marks, found)

    return asyncio.run(work())


def test_pages_are_one_list() -> None:
    found = follow(listing("a", "b", more="token"), listing("c", version=7), only_sync=True)
    assert found.names == {"a", "b", "c"}
    assert found.script.asked[0]["limit"] == reflector.PAGE
    assert found.script.asked[1]["continue"] == "token"


def test_a_continue_token_that_expires() -> None:
    found = follow(listing("a", more="token"), GONE, listing("b", "c", version=7), only_sync=True)
    assert found.names == {"b", "c"}, "what only the first attempt saw is gone"
    assert "limit" not in found.script.asked[2]


def test_a_watch_goes_on_from_what_it_saw_last() -> None:
    bookmark = event("BOOKMARK", {"metadata": {"resourceVersion": "9"}})
    watched = [event("ADDED", service("b", 4)), event("DELETED", service("a", 5)), bookmark]
    found = follow(listing("a"), watched, [event("MODIFIED", service("c", 12))])
    assert found.names == {"b", "c"}
    assert [one.get("resourceVersion") for one in found.script.asked] == [None, "1", "9", "12"]
    assert found.marks == [("a", True), ("b", True), ("a", False), ("c", True)]


@pytest.mark.parametrize(
    "expired",
    [GONE, [event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})]],
    ids=["answer", "in the stream"],
)
def test_what_went_meanwhile_is_deleted(expired: Any) -> None:
    found = follow(listing("a", "b"), expired, listing("b", "c", version=50), [])
    assert found.names == {"b", "c"}
    assert found.marks == [("a", True), ("b", True), ("a", False), ("c", True)], "b is no news"
    assert [one.get("resourceVersion") for one in found.script.asked[:4]] == [None, "1", None, "50"]


def test_out_of_reach_changes_nothing_and_waits_longer_each_time() -> None:
    lost = [UnreachableError(0, "", "out of reach")] * 12
    found = follow(listing("a"), *lost, [event("ADDED", service("b", 3))])
    assert found.names == {"a", "b"}
    assert {one["resourceVersion"] for one in found.script.asked[1:14]} == {"1"}, "it asks for what came after"
    pauses = found.script.pauses[:12]
    assert pauses[0] <= reflector.FIRST_PAUSE and pauses[8] > 4
    assert max(pauses) <= reflector.LONGEST_PAUSE


def test_a_watch_that_always_ends_at_once_is_not_asked_for_in_a_hurry() -> None:
    found = follow(listing("a"), *[[]] * 8)
    assert len(found.script.pauses) == 8
    assert found.script.pauses[-1] > 4


def test_an_answer_that_is_not_json() -> None:
    found = follow(b"<html>", listing("a"), only_sync=True)
    assert found.names == {"a"} and found.problem == ""


def test_a_refusal_is_a_problem_and_no_empty_list() -> None:
    refusal = ApiError(403, "Forbidden", 'services is forbidden: User "weft" cannot list')
    found = follow(refusal, refusal, listing("a"), only_sync=True)
    assert found.names == {"a"}
    with_refusal = follow(listing("a"), refusal)
    assert with_refusal.names == {"a"}
    assert "403 Forbidden" in with_refusal.problem and "services" in with_refusal.problem


def test_an_object_that_cannot_be_read_keeps_its_last_value() -> None:
    odd = service("a", 5) | {"spec": {"ports": "many"}}
    found = follow(listing("a"), [event("MODIFIED", odd), event("ADDED", service("b", 6))])
    assert found.names == {"a", "b"}
    nameless = {"metadata": {}}
    found = follow(listing("a"), [event("ADDED", nameless), event("ADDED", service("b", 6))])
    assert found.names == {"a", "b"}


def test_versions_of_a_crd_are_tried_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = ApiError(404, "NotFound", "the server could not find the requested resource")
    found = follow(missing, listing("a"), only_sync=True, resource=CUSTOM)
    assert [one["path"].split("/")[3] for one in found.script.asked] == ["v1beta1", "v1"]
    assert found.names == {"a"}
    none = follow(missing, missing, only_sync=True, resource=CUSTOM)
    assert none.names == set() and none.problem == ""


def test_a_crd_that_is_not_found_for_a_moment_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = ApiError(404, "NotFound", "the server could not find the requested resource")
    moment = follow(listing("a"), missing, missing, listing("a", version=3), [], resource=CUSTOM)
    assert moment.marks == [("a", True)]
    monkeypatch.setattr(reflector, "VANISHED_SECONDS", 0.0)
    gone = follow(listing("a"), *[missing] * 4, resource=CUSTOM)
    assert gone.marks == [("a", True), ("a", False)]


def test_the_key_of_a_relist_is_the_objects() -> None:
    """Names in two namespaces are two objects."""
    other = service("a")
    other["metadata"]["namespace"] = "else"
    both = {"metadata": {"resourceVersion": "1"}, "items": [service("a"), other]}
    found = follow(both, GONE, {"metadata": {"resourceVersion": "5"}, "items": [other]}, [])
    assert found.marks == [("a", True), ("a", True), ("a", False)]
    assert NamespacedName("else", "a").name in found.names
