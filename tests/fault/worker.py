"""A worker process: `python -m fault.worker JOURNAL GROUP LEASE_S SEED FIRST ADDRESS...`; ends on SIGTERM.

The event tells the handler what to do: `ok`, `slow`, `long` (the lease must be extended), `again` (once, after a
delay), `fails` (once), `release` (once in each worker), `dead`.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, cast

from duebus.worker import DeadLetter, Release, RetryAfter, Worker
from fault.journal import Journal
from fault.replicas import Replicas

if TYPE_CHECKING:
    from duebus._core.delivery import Delivery
    from duebus.aio import Client

TOPIC = "orders"
CONCURRENCY = 16
SLOW_S = 1.0
LONG_S = 7.0
"""Longer than the shortest lease."""
AGAIN_S = 0.4


async def handle(delivery: Delivery, journal: Journal, released: set[str]) -> None:
    """Handles one event, and records its end in any case."""
    journal.write("handle", fence=delivery.fencing_token)
    try:
        await do(delivery, released)
    finally:
        journal.write("handled", fence=delivery.fencing_token)


async def do(delivery: Delivery, released: set[str]) -> None:
    """Does what the event says."""
    what = delivery.json()["do"]
    if what == "slow":
        await asyncio.sleep(SLOW_S)
    if what == "long":
        await asyncio.sleep(LONG_S)
    if what == "release" and delivery.event_id not in released:
        released.add(delivery.event_id)
        raise Release(f"at fence {delivery.fencing_token}")
    if what == "dead":
        raise DeadLetter(f"as the test asked, at fence {delivery.fencing_token}")
    if what == "again" and delivery.attempt == 1:
        raise RetryAfter(AGAIN_S, f"again, at fence {delivery.fencing_token}")
    if what == "fails" and delivery.attempt == 1:
        raise ValueError(f"fails, at fence {delivery.fencing_token}")


async def main(path: str, group: str, lease_s: str, seed: str, first: str, *addresses: str) -> None:
    """Works until SIGTERM."""
    journal = Journal(Path(path))
    journal.write("worker", group=group)
    replicas = Replicas(list(addresses), int(first), journal, Random(seed))
    worker = Worker(
        client=cast("Client", replicas), group=group, lease=float(lease_s), concurrency=CONCURRENCY, drain_timeout=10
    )

    released: set[str] = set()

    @worker.on(TOPIC)
    async def on_order(delivery: Delivery) -> None:
        await handle(delivery, journal, released)

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.request_stop)
    await worker.serve()
    journal.write("stopped")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
