"""Distributed locks: one holder at a time, and an expiry."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import MILLISECOND, MINUTE
from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.engine.redis.locks import HeldLock, Locks
from support.redis_bus import RedisBus, redis_bus, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.redis_server import RedisServer

NAME = "sweep"


async def locks_on(bus: RedisBus) -> Locks:
    return Locks((await bus.replica()).engine._engine._runner)


@pytest.fixture
async def locks(bus: RedisBus) -> Locks:
    return await locks_on(bus)


@pytest.fixture
async def others(bus: RedisBus, locks: Locks) -> Locks:
    """The locks of another replica of the same bus."""
    return await locks_on(bus)


async def acquire(locks: Locks, expiry_us: int = MINUTE) -> HeldLock:
    """Take a lock that is free."""
    lock = await locks.acquire(NAME, expiry_us)
    assert lock is not None
    return lock


async def test_one_holder_at_a_time(locks: Locks, others: Locks) -> None:
    lock = await acquire(locks)
    assert await others.acquire(NAME, MINUTE) is None
    assert await locks.acquire(NAME, MINUTE) is None, "not even the same replica"
    assert await locks.release(lock)
    await acquire(others)


async def test_one_of_many_concurrent_callers_gets_the_lock(locks: Locks, others: Locks) -> None:
    found = await asyncio.gather(*(who.acquire(NAME, MINUTE) for _ in range(50) for who in (locks, others)))
    assert len([lock for lock in found if lock is not None]) == 1


async def test_locks_of_other_names_and_other_buses_are_separate(bus: RedisBus, locks: Locks) -> None:
    await acquire(locks)
    assert await locks.acquire("something else", MINUTE) is not None
    async with redis_bus(bus.url) as another:
        await acquire(await locks_on(another))


async def test_only_the_holder_can_release(locks: Locks, others: Locks) -> None:
    lock = await acquire(locks)
    assert not await others.release(HeldLock(NAME, "guessed"))
    assert await others.acquire(NAME, MINUTE) is None
    assert await locks.release(lock)
    assert not await locks.release(lock)


async def test_a_lock_expires(bus: RedisBus, locks: Locks, others: Locks) -> None:
    lock = await acquire(locks, 50 * MILLISECOND)
    await until(lambda: not bus.raw.exists(bus.namespace + ":{lock:sweep}"), "the lock to expire")
    await acquire(others)
    assert 50_000 < bus.raw.pttl(bus.namespace + ":{lock:sweep}") <= 60_000
    assert not await locks.release(lock)
    assert await locks.acquire(NAME, MINUTE) is None, "the new holder still has it"


HOLDER = """
import asyncio, sys
from duebus_server.domain.clock import SystemClock, SECOND
from duebus_server.domain.views import TopicConfig
from duebus_server.engine.redis import make_redis_engine
from duebus_server.engine.redis.locks import Locks

async def hold():
    engine = make_redis_engine(sys.argv[1], sys.argv[2], SystemClock(), TopicConfig())
    locks = Locks(engine._engine._runner)
    lock = await locks.acquire("sweep", SECOND // 5)
    print("held", flush=True)
    sys.stdin.readline()
    print(await locks.release(lock), flush=True)

asyncio.run(hold())
"""


async def test_a_paused_holder_does_not_release_the_next_holders_lock(bus: RedisBus, locks: Locks) -> None:
    command = [sys.executable, "-c", HOLDER, bus.url, bus.namespace]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as holder:  # noqa: ASYNC220  # starts at once
        assert holder.stdout is not None
        assert await asyncio.to_thread(holder.stdout.readline) == "held\n"
        holder.send_signal(signal.SIGSTOP)
        await until(lambda: not bus.raw.exists(bus.namespace + ":{lock:sweep}"), "the lock to expire")
        second = await acquire(locks)
        holder.send_signal(signal.SIGCONT)
        out, _ = await asyncio.to_thread(holder.communicate, "\n")
        assert out.strip() == "False"
        assert await locks.release(second)


async def test_a_restarted_redis_that_kept_its_data_keeps_the_lock(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis("--appendonly", "yes", "--appendfsync", "always")
    async with redis_bus(server.url) as bus:
        locks = await locks_on(bus)
        lock = await acquire(locks)
        await asyncio.to_thread(server.kill)
        with pytest.raises(DispatcherNotWorking):
            await locks.release(lock)
        await asyncio.to_thread(server.restart)
        assert await locks.acquire(NAME, MINUTE) is None
        assert await locks.release(lock)
        await acquire(locks)
