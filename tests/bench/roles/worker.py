"""Handles a number of events with a handler that only records what is measured."""

from __future__ import annotations

import asyncio
import struct
import time
from typing import TYPE_CHECKING, Any

from bench.roles.role import begin, cpu_s, now_s, play
from duebus import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from duebus import Delivery

SENT_AT = struct.Struct(">d")
"""The prefix of a timed payload: ``now_s()`` when its dispatch was called."""


def since_dispatch_ms(delivery: Delivery) -> float:
    """From the call of dispatch to the handler, in milliseconds."""
    return float(now_s() - SENT_AT.unpack_from(delivery.data)[0]) * 1_000


def lateness_ms(delivery: Delivery) -> float:
    """How long after its due time the handler started, in milliseconds; negative if early."""
    return (time.time() - delivery.deliver_at.timestamp()) * 1_000


MEASURES: dict[str, Callable[[Delivery], float]] = {"latency": since_dispatch_ms, "lateness": lateness_ms}


async def work(
    target: str,
    topic: str,
    events: int,
    engine: str,
    concurrency: int,
    group: str = "",
    measure: str = "",
    handler_s: float = 0,
) -> dict[str, Any]:
    """Handle the events, and drain.

    Args:
        target: the server.
        topic: the topic.
        events: how many are to come.
        engine: which engine.
        concurrency: deliveries handled at once.
        group: the group.
        measure: the figure to record of each delivery: ``latency``, ``lateness`` or nothing.
        handler_s: how long each handler takes.

    Returns:
        ``ended_s``: when the last ack was confirmed. ``handled``: how many deliveries arrived. ``distinct``: of how
        many events. ``at_once``: the most handlers at a time. ``measured``: milliseconds for each delivery.
    """
    worker = Worker(target, engine=engine, concurrency=concurrency, group=group)
    done = asyncio.Event()
    handled = running = at_once = 0
    seen: set[str] = set()
    measured: list[float] = []
    note = MEASURES.get(measure)

    async def handler(delivery: Delivery) -> None:
        nonlocal handled, running, at_once
        if note is not None:
            measured.append(note(delivery))
        handled += 1
        if handler_s:
            running += 1
            at_once = max(at_once, running)
            await asyncio.sleep(handler_s)
            running -= 1
        seen.add(delivery.event_id)
        if len(seen) == events:
            done.set()

    worker.add(topic, handler)
    serving = asyncio.create_task(worker.serve())
    await worker.ready()
    await begin()
    cpu_began_s = cpu_s()
    await done.wait()
    await worker.stop()
    ended_s = now_s()
    await serving
    return {
        "ended_s": ended_s,
        "handled": handled,
        "distinct": len(seen),
        "at_once": at_once,
        "measured": measured,
        "cpu_began_s": cpu_began_s,
    }


if __name__ == "__main__":
    play(work)
