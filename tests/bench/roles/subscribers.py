"""Holds many subscriptions open on which nothing happens."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

from bench.roles.role import begin, play
from duebus import Started
from duebus.aio import Client


async def hold(target: str, engine: str, subscriptions: int, connections: int = 10) -> dict[str, Any]:
    """Open subscriptions, each on its own topic, over several connections. Close them when a second line comes in."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(target)) for _ in range(connections)]
        await begin()
        for number in range(subscriptions):
            client = clients[number % connections]
            stream = await stack.enter_async_context(client.subscribe(f"idle.{number}", engine=engine))
            frame = await anext(aiter(stream.frames()))
            if not isinstance(frame, Started):
                raise TypeError(f"expected the first frame, got {frame}")
        await begin()
        return {"subscriptions": subscriptions}


if __name__ == "__main__":
    play(hold)
