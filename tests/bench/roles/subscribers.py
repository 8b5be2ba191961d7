"""Holds many subscriptions open, and settles nothing."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from bench.roles.role import begin, play
from duebus import Started
from duebus.aio import Client

OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)
"""Otherwise gRPC shares one connection among all channels of a process to the same target."""


async def hold(
    target: str, engine: str, subscriptions: int, connections: int = 10, topics: str = "idle"
) -> dict[str, Any]:
    """Open subscriptions, each on its own topic, over several connections. Close them when a second line comes in."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(target, options=OWN_CONNECTION)) for _ in range(connections)]

        async def subscribe(place: int) -> None:
            for number in range(place, subscriptions, connections):
                stream = await stack.enter_async_context(clients[place].subscribe(f"{topics}.{number}", engine=engine))
                frame = await anext(aiter(stream.frames()))
                if not isinstance(frame, Started):
                    raise TypeError(f"expected the first frame, got {frame}")

        await begin()
        await asyncio.gather(*map(subscribe, range(connections)))
        await begin()
        return {"subscriptions": subscriptions}


if __name__ == "__main__":
    play(hold)
