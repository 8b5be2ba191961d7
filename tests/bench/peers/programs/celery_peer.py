"""Celery on Redis: one worker with a pool of threads; acked when the task has run."""

from __future__ import annotations

import asyncio
import threading

import celery
from bench.peers.programs.program import Tally, ThreadedSender, play
from bench.roles.role import begin

QUEUE = "bench"


def open_app(address: str) -> celery.Celery:
    """Results are not needed. Tasks are acked late, so that the death of a worker loses none."""
    app = celery.Celery("bench", broker=address, set_as_current=True)
    app.conf.update(
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_acks_late=True,
        task_default_queue=QUEUE,
        worker_prefetch_multiplier=16,
        worker_hijack_root_logger=False,
        broker_pool_limit=64,
        broker_connection_retry_on_startup=True,
    )
    return app


async def open_sender(address: str) -> ThreadedSender:
    """There is only `apply_async`, for many as for one."""

    def handle(text: str) -> None:
        """Only the name is sent; the worker runs its own function."""

    task = open_app(address).task(name="bench")(handle)
    return ThreadedSender(lambda text, delay_s: task.apply_async((text,), countdown=delay_s or None))


async def work(address: str, concurrency: int, tally: Tally) -> None:
    """The worker runs in a thread of this process."""
    app = open_app(address)
    up = threading.Event()

    def handle(text: str) -> None:
        tally.handle(text)

    app.task(name="bench")(handle)
    worker = app.WorkController(
        pool="threads",
        concurrency=min(concurrency, 16),
        without_mingle=True,
        without_gossip=True,
        without_heartbeat=True,
        queues=[QUEUE],
        loglevel="ERROR",
        ready_callback=lambda _: up.set(),
    )
    running = threading.Thread(target=worker.start, daemon=True)
    running.start()
    await asyncio.to_thread(up.wait)
    await begin()
    await tally.wait()
    worker.stop()


if __name__ == "__main__":
    play(open_sender, work)
