"""Batch handlers on a real server: keys, retries and workers that are killed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import defaultdict
from typing import TYPE_CHECKING

from duebus import Worker, aio
from duebus.worker import RetryAfter
from support.cli import environment
from support.wire import SIGNAL_TIMEOUT_S
from support.workers import serving, until_done

if TYPE_CHECKING:
    from duebus import Delivery
    from support.server_process import ServerProcess
    from support.wire import Wire

HOLDING = """
import sys, time
from duebus import Worker

worker = Worker(sys.argv[1])

@worker.on(sys.argv[2], batch=10, wait=30)
def hold(batch):
    print(len(batch), flush=True)
    time.sleep(600)

worker.run()
"""


async def test_events_of_a_key_are_handled_in_order_and_never_in_one_batch(
    server: ServerProcess, wire: Wire, topic: str
) -> None:
    worker, handled = Worker(server.address), defaultdict[str, list[int]](list)
    batches: list[list[Delivery]] = []

    @worker.on(topic, batch=8, wait=0.02)
    async def store(batch: list[Delivery]) -> list[Exception | None]:
        batches.append(batch)
        await asyncio.sleep(0)
        outcomes: list[Exception | None] = []
        for each in batch:
            fails = each.json() % 7 == 0 and each.attempt == 1
            outcomes.append(RetryAfter(0.01) if fails else None)
            if not fails:
                handled[each.key].append(each.json())
        return outcomes

    async with aio.Client(server.address) as client:
        for number in range(20):
            await asyncio.gather(*(client.dispatch(topic, number, key=f"key-{key}") for key in range(5)))
    async with serving(worker):
        await until_done(wire, topic)
    assert dict(handled) == {f"key-{key}": list(range(20)) for key in range(5)}
    assert max(map(len, batches)) > 1
    assert all(len({each.key for each in batch}) == len(batch) for batch in batches)


async def test_the_batch_of_a_killed_worker_is_handled_by_another(
    server: ServerProcess, wire: Wire, topic: str
) -> None:
    command = [sys.executable, "-c", HOLDING, server.address, topic]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as killed:  # noqa: ASYNC220
        async with aio.Client(server.address) as client:
            await client.dispatch_many(topic, range(10))
        assert killed.stdout is not None
        assert await asyncio.wait_for(asyncio.to_thread(killed.stdout.readline), SIGNAL_TIMEOUT_S) == "10\n"
        killed.kill()
    worker, handled = Worker(server.address), list[int]()

    @worker.on(topic, batch=10, wait=0.05)
    def store(batch: list[Delivery]) -> None:
        handled.extend(each.json() for each in batch)

    async with serving(worker):
        await until_done(wire, topic)
    assert sorted(handled) == list(range(10))
