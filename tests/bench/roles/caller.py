"""Calls one unary method with the same bytes, repeatedly or at a pace: what gRPC can do, and what the server adds."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import grpc.aio
from bench.roles.role import begin, cpu_s, now_s, play
from bench.roles.worker import SENT_AT
from duebus.v1 import event_bus_pb2

DISPATCH = "/duebus.v1.EventBus/Dispatch"
ECHO = "/bench.Echo/Unary"
ECHO_STREAM = "/bench.Echo/Stream"
SEND = "/bench.Echo/Send"
COUNT_BYTES = 4
"""A prefix that tells the stream how many times to answer."""


def request(topic: str, events: int, payload: int, engine: str) -> bytes:
    """A Dispatch as it goes over the wire."""
    data = os.urandom(payload)
    made = [event_bus_pb2.Event(data=data) for _ in range(events)]
    message = event_bus_pb2.DispatchRequest(topic=topic, events=made, engines=[f"ENGINE_{engine.upper()}"])
    return message.SerializeToString()


def as_it_is(message: bytes) -> bytes:
    """No serialization: gRPC passes the bytes through."""
    return message


async def call(
    target: str,
    topic: str,
    calls: int,
    engine: str,
    method: str = DISPATCH,
    batch: int = 1,
    in_flight: int = 64,
    payload: int = 200,
    per_second: float = 0,
    streamed: int = 0,
) -> dict[str, Any]:
    """Make calls with ``batch`` events of ``payload`` bytes each.

    Args:
        in_flight: how many calls run at a time...
        per_second: ...or, unless 0, how many are made a second, one by one, each with its time as its first bytes.
        streamed: unless 0, how many messages answer each call; the calls follow one another.

    Returns:
        ``measured``: milliseconds from each call to its answer, of calls at a pace.
    """
    message = request(topic, batch, payload, engine)
    async with grpc.aio.insecure_channel(target) as channel:
        unary = channel.unary_unary(method, as_it_is, as_it_is)
        if not streamed:
            await unary(message)
        await begin()
        began_s, cpu_began_s = now_s(), cpu_s()
        left = iter(range(calls))
        measured: list[float] = []

        async def caller() -> None:
            for _ in left:
                await unary(message)

        async def paced() -> None:
            for index in left:
                await asyncio.sleep(max(0.0, began_s + index / per_second - now_s()))
                called_s = now_s()
                await unary(SENT_AT.pack(called_s) + message[SENT_AT.size :])
                measured.append((now_s() - called_s) * 1_000)

        async def streams() -> None:
            stream = channel.unary_stream(method, as_it_is, as_it_is)
            for _ in left:
                async for _ in stream(streamed.to_bytes(COUNT_BYTES) + message):
                    pass

        if streamed:
            await streams()
            return {"began_s": began_s, "ended_s": now_s(), "cpu_began_s": cpu_began_s, "measured": measured}
        await (paced() if per_second else asyncio.gather(*(caller() for _ in range(in_flight))))
        return {"began_s": began_s, "ended_s": now_s(), "cpu_began_s": cpu_began_s, "measured": measured}


if __name__ == "__main__":
    play(call)
