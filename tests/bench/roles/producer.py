"""Dispatches events: in batches one after the other, or one by one from many coroutines."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from bench.roles.role import begin, cpu_s, now_s, play
from duebus import NewEvent
from duebus.aio import Client


async def produce(
    target: str,
    topic: str,
    events: int,
    engine: str,
    batch: int = 500,
    payload: int = 200,
    coroutines: int = 1,
    delay_s: float = 0,
    spread_s: float = 0,
    content_type: str | None = None,
    keys: int = 0,
) -> dict[str, Any]:
    """Dispatch events.

    Args:
        target: the server.
        topic: the topic.
        events: how many.
        engine: which engine.
        batch: how many events a call has; with 1, each is acknowledged to its own caller.
        payload: the size of each, in bytes.
        coroutines: how many callers there are, each with one call at a time.
        delay_s: the events are due this many seconds later...
        spread_s: ...and up to this many more, evenly spread.
        content_type: the media type; None: the client's default for bytes.
        keys: how many keys the events have, in turns; 0: none. Only in batches.
    """
    data = os.urandom(payload)
    async with Client(target) as client:
        await begin()
        began_s, cpu_began_s = now_s(), cpu_s()
        left = iter(range(0, events, batch))

        def event(index: int) -> NewEvent:
            delay_of_it_s = delay_s + spread_s * index / events
            key = f"key-{index % keys}" if keys else ""
            return NewEvent(data=data, delay=delay_of_it_s or None, content_type=content_type, key=key)

        async def caller() -> None:
            for first in left:
                if batch == 1:
                    await client.dispatch(topic, data, engines=[engine])
                else:
                    made = [event(index) for index in range(first, min(first + batch, events))]
                    await client.dispatch_many(topic, made, engines=[engine])

        await asyncio.gather(*(caller() for _ in range(coroutines)))
        return {"began_s": began_s, "ended_s": now_s(), "cpu_began_s": cpu_began_s}


if __name__ == "__main__":
    play(produce)
