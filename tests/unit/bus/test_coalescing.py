"""Coalescing of calls into batches."""

from __future__ import annotations

import asyncio

import pytest
from duebus_server.bus.coalescing import Coalescer
from support.garbage import cycles


class Work:
    """Carries out batches when the test says so, and records them."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[int]]] = []
        self.gates: list[asyncio.Future[None]] = []
        self.coalescer = Coalescer(self.carry_out, lambda item: item, {"a": 10, "b": 20}.__getitem__)

    async def carry_out(self, key: str, items: list[int]) -> list[str]:
        self.batches.append((key, items))
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.gates.append(gate)
        await gate
        return [f"{key}{item}" for item in items]

    def submit(self, key: str, item: int) -> asyncio.Task[str]:
        return asyncio.create_task(self.coalescer.submit(key, item))

    async def finish(self, index: int) -> None:
        self.gates[index].set_result(None)
        await settle()


async def settle() -> None:
    """Let all runnable tasks run."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_single_item_is_carried_out_at_once() -> None:
    work = Work()
    submitted = work.submit("a", 1)
    await settle()
    assert work.batches == [("a", [1])]
    await work.finish(0)
    assert await submitted == "a1"


async def test_items_that_arrive_meanwhile_share_the_next_call_in_order() -> None:
    work = Work()
    submitted = [work.submit("a", item) for item in (1, 2, 3, 4)]
    await settle()
    assert work.batches == [("a", [1])]

    await work.finish(0)
    assert work.batches == [("a", [1]), ("a", [2, 3, 4])]
    await work.finish(1)
    assert await asyncio.gather(*submitted) == ["a1", "a2", "a3", "a4"]


async def test_calls_of_different_keys_do_not_wait_for_each_other() -> None:
    work = Work()
    work.submit("a", 1)
    work.submit("b", 2)
    await settle()
    assert work.batches == [("a", [1]), ("b", [2])]


async def test_a_batch_has_a_limit_and_a_heavy_item_goes_alone() -> None:
    work = Work()
    submitted = [work.submit("a", item) for item in (1, 6, 4, 50, 2)]
    for index in range(4):
        await settle()
        await work.finish(index)
    assert [items for _, items in work.batches] == [[1], [6, 4], [50], [2]]
    assert await asyncio.gather(*submitted) == ["a1", "a6", "a4", "a50", "a2"]


async def test_each_key_has_a_limit_of_its_own() -> None:
    work = Work()
    for item in (1, 6, 9, 4):
        work.submit("b", item)
    for place in range(2):
        await settle()
        await work.finish(place)
    assert work.batches == [("b", [1]), ("b", [6, 9, 4])]


async def test_a_failure_reaches_every_caller_of_its_batch_and_no_other() -> None:
    work = Work()
    submitted = [work.submit("a", item) for item in (1, 2, 3)]
    await settle()
    work.gates[0].set_exception(ValueError("first"))
    await settle()
    last = work.submit("a", 4)
    await settle()
    work.gates[1].set_exception(ValueError("second"))
    await settle()
    await work.finish(2)

    failures = await asyncio.gather(*submitted, return_exceptions=True)
    assert [str(failure) for failure in failures] == ["first", "second", "second"]
    assert await last == "a4"


async def test_a_failure_leaves_nothing_to_the_garbage_collector() -> None:
    async def fail(_key: str, _items: list[int]) -> list[str]:
        await asyncio.sleep(0)  # the others wait meanwhile
        raise ConnectionError

    coalescer: Coalescer[str, int, str] = Coalescer(fail, lambda item: item, lambda _: 1_000)
    with cycles() as found:
        errors = await asyncio.gather(*(coalescer.submit("a", 1) for _ in range(100)), return_exceptions=True)
        assert all(isinstance(error, ConnectionError) for error in errors)
        del errors
        await settle()
    assert len(found) == 0, [type(each) for each in found]


async def test_a_caller_that_gives_up_does_not_delay_others() -> None:
    work = Work()
    first, second, third = (work.submit("a", item) for item in (1, 2, 3))
    await settle()
    first.cancel()
    second.cancel()
    await settle()
    await work.finish(1)
    assert await third == "a3"
    with pytest.raises(asyncio.CancelledError):
        await second
