"""Calls one unary method with the same bytes over and over: what gRPC in Python can do, and what the server adds."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import grpc.aio
from bench.roles.role import begin, cpu_s, now_s, play
from duebus.v1 import event_bus_pb2

DISPATCH = "/duebus.v1.EventBus/Dispatch"
ECHO = "/bench.Echo/Unary"


def request(topic: str, events: int, payload: int, engine: str) -> bytes:
    """A Dispatch as it goes over the wire."""
    data = os.urandom(payload)
    made = [event_bus_pb2.Event(data=data) for _ in range(events)]
    message = event_bus_pb2.DispatchRequest(topic=topic, events=made, engines=[f"ENGINE_{engine.upper()}"])
    return message.SerializeToString()


def as_it_is(message: bytes) -> bytes:
    """For gRPC: neither written nor read."""
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
) -> dict[str, Any]:
    """So many calls with ``batch`` events of ``payload`` bytes each, ``in_flight`` of them at a time."""
    message = request(topic, batch, payload, engine)
    async with grpc.aio.insecure_channel(target) as channel:
        unary = channel.unary_unary(method, as_it_is, as_it_is)
        await unary(message)
        await begin()
        began_s, cpu_began_s = now_s(), cpu_s()
        left = iter(range(calls))

        async def caller() -> None:
            for _ in left:
                await unary(message)

        await asyncio.gather(*(caller() for _ in range(in_flight)))
        return {"began_s": began_s, "ended_s": now_s(), "cpu_began_s": cpu_began_s}


if __name__ == "__main__":
    play(call)
