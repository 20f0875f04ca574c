"""Pods that come while a plan is put in force wait for the next one, together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from weft.agent.batch import Batch
from weft.model.objects import NamespacedName

A, B, C = (NamespacedName("default", name) for name in "abc")


def test_what_comes_together_is_one_commit() -> None:
    batches: list[list[NamespacedName]] = []

    def commit(keys: Sequence[NamespacedName]) -> Mapping[NamespacedName, Exception]:
        batches.append(list(keys))
        return {}

    async def scene() -> None:
        batch = Batch(commit)
        await asyncio.gather(batch.put(A), batch.put(B), batch.put(A))
        await batch.put(C)

    asyncio.run(scene())
    assert batches == [[A, B], [C]]


def test_an_error_is_only_for_whom_it_concerns() -> None:
    async def scene() -> tuple[BaseException | None, BaseException | None]:
        batch = Batch(lambda keys: {B: RuntimeError("no room")})
        gone = asyncio.ensure_future(batch.put(C))
        await asyncio.sleep(0)
        gone.cancel()
        return await asyncio.gather(batch.put(A), batch.put(B), return_exceptions=True)

    first, second = asyncio.run(scene())
    assert first is None and isinstance(second, RuntimeError)


def test_a_defect_reaches_every_caller() -> None:
    def commit(keys: Sequence[NamespacedName]) -> Mapping[NamespacedName, Exception]:
        raise ValueError("a defect")

    async def scene() -> None:
        batch = Batch(commit)
        ended = await asyncio.gather(batch.put(A), batch.put(B), return_exceptions=True)
        assert [type(one) for one in ended] == [ValueError, ValueError]
        with pytest.raises(ValueError, match="a defect"):
            await batch.put(A)

    asyncio.run(scene())
