"""Who serves an engine, and the state of what it stores events in."""

from __future__ import annotations

import os
import socket
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import DispatcherNotWorking

if TYPE_CHECKING:
    from support.engines import Harness
    from support.topics import TopicDriver


async def test_the_replica_that_is_asked_is_alive(harness: Harness) -> None:
    info = await harness.engine.describe()

    (this,) = info.replicas
    assert this.is_this
    assert (this.place, this.version) == (f"{socket.gethostname()}:{os.getpid()}", version("duebus"))
    assert this.since_us is not None
    assert abs(this.since_us - harness.engine.wall_us()) < 60 * SECOND


async def test_an_engine_stores_events_in_redis_or_a_journal_or_in_memory(
    harness: Harness, joined: TopicDriver
) -> None:
    await joined.dispatch("event")

    info = await harness.engine.describe()

    assert bool(info.redis) == (joined.engine.name == "redis")
    assert (info.journal is not None) == harness.can_restart
    if info.redis:
        (server,) = info.redis
        assert (server.role, server.replicas, server.policy) == ("master", 0, "noeviction")
        assert server.version[0].isdigit()
        assert server.memory_bytes > 0
        assert info.layout == info.replicas[0].layout == 1
    if info.journal is not None:
        journal = info.journal
        assert (journal.fsync, journal.space) == ("everysec", "ample")
        assert 0 < journal.live_bytes <= journal.size_bytes
        assert journal.segments >= 1
        assert journal.oldest_us > 0


async def test_an_engine_that_is_not_started_can_not_be_described(harness: Harness) -> None:
    with pytest.raises(DispatcherNotWorking):
        await harness.unstarted().describe()
