"""The list of topics: a page costs what its length costs, and does not block the loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.administration import TopicChanges
from duebus_server.domain.clock import ManualClock
from duebus_server.domain.model import DispatchRequest, SubscriberInfo
from duebus_server.domain.views import TopicConfig
from duebus_server.engine.local import LocalEngine
from duebus_server.engine.local.topics import TOPICS_AT_ONCE
from support.builders import new_event
from support.engines import START_US

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TOPICS = 5 * TOPICS_AT_ONCE
NAMES = [f"topic-{number:04}" for number in range(TOPICS)]


@pytest.fixture
async def engine() -> AsyncIterator[LocalEngine]:
    engine = LocalEngine(ManualClock(START_US), TopicConfig())
    await engine.start()
    for name in reversed(NAMES):
        await engine.join(name, "default", SubscriberInfo("session", "", START_US))
    yield engine
    await engine.stop()


async def test_other_tasks_run_while_a_long_page_is_read(engine: LocalEngine) -> None:
    listing = asyncio.create_task(engine.list_topics("", TOPICS))
    turns = 0
    while not listing.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns >= TOPICS // TOPICS_AT_ONCE
    assert [info.topic for info in await listing] == NAMES


async def test_a_topic_deleted_while_a_page_is_read_does_not_shorten_the_page(engine: LocalEngine) -> None:
    """A client takes a page that is not full for the last one."""
    listing = asyncio.create_task(engine.list_topics("", TOPICS - 10))
    await asyncio.sleep(0)
    await asyncio.gather(*[engine.delete_topic(name) for name in NAMES[-20:-15]])
    names = [info.topic for info in await listing]
    assert names == [*NAMES[:-20], *NAMES[-15:-5]]


async def test_created_and_deleted_topics_are_listed_correctly(engine: LocalEngine) -> None:
    for name in NAMES[::2]:
        await engine.delete_topic(name)
    await engine.join("a", "default", SubscriberInfo("session", "", START_US))
    assert [info.topic for info in await engine.list_topics("", 3)] == ["a", *NAMES[1:4:2]]
    assert [info.topic for info in await engine.list_topics(NAMES[2], 2)] == NAMES[3:6:2]
    assert await engine.list_topics(NAMES[-1], 5) == []


async def test_a_list_during_the_deletion_of_the_last_group_does_not_leave_its_backlog_on_the_list() -> None:
    engine = LocalEngine(ManualClock(START_US), TopicConfig())
    await engine.start()
    await engine.configure_topic("orders", TopicChanges(max_queued=20_000))
    await engine.join("orders", "default", SubscriberInfo("session", "", START_US))
    await engine.leave("orders", "default", "session")
    await engine.dispatch("orders", [DispatchRequest([new_event(f"e{number}") for number in range(10_000)])])
    deleting = asyncio.create_task(engine.delete_group("orders", "default"))
    await asyncio.sleep(0)
    assert [info.queued > 0 for info in await engine.list_topics("", 1)] == [True], "a piece is not released yet"
    await deleting
    assert [info.queued for info in await engine.list_topics("", 1)] == [0]
    await engine.stop()
