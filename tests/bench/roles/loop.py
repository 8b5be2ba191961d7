"""Dispatches to topics and acks what comes back, with a fixed number of events under way: what a bus carries."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from itertools import cycle
from typing import TYPE_CHECKING, Any

from bench.roles.role import begin, cpu_s, now_s, play
from bench.roles.subscribers import OWN_CONNECTION
from duebus import Deliveries, NewEvent
from duebus.aio import Client

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus.aio import Subscription


class Loop:
    """The events of one topic: dispatched, delivered and acked.

    Attributes:
        dispatched: events whose dispatch has begun.
        handled: deliveries that were acked.
        seen: the ids of their events.

    Args:
        clients: take turns.
        topic: the topic.
        batch: the events of each call.
        under_way: how many batches are dispatched and not acked, at most.
    """

    def __init__(
        self, clients: Sequence[Client], engine: str, topic: str, batch: list[NewEvent], under_way: int
    ) -> None:
        self.dispatched = self.handled = 0
        self.seen: set[str] = set()
        self._clients = cycle(clients)
        self._engine = engine
        self._topic = topic
        self._batch = batch
        self._room = asyncio.Semaphore(under_way)
        self._freed = 0
        self._acking: set[asyncio.Task[None]] = set()
        self._acked = asyncio.Event()

    def subscription(self) -> Subscription:
        """A stream of the topic, not open yet."""
        return next(self._clients).subscribe(self._topic, engine=self._engine, max_in_flight=1_000)

    async def dispatch(self, stopped: asyncio.Event) -> None:
        """Dispatch batches one after the other until ``stopped``, each once there is room for it."""
        while not stopped.is_set():
            await self._room.acquire()
            self.dispatched += len(self._batch)
            await next(self._clients).dispatch_many(self._topic, self._batch, engines=[self._engine])

    async def handle(self, subscription: Subscription) -> None:
        """Ack what comes, until the stream ends."""
        async for frame in subscription.frames():
            if isinstance(frame, Deliveries):
                acking = asyncio.create_task(self._ack(frame))
                self._acking.add(acking)
                acking.add_done_callback(self._acking.discard)

    async def _ack(self, deliveries: Deliveries) -> None:
        failures = await next(self._clients).ack(deliveries)
        if failures:
            raise RuntimeError(f"{len(failures)} events were not acked: {failures[0]}")
        self.handled += len(deliveries)
        self.seen.update(delivery.event_id for delivery in deliveries)
        self._freed += len(deliveries)
        while self._freed >= len(self._batch):
            self._freed -= len(self._batch)
            self._room.release()
        self._acked.set()

    async def drained(self) -> None:
        """Return when everything that was dispatched is acked."""
        while len(self.seen) < self.dispatched:
            self._acked.clear()
            await self._acked.wait()


async def loop(
    target: str,
    engine: str,
    topics: list[str],
    callers: int,
    streams: int,
    connections: int,
    batch: int,
    warm_up_s: float,
    window_s: float,
    payload: int = 200,
) -> dict[str, Any]:
    """Keep topics busy, and count what is acked in a window of time, which begins and ends with a line ``ready``.

    Args:
        target: the server.
        engine: which engine.
        topics: the topics; all have the same load.
        callers: how many calls each topic has under way. It has twice as many batches of events under way.
        streams: how many streams each topic has.
        connections: how many connections share all calls and streams, so that all processes of a server work.
        batch: how many events a call has.
        warm_up_s: how long it runs before the window.
        window_s: how long the window is.
        payload: the size of each event, in bytes.

    Returns:
        ``events_per_s``: acked in the window. ``cores``: how many this process used in it. ``dispatched``: how many
        events there were in all; ``handled`` and ``distinct``: how many deliveries, of how many events.
    """
    events = [NewEvent(data=os.urandom(payload)) for _ in range(batch)]
    stopped = asyncio.Event()
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(target, options=OWN_CONNECTION)) for _ in range(connections)]
        loops = [Loop(clients, engine, topic, events, 2 * callers) for topic in topics]
        async with asyncio.TaskGroup() as tasks:
            handling = [
                tasks.create_task(one.handle(await stack.enter_async_context(one.subscription())))
                for one in loops
                for _ in range(streams)
            ]
            await begin()
            calling = [tasks.create_task(one.dispatch(stopped)) for one in loops for _ in range(callers)]
            await asyncio.sleep(warm_up_s)
            print("ready", flush=True)  # noqa: T201  # the protocol
            before, began_s, cpu_began_s = sum(one.handled for one in loops), now_s(), cpu_s()
            await asyncio.sleep(window_s)
            after, took_s, used_s = sum(one.handled for one in loops), now_s() - began_s, cpu_s() - cpu_began_s
            print("ready", flush=True)  # noqa: T201  # the protocol
            stopped.set()
            await asyncio.gather(*calling)
            await asyncio.gather(*(one.drained() for one in loops))
            for handler in handling:
                handler.cancel()
    return {
        "events_per_s": (after - before) / took_s,
        "cores": used_s / took_s,
        "dispatched": sum(one.dispatched for one in loops),
        "handled": sum(one.handled for one in loops),
        "distinct": sum(len(one.seen) for one in loops),
    }


if __name__ == "__main__":
    play(loop)
