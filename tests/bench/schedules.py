"""What schedules cost: a server that only fires them, and how late other events are while many fire at once.

    PYTHONPATH=tests .venv/bin/python -m bench.schedules --engines local redis

Prints the share of a core that the server and Redis use, and the lateness of other events.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from statistics import quantiles
from typing import NamedTuple

import grpc
import grpc.aio
from bench.system import System
from duebus.aio import Client
from duebus.v1 import event_bus_pb2, schedules_pb2, schedules_pb2_grpc

Figures = dict[str, float]

TOPIC, OTHERS = "scheduled", "others"
PUT_AT_ONCE = 16
TIMEOUT_S = 30
SPREAD_S = 60
"""The schedules of the idle server fire each minute, spread over it by their jitter, or all at once."""

BURST_EVERY_S = 5
PACE_S = 0.01
"""How often one of the other events is dispatched."""
DELAY_S = 0.3
"""Their delay."""


class Size(NamedTuple):
    """How much is measured.

    Attributes:
        idle: the schedules of the idle server.
        settle_s: how long they fire before anything is measured, so that each has fired.
        idle_s: how long its CPU time is measured.
        burst: how many schedules fire at once.
        burst_s: how long the lateness of other events is measured.
    """

    idle: int
    settle_s: float
    idle_s: float
    burst: int
    burst_s: float


FULL = Size(10_000, 60, 60, 1_000, 30)
QUICK = Size(20, 0, 0.5, 20, 1)


async def put(address: str, schedules: list[schedules_pb2.Schedule]) -> None:
    """Put schedules, some at a time."""
    limit = asyncio.Semaphore(PUT_AT_ONCE)
    async with grpc.aio.insecure_channel(address) as channel:
        stub = schedules_pb2_grpc.EventBusSchedulesStub(channel)  # type: ignore[no-untyped-call]  # generated

        async def put_one(schedule: schedules_pb2.Schedule) -> None:
            async with limit:
                await stub.PutSchedule(schedules_pb2.PutScheduleRequest(schedule=schedule), timeout=TIMEOUT_S)

        await asyncio.gather(*map(put_one, schedules))


def schedules_of(count: int, cron: str, jitter_s: int = 0) -> list[schedules_pb2.Schedule]:
    """Schedules with the same rule."""
    event = event_bus_pb2.Event(data=b"x" * 200, content_type="application/octet-stream")
    made = [
        schedules_pb2.Schedule(name=f"schedule-{number}", topic=TOPIC, event=event, cron=cron)
        for number in range(count)
    ]
    for schedule in made if jitter_s else ():
        schedule.jitter.FromSeconds(jitter_s)
    return made


def idle(engine: str, size: Size, jitter_s: int) -> Figures:
    """The share of a core that a server uses that only fires schedules, and without any."""
    with System(engine) as system:
        without = _share_of_core(system, size.idle_s / 2)
        asyncio.run(put(system.server.address, schedules_of(size.idle, "* * * * *", jitter_s)))
        time.sleep(size.settle_s)
        used = _share_of_core(system, size.idle_s)
    return {
        **{f"{name}_percent": 100 * share for name, share in used.items()},
        **{f"{name}_without_percent": 100 * share for name, share in without.items()},
    }


def _share_of_core(system: System, seconds: float) -> dict[str, float]:
    before, began = system.cpu_s(), time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    return {name: (used - before[name]) / took for name, used in system.cpu_s().items()}


def burst(engine: str, size: Size) -> Figures:
    """How late other events are, without schedules and while many fire in the same second."""
    with System(engine) as system:
        address = system.server.address
        calm = asyncio.run(lateness_of_others(address, size.burst_s))
        asyncio.run(put(address, schedules_of(size.burst, f"*/{BURST_EVERY_S} * * * * *")))
        busy = asyncio.run(lateness_of_others(address, size.burst_s))
    return {**_percentiles("calm", calm), **_percentiles("burst", busy)}


async def lateness_of_others(address: str, seconds: float) -> list[float]:
    """How late delayed events of another topic come, in milliseconds."""
    late: list[float] = []
    async with Client(address, timeout=TIMEOUT_S) as client:
        count = max(1, round(seconds / PACE_S))
        async with client.subscribe(OTHERS) as subscription:
            receiving = asyncio.create_task(_receive(client, subscription, count, late))
            began = time.monotonic()
            for number in range(count):
                await asyncio.sleep(max(0.0, began + number * PACE_S - time.monotonic()))
                await client.dispatch(OTHERS, b"other", delay=DELAY_S)
            async with asyncio.timeout(TIMEOUT_S):
                await receiving
    return late


async def _receive(client: Client, subscription: object, count: int, late: list[float]) -> None:
    async for delivery in subscription:  # type: ignore[attr-defined]
        late.append((time.time() - delivery.deliver_at.timestamp()) * 1_000)
        await client.ack([delivery.lease_token])
        if len(late) == count:
            return


def _percentiles(name: str, late: list[float]) -> Figures:
    of_hundred = quantiles(late, n=100)
    return {f"{name}_p50_ms": of_hundred[49], f"{name}_p99_ms": of_hundred[98], f"{name}_max_ms": max(late)}


def measure(engine: str, size: Size) -> dict[str, Figures]:
    """All figures of an engine."""
    return {
        "idle, spread over the minute": idle(engine, size, SPREAD_S),
        "idle, all at once": idle(engine, size, 0),
        "others, while many fire": burst(engine, size),
    }


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", nargs="+", default=["local", "redis"])
    parser.add_argument("--quick", action="store_true", help="only check that it runs")
    options = parser.parse_args()
    for engine in options.engines:
        for name, figures in measure(engine, QUICK if options.quick else FULL).items():
            shown = ", ".join(f"{figure} {value:.2f}" for figure, value in figures.items())
            sys.stdout.write(f"{engine}: {name}: {shown}\n")


if __name__ == "__main__":
    main()
