"""The worker's optimizations behave like the simple code."""

from __future__ import annotations

import asyncio

import pytest
from bench.naive import TWINS, handle, returns, using
from support.fake_bus import FakeBus, deliveries
from support.workers import HandlerByHand, serving, worker_on

KINDS = [
    pytest.param(name, kind, id=f"{name}-{kind.__name__}") for name, (_, *kinds) in TWINS.items() for kind in kinds
]


@pytest.mark.parametrize(("name", "kind"), KINDS)
async def test_handlers_start_in_order_and_within_the_slots(bus: FakeBus, name: str, kind: type) -> None:
    with using(name, kind):
        worker, handler = worker_on(bus, concurrency=2), HandlerByHand()
        worker.add("orders", handler)
        async with serving(worker):
            many = deliveries(4)
            (await bus.stream()).deliver(*many)
            begun = [await handler.begins(), await handler.begins()]
            await asyncio.sleep(1)
            assert handler.begun == begun == many[:2]
            handler.returns(begun[0])
            assert await handler.begins() == many[2]


@pytest.mark.parametrize(("name", "kind"), KINDS)
async def test_a_handler_that_runs_for_too_long_is_cancelled(bus: FakeBus, name: str, kind: type) -> None:
    with using(name, kind):
        worker, handler = worker_on(bus, max_execution=5), HandlerByHand()
        worker.add("orders", handler)
        async with serving(worker):
            first, second = deliveries(2)
            stream = await bus.stream()
            stream.deliver(first)
            await handler.begins()
            await asyncio.sleep(3)
            stream.deliver(second)
            await handler.begins()
            assert (await bus.nacks.next()).tokens == [first.lease_token]
            assert asyncio.get_running_loop().time() == pytest.approx(5, abs=0.1)
            assert handler.cancelled == [first]
            handler.returns(second)
            assert (await bus.acks.next()).tokens == [second.lease_token]


@pytest.mark.parametrize("name", list(TWINS))
def test_the_faster_way_is_faster(name: str) -> None:
    took = {}
    for kind in TWINS[name][1:]:
        with using(name, kind):
            took[kind] = min(asyncio.run(handle(returns, 5_000)) for _ in range(5))
    _, original, twin = TWINS[name]
    assert took[original] < took[twin]
