"""Whatever happens once an event leaves no reference cycles, in the server, the client and the worker."""

from __future__ import annotations

import asyncio

import pytest
from duebus import Delivery, RetryAfter, Worker, aio
from duebus.errors import InvalidArgument, NoHandlerFound
from support.app import own_app
from support.garbage import cycles
from support.wire import SIGNAL_TIMEOUT_S
from support.workers import serving

EVENTS = 100


async def test_events_leave_nothing_to_the_garbage_collector() -> None:
    """One server, client and worker in this process: dispatched, refused, delivered, retried, acked."""
    async with own_app() as (own, _wire), aio.Client(own.address) as client:
        worker = Worker(own.address)
        handled: set[tuple[str, int]] = set()
        done = asyncio.Event()

        @worker.on("orders")
        async def handle(delivery: Delivery) -> None:
            handled.add((delivery.event_id, delivery.attempt))
            if len(handled) == 2 * EVENTS:
                done.set()
            if delivery.attempt == 1:
                raise RetryAfter(0)

        async def dispatch() -> None:
            handled.clear()
            done.clear()
            await asyncio.gather(*(client.dispatch("orders", b"data") for _ in range(EVENTS)))
            await asyncio.gather(*(refuse(client) for _ in range(EVENTS)))
            await asyncio.wait_for(done.wait(), SIGNAL_TIMEOUT_S)

        async with serving(worker):
            await dispatch()
            with cycles() as found:
                await dispatch()
    assert len(found) < EVENTS, [type(each) for each in found]


async def refuse(client: aio.Client) -> None:
    """Two dispatches that fail: one for what it says, the other in the engine."""
    with pytest.raises(InvalidArgument):
        await client.dispatch("no topic", b"data")
    with pytest.raises(NoHandlerFound):
        await client.dispatch("nobody", b"data", require_subscriber=True)
