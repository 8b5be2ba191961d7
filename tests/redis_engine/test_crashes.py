"""Redis dies in the middle of a script, or together with a server and its worker."""

from __future__ import annotations

import asyncio
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.domain.model import DispatchAnswer
from support.builders import new_event, unique_name
from support.redis_bus import redis_bus
from support.wire import connect, figure, ids

if TYPE_CHECKING:
    from collections.abc import Callable

    from duebus_server.domain.model import NewEvent
    from support.redis_server import RedisServer
    from support.server_process import ServerProcess

CRASHES = 12
MANY = 1_000
LEASES = 64
WITHIN_S = 20.0
"""The lapse of a replica, which the other can judge only after reaching Redis for as long, and the restart."""


@pytest.fixture
def durable(start_redis: Callable[..., RedisServer]) -> RedisServer:
    """A Redis that loses nothing in a crash."""
    return start_redis("--appendonly", "yes", "--appendfsync", "always")


async def test_a_dispatch_during_a_crash_of_redis_is_stored_wholly_or_not_at_all(durable: RedisServer) -> None:
    answered, stored = 0, 1
    async with redis_bus(durable.url) as bus:
        topic = (await bus.replica()).topic()
        for group in ("one", "two"):
            await topic.join(group=group)
        began = time.monotonic()
        await topic.dispatch(*batch())
        took_s = time.monotonic() - began
        for crash in range(CRASHES):
            dispatching = asyncio.create_task(topic.dispatch(*batch()))
            await asyncio.sleep(took_s * crash / CRASHES)
            await asyncio.to_thread(durable.kill)
            (outcome,) = await asyncio.gather(dispatching, return_exceptions=True)
            check_aof(durable)
            await asyncio.to_thread(durable.restart)
            assert isinstance(outcome, DispatchAnswer | DispatcherNotWorking)
            was_answered = isinstance(outcome, DispatchAnswer)
            with bus.raw.pipeline(transaction=True) as reading:  # all of one moment
                for name in ("events", "refs"):
                    reading.hlen(bus.key(topic.name, name))
                for group in ("one", "two"):
                    reading.zcard(bus.key(topic.name, f"group:{group}:waiting"))
                counts = reading.execute()
            held = counts[0]
            assert counts == [held] * 4
            assert held % MANY == 0
            assert held // MANY - stored in ({1} if was_answered else {0, 1})
            answered, stored = answered + was_answered, held // MANY
        figure(f"{CRASHES} crashes under a dispatch: {stored - 1} were stored, of which {answered} were answered")


def check_aof(killed: RedisServer) -> None:
    """Remove a transaction that the crash has cut off, as docs/redis.md says.

    Redis itself leaves the MULTI and the whole commands behind it in the file, and carries them out when it loads the
    file the next time, with the EXEC of the next transaction (seen with 7.0.15).
    """
    manifest = killed.directory / "appendonlydir" / "appendonly.aof.manifest"
    subprocess.run(["redis-check-aof", "--fix", str(manifest)], input=b"y\n", stdout=subprocess.DEVNULL, check=True)


def batch() -> list[NewEvent]:
    return [new_event(body=b"b" * 2_000) for _ in range(MANY)]


async def test_redis_a_server_and_its_worker_die_at_the_same_time(
    durable: RedisServer, start_server: Callable[..., ServerProcess]
) -> None:
    flags = ("--engine", "redis", "--redis-url", durable.url)
    first, other = start_server(*flags), start_server(*flags)
    topic = unique_name()
    names = [f"e{number:02}" for number in range(LEASES)]
    async with connect(first.address) as here, connect(other.address) as there:
        await here.dispatch(topic, *names)
        held = await (await here.subscribe(topic)).take(LEASES)
        idle = await there.subscribe(topic)
        killed = time.monotonic()
        durable.kill()
        first.kill()
        await asyncio.to_thread(durable.restart)
        again = await asyncio.wait_for(idle.take(LEASES), WITHIN_S)
        took_s = time.monotonic() - killed
        figure(f"{LEASES} leases of a server that died with Redis were with another after {took_s:.2f} s")
        assert sorted(ids(held)) == sorted(ids(again)) == names
        assert {delivery.attempt for delivery in again} == {2}
        assert took_s < WITHIN_S
