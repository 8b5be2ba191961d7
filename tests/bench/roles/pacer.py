"""Dispatches single events at a steady pace, each with the time of its dispatch in its payload."""

from __future__ import annotations

import asyncio
from typing import Any

from bench.roles.role import begin, now_s, play
from bench.roles.worker import SENT_AT
from duebus.aio import Client


async def pace(
    target: str, topic: str, events: int, engine: str, per_second: float, payload: int = 200
) -> dict[str, Any]:
    """Dispatch events of ``payload`` bytes, ``per_second`` a second."""
    rest = bytes(payload - SENT_AT.size)
    async with Client(target) as client:
        await begin()
        began_s = now_s()
        for index in range(events):
            await asyncio.sleep(max(0.0, began_s + index / per_second - now_s()))
            await client.dispatch(topic, SENT_AT.pack(now_s()) + rest, engines=[engine])
        return {"began_s": began_s, "ended_s": now_s()}


if __name__ == "__main__":
    play(pace)
