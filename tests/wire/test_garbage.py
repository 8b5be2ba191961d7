"""What events leave behind in memory: no reference cycles, and memory that the next ones take."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from duebus import Delivery, RetryAfter, Worker, aio
from duebus.errors import InvalidArgument, NoHandlerFound
from support.app import own_app
from support.garbage import cycles
from support.wire import SIGNAL_TIMEOUT_S, Wire, event, figure
from support.workers import serving

if TYPE_CHECKING:
    from support.server_process import ServerProcess

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


async def test_batches_take_the_memory_of_those_before_them(server: ServerProcess, wire: Wire, topic: str) -> None:
    """The server does not return it to the system in between, which would cost a page fault for every 4 KiB."""
    batches, most_each = 40, 100
    stream = await wire.subscribe(topic, max_in_flight=500)

    async def batch() -> None:
        await wire.dispatch(topic, *(event(data=bytes(200)) for _ in range(500)))
        await wire.ack(*await stream.take(500))

    for _ in range(batches):
        await batch()
    before = page_faults(server.process.pid)
    for _ in range(batches):
        await batch()
    each = (page_faults(server.process.pid) - before) / batches
    figure(f"{each:.0f} page faults a batch")
    assert each < most_each


def page_faults(pid: int) -> int:
    """How many pages the system has given to a process so far."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[7])


async def refuse(client: aio.Client) -> None:
    """Two dispatches that fail: one for what it says, the other in the engine."""
    with pytest.raises(InvalidArgument):
        await client.dispatch("no topic", b"data")
    with pytest.raises(NoHandlerFound):
        await client.dispatch("nobody", b"data", require_subscriber=True)
