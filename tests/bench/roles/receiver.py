"""Reads the stream of a bare relay: what a worker would be if it only had to listen."""

from __future__ import annotations

from typing import Any

import grpc.aio
from bench.roles.caller import as_it_is
from bench.roles.role import begin, now_s, play
from bench.roles.worker import SENT_AT

RECEIVE = "/bench.Echo/Receive"


async def receive(target: str, messages: int) -> dict[str, Any]:
    """Read this many messages.

    Returns:
        ``measured``: milliseconds from the sender's call to the message, for each.
    """
    async with grpc.aio.insecure_channel(target) as channel:
        stream = channel.unary_stream(RECEIVE, as_it_is, as_it_is)(b"", wait_for_ready=True)
        await begin()
        measured: list[float] = []
        async for message in stream:
            measured.append((now_s() - SENT_AT.unpack_from(message)[0]) * 1_000)
            if len(measured) == messages:
                break
        return {"measured": measured}


if __name__ == "__main__":
    play(receive)
