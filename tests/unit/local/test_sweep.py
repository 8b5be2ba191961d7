"""The local engine's sweep."""

from __future__ import annotations

import asyncio

from duebus_server.domain.clock import ManualClock
from duebus_server.domain.model import SubscriberInfo
from duebus_server.domain.views import TopicConfig
from duebus_server.engine.local import LocalEngine
from duebus_server.engine.local.topics import TOPICS_AT_ONCE

NOW_US = 1_795_470_958_203_782
TURNS = 10


async def test_other_tasks_run_during_a_sweep_of_many_topics() -> None:
    engine = LocalEngine(ManualClock(NOW_US), TopicConfig())
    await engine.start()
    for number in range(TURNS * TOPICS_AT_ONCE):
        await engine.join(f"topic-{number}", "default", SubscriberInfo("session", "", NOW_US))

    sweep = asyncio.create_task(engine.expire_leases())
    turns = 0
    while not sweep.done():
        await asyncio.sleep(0)
        turns += 1

    assert turns > TURNS
    await sweep
