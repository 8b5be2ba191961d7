"""Dispatches an event to each of many topics."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from bench.roles.role import begin, cpu_s, now_s, play
from duebus.aio import Client


async def dispatch_to_each(
    target: str, engine: str, topics: int, delay_s: float, first: int = 0, coroutines: int = 64, payload: int = 200
) -> dict[str, Any]:
    """Dispatch an event to each of ``topics`` topics, due after ``delay_s``; ``first`` is the number of the first."""
    data = os.urandom(payload)
    async with Client(target) as client:
        await begin()
        began_s, cpu_began_s = now_s(), cpu_s()
        left = iter(range(first, first + topics))

        async def caller() -> None:
            for number in left:
                await client.dispatch(f"many.{number}", data, delay=delay_s, engines=[engine])

        await asyncio.gather(*(caller() for _ in range(coroutines)))
        return {"began_s": began_s, "ended_s": now_s(), "cpu_began_s": cpu_began_s}


if __name__ == "__main__":
    play(dispatch_to_each)
