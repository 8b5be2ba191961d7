"""arq: asyncio, jobs in a sorted set of Redis, polled every 10 ms (the default is 500)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import arq
from arq.connections import RedisSettings
from bench.peers.programs.program import Tally, play
from bench.roles.role import begin

if TYPE_CHECKING:
    from collections.abc import Sequence

POLL_S = 0.01


class Sender:
    """Sends jobs one by one, a batch of them concurrently; there is no bulk call."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def many(self, bodies: Sequence[str]) -> None:
        """Sends all concurrently."""
        await asyncio.gather(*(self.one(text) for text in bodies))

    async def one(self, text: str, delay_s: float = 0) -> None:
        """Returns when Redis has it."""
        await self._pool.enqueue_job("bench", text, _defer_by=delay_s or None)


async def open_sender(address: str) -> Sender:
    """A pool of connections."""
    return Sender(await arq.create_pool(RedisSettings.from_dsn(address)))


async def work(address: str, concurrency: int, tally: Tally) -> None:
    """One worker in this event loop."""

    async def bench(_context: Any, text: str) -> None:
        tally.handle(text)

    worker = arq.Worker(
        functions=[arq.func(bench, name="bench")],
        redis_settings=RedisSettings.from_dsn(address),
        max_jobs=concurrency,
        poll_delay=POLL_S,
        keep_result=0,
        handle_signals=False,
        health_check_interval=3_600,
    )
    await begin()
    running = asyncio.create_task(worker.async_run())
    await tally.wait()
    await asyncio.gather(*worker.tasks.values(), return_exceptions=True)  # the last ones are settled
    running.cancel()


if __name__ == "__main__":
    play(open_sender, work)
