"""Workers in the test's own loop."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from duebus.worker import Worker

from support.wire import SIGNAL_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from duebus._core.delivery import Delivery
    from duebus.v1 import admin_pb2

    from support.fake_bus import FakeBus
    from support.wire import Wire


def worker_on(bus: FakeBus, **settings: Any) -> Worker:
    return Worker(client=bus.client, **settings)


@asynccontextmanager
async def serving(worker: Worker) -> AsyncIterator[asyncio.Task[None]]:
    """Runs the worker during the block, which begins once it has subscribed; stops it afterwards."""
    task = asyncio.create_task(worker.serve())
    try:
        await worker.ready()
        yield task
    finally:
        if not task.done():
            worker.request_stop(now=True)
            await task


class HandlerByHand:
    """A coroutine handler whose calls the test sees and ends.

    Attributes:
        begun: The deliveries that it was called with, in order.
        cancelled: Those whose run was cancelled.
    """

    def __init__(self) -> None:
        self.begun: list[Delivery] = []
        self.cancelled: list[Delivery] = []
        self._unseen: asyncio.Queue[Delivery] = asyncio.Queue()
        self._ends: dict[Delivery, asyncio.Future[None]] = {}

    async def __call__(self, delivery: Delivery) -> None:
        """Waits for its end."""
        self.begun.append(delivery)
        end = self._ends[delivery] = asyncio.get_running_loop().create_future()
        self._unseen.put_nowait(delivery)
        try:
            await end
        except asyncio.CancelledError:
            self.cancelled.append(delivery)
            raise

    async def begins(self) -> Delivery:
        """The next delivery that it is called with."""
        return await self._unseen.get()

    def returns(self, delivery: Delivery) -> None:
        """Ends a run with success."""
        self._ends[delivery].set_result(None)

    def raises(self, delivery: Delivery, error: Exception) -> None:
        """Ends a run with an error."""
        self._ends[delivery].set_exception(error)


async def group_when(wire: Wire, topic: str, reached: Callable[[admin_pb2.GroupInfo], bool]) -> admin_pb2.GroupInfo:
    """Waits until the default group of a topic is as expected, and returns it.

    It polls, because another process sends the test no signal.
    """
    async with asyncio.timeout(SIGNAL_TIMEOUT_S):
        while True:
            group = await wire.group(topic)
            if reached(group):
                return group
            await asyncio.sleep(0.005)


async def until_done(wire: Wire, topic: str) -> None:
    """Waits until the topic has no event left, dead or alive."""
    await group_when(wire, topic, lambda group: not (group.scheduled or group.ready or group.leased or group.dead))


async def settle_down() -> None:
    """Runs every task until it waits for something outside the loop. Moves no clock."""
    for _ in range(20):
        await asyncio.sleep(0)
