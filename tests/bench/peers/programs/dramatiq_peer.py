"""dramatiq on Redis: one process with 8 threads, its default; a message is acked when the actor has run."""

from __future__ import annotations

import dramatiq
from bench.peers.programs.program import Tally, ThreadedSender, play
from bench.roles.role import begin
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import Retries

QUEUE = "bench"


def open_broker(address: str) -> RedisBroker:
    """Has retries, like DueBus, and no other middleware."""
    broker = RedisBroker(url=address, middleware=[Retries()])
    dramatiq.set_broker(broker)
    return broker


async def open_sender(address: str) -> ThreadedSender:
    """There is only `send_with_options`, for many as for one."""
    open_broker(address)

    def handle(text: str) -> None:
        """Only the name is sent; the worker runs its own function."""

    actor = dramatiq.actor(handle, actor_name="bench", queue_name=QUEUE)
    return ThreadedSender(
        lambda text, delay_s: actor.send_with_options(args=(text,), delay=int(delay_s * 1_000) if delay_s else None)
    )


async def work(address: str, concurrency: int, tally: Tally) -> None:
    """More threads than 8 make it slower."""
    broker = open_broker(address)
    dramatiq.actor(tally.handle, actor_name="bench", queue_name=QUEUE)
    worker = dramatiq.Worker(broker, worker_threads=min(concurrency, 8), worker_timeout=100)
    await begin()
    worker.start()
    await tally.wait()
    worker.stop()


if __name__ == "__main__":
    play(open_sender, work)
