"""A producer process: `python -m fault.producer JOURNAL SEED ADDRESS...`; ends on SIGTERM.

A request that fails is repeated, at any replica, with its `request_id`, until it is answered.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from itertools import count
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from duebus import NewEvent
from duebus.errors import DueBusError
from fault.journal import Journal
from fault.replicas import open_client
from fault.worker import TOPIC

if TYPE_CHECKING:
    from duebus.aio import Client

SECOND = 1_000_000
PAUSE_S = 0.1
MOST = 15
"""Events in a request."""

PADDING = "x" * 120

KEYS = 50
"""How many keys each producer has. Only one uses a key, so the order of its events is known."""

ORDERED = 0.5
"""The share of events that have a key."""

DEEDS = {"ok": 76, "slow": 5, "long": 0.5, "again": 6, "fails": 5, "release": 4, "dead": 2}


class Producer:
    """Dispatches one request after the other."""

    def __init__(self, name: str, journal: Journal, random: Random, clients: list[Client]) -> None:
        self._name = name
        self._journal = journal
        self._random = random
        self._clients = clients
        self._names = (f"{name}-{number}" for number in count())
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End after the current request."""
        self._stopping.set()

    async def run(self) -> None:
        """Dispatch until stopped."""
        for number in count():
            if self._stopping.is_set():
                return
            await self._dispatch(f"{self._name}-request-{number}", self._events())
            await asyncio.sleep(PAUSE_S * self._random.random())

    def _events(self) -> list[NewEvent]:
        return [self._event(next(self._names)) for _ in range(self._random.randint(1, MOST))]

    def _event(self, name: str) -> NewEvent:
        (what,) = self._random.choices(list(DEEDS), weights=list(DEEDS.values()))
        delay_us = round(self._random.choice((0, 0, 0, 2, 8)) * SECOND * self._random.random())
        own_id = name if self._random.random() < 0.5 else ""
        key = f"{self._name}-order-{self._random.randrange(KEYS)}" if self._random.random() < ORDERED else ""
        data = {"name": name, "do": what, "padding": PADDING}
        return NewEvent(data=data, id=own_id, delay=delay_us / SECOND, key=key)

    async def _dispatch(self, request: str, events: list[NewEvent]) -> None:
        dispatched = [
            {"name": event.data["name"], "delay": round(float(event.delay or 0) * SECOND), "key": event.key}  # type: ignore[arg-type]  # seconds
            for event in events
        ]
        self._journal.write("dispatch", request=request, events=dispatched)
        while True:
            client = self._random.choice(self._clients)
            try:
                answers = await client.dispatch_many(TOPIC, events, request_id=request)
            except DueBusError as error:
                self._journal.write("failed", request=request, error=str(error))
            else:
                self._journal.write("accepted", request=request, ids=[answer.event_id for answer in answers])
                return
            await asyncio.sleep(PAUSE_S)


async def main(path: str, seed: str, *addresses: str) -> None:
    """Dispatches until SIGTERM."""
    clients = [open_client(address) for address in addresses]
    name = Path(path).stem  # each process has its own, and so its own events, keys and requests
    producer = Producer(name, Journal(Path(path)), Random(f"{seed}-{name}"), clients)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, producer.stop)
    await producer.run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
