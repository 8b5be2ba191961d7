"""Code shared by the peers' programs in Python. Their sides, arguments and results are those of the roles of DueBus.

A body is text of the asked size that begins with a number of 20 characters: the place of the event, or a time. Every
language can read it, and peers that use JSON carry it unchanged.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

from bench.roles.role import begin, now_s

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

HEAD = 20
"""How many characters of a body are its number."""

Result = dict[str, Any]


def body(number: float, payload: int) -> str:
    """A number, padded to the size of a body."""
    return f"{number:020.9f}".ljust(payload, "x")


class Sender(Protocol):
    """How a peer's client sends. Each call returns when the broker has accepted."""

    async def many(self, bodies: Sequence[str]) -> None:
        """Send these in the fastest way for many."""

    async def one(self, text: str, delay_s: float = 0) -> None:
        """Send one, due after a delay in seconds."""


class ThreadedSender:
    """A sender made of a client that blocks: one thread for many, and as many as there are callers for single ones.

    Args:
        send: sends a body, due after a delay in seconds.
    """

    def __init__(self, send: Callable[[str, float], object]) -> None:
        self._send = send
        self._threads = ThreadPoolExecutor(64)

    async def many(self, bodies: Sequence[str]) -> None:
        """One after the other: these clients have no bulk call."""
        for text in bodies:
            self._send(text, 0)

    async def one(self, text: str, delay_s: float = 0) -> None:
        """In a thread of the pool."""
        await asyncio.get_running_loop().run_in_executor(self._threads, self._send, text, delay_s)

    def spread(self, bodies: Sequence[str], threads: int) -> None:
        """From several threads, each with one call at a time, without an event loop in between."""
        shared = iter(bodies)
        lock = threading.Lock()

        def caller() -> None:
            while True:
                with lock:
                    text = next(shared, None)
                if text is None:
                    return
                self._send(text, 0)

        for waiting in [self._threads.submit(caller) for _ in range(threads)]:
            waiting.result()


class Tally:
    """Counts the deliveries of a worker's handler.

    Args:
        events: how many are to come.
        measure: the figure to record of each: ``latency``, ``lateness`` or nothing.

    Attributes:
        done: set when all have come; for an event loop, see `wait`.
    """

    def __init__(self, events: int, measure: str) -> None:
        self.done = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._all_came = asyncio.Event()
        self._events = events
        self._clock = {"latency": now_s, "lateness": time.time}.get(measure)
        self._lock = threading.Lock()
        self._seen: set[str] = set()
        self._handled = 0
        self._first_s = self._last_s = 0.0
        self._measured: list[float] = []

    def handle(self, text: str) -> None:
        """Count one delivery. Thread-safe."""
        head = text[:HEAD]
        with self._lock:
            if self._clock is not None:
                self._measured.append((self._clock() - float(head)) * 1_000)
            if not self._handled:
                self._first_s = now_s()
            self._handled += 1
            self._seen.add(head)
            if len(self._seen) == self._events:
                self._finish()

    def _finish(self) -> None:
        self._last_s = now_s()
        self.done.set()
        self._loop.call_soon_threadsafe(self._all_came.set)

    async def wait(self) -> None:
        """Return when all have come."""
        await self._all_came.wait()

    def result(self) -> Result:
        """As the worker of DueBus reports it; ``began_s`` and ``ended_s`` are the first and the last handler's."""
        return {
            "began_s": self._first_s,
            "ended_s": self._last_s,
            "handled": self._handled,
            "distinct": len(self._seen),
            "measured": self._measured,
        }


async def produce(sender: Sender, given: dict[str, Any]) -> Result:
    """Send in batches, one by one from many callers, spread over time, or at a pace."""
    events, payload = given["events"], given.get("payload", 200)
    await begin()
    began_s = now_s()
    if given.get("per_second"):
        await _pace(sender, events, payload, given["per_second"])
    elif given.get("delay_s"):
        await _spread(sender, events, payload, given)
    elif given.get("coroutines", 1) > 1:
        await _from_callers(sender, events, payload, given["coroutines"])
    else:
        for bodies in _batches(events, payload, given.get("batch", 500)):
            await sender.many(bodies)
    return {"began_s": began_s, "ended_s": now_s()}


def _batches(events: int, payload: int, batch: int) -> Iterator[list[str]]:
    for first in range(0, events, batch):
        yield [body(index, payload) for index in range(first, min(first + batch, events))]


async def _from_callers(sender: Sender, events: int, payload: int, callers: int) -> None:
    if isinstance(sender, ThreadedSender):
        await asyncio.to_thread(sender.spread, [body(index, payload) for index in range(events)], callers)
        return
    left = iter(range(events))

    async def caller() -> None:
        for index in left:
            await sender.one(body(index, payload))

    await asyncio.gather(*(caller() for _ in range(callers)))


async def _pace(sender: Sender, events: int, payload: int, per_second: float) -> None:
    began_s = now_s()
    for index in range(events):
        await asyncio.sleep(max(0.0, began_s + index / per_second - now_s()))
        await sender.one(body(now_s(), payload))


async def _spread(sender: Sender, events: int, payload: int, given: dict[str, Any]) -> None:
    """From 16 callers, so that even slow clients have sent all events before the first is due."""
    left = iter(range(events))

    async def caller() -> None:
        for index in left:
            delay_s = given["delay_s"] + given["spread_s"] * index / events
            await sender.one(body(time.time() + delay_s, payload), delay_s)

    await asyncio.gather(*(caller() for _ in range(16)))


def play(open_sender: Callable[[str], Awaitable[Sender]], work: Callable[[str, int, Tally], Awaitable[None]]) -> None:
    """Run the side that the command line names, and print the result.

    Args:
        open_sender: from the broker's address to a connected sender.
        work: from the broker's address, how many handlers may run at once, and a tally, to a worker that runs until the
            tally is done.
    """
    given = json.loads(sys.argv[1])
    asyncio.run(_take_side(given, open_sender, work))


async def _take_side(given: dict[str, Any], open_sender: Any, work: Any) -> None:
    """Ends the process directly: with some libraries, the loop would wait forever for one of their reads."""
    if given["side"] == "producer":
        result = await produce(await open_sender(given["address"]), given)
    else:
        tally = Tally(given["events"], given.get("measure", ""))
        await work(given["address"], given["concurrency"], tally)
        result = tally.result()
    print(json.dumps(result), flush=True)  # noqa: T201  # the protocol
    os._exit(0)
