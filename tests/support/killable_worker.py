"""A worker process that holds events until it is killed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from support.wire import SIGNAL_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKER = """
import sys
from duebus import Client
address, topic, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with Client(address) as client, client.subscribe(topic, max_in_flight=count, consumer="killed") as subscription:
    held = [next(subscription) for _ in range(count)]
    print(" ".join(delivery.event_id for delivery in held), flush=True)
    next(subscription)
"""


class KillableWorker:
    """A worker process with the real client."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    async def held(self) -> list[str]:
        """The ids of the events, when it holds them all."""
        assert self._process.stdout is not None
        return (await asyncio.to_thread(self._process.stdout.readline)).split()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(SIGNAL_TIMEOUT_S)


@contextmanager
def killable_worker(address: str, topic: str, count: int) -> Iterator[KillableWorker]:
    """A worker that holds ``count`` events. It is killed at the end of the block, unless the test has killed it."""
    command = [sys.executable, "-c", WORKER, address, topic, str(count)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=quiet, text=True, process_group=0) as process:
        worker = KillableWorker(process)
        try:
            yield worker
        finally:
            worker.kill()
