"""taskiq on a stream of Redis: asyncio, acked when the task has run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from bench.peers.programs.program import Tally, play
from bench.roles.role import begin
from taskiq.api import run_receiver_task
from taskiq_redis import RedisStreamBroker

if TYPE_CHECKING:
    from collections.abc import Sequence

QUEUE = "bench"


class Sender:
    """Sends tasks one by one, a batch of them concurrently; there is no bulk call."""

    def __init__(self, task: Any) -> None:
        self._task = task

    async def many(self, bodies: Sequence[str]) -> None:
        """Sends all concurrently."""
        await asyncio.gather(*(self.one(text) for text in bodies))

    async def one(self, text: str, delay_s: float = 0) -> None:
        """Returns when Redis has it. There are no delays."""
        if delay_s:
            raise NotImplementedError("taskiq's brokers on Redis have no delays")
        await self._task.kiq(text)


async def open_sender(address: str) -> Sender:
    """A pool of connections."""
    broker = RedisStreamBroker(address, queue_name=QUEUE, max_connection_pool_size=64)
    await broker.startup()

    async def bench(text: str) -> None:
        """Only the name is sent; the worker runs its own function."""

    return Sender(broker.task(task_name="bench")(bench))


async def work(address: str, concurrency: int, tally: Tally) -> None:
    """One receiver in this event loop."""
    broker = RedisStreamBroker(address, queue_name=QUEUE, xread_count=min(concurrency, 500))

    async def bench(text: str) -> None:
        tally.handle(text)

    broker.task(task_name="bench")(bench)
    broker.is_worker_process = True
    await broker.startup()
    await begin()
    receiving = asyncio.create_task(run_receiver_task(broker, max_async_tasks=concurrency, max_prefetch=concurrency))
    await tally.wait()
    receiving.cancel()


if __name__ == "__main__":
    play(open_sender, work)
