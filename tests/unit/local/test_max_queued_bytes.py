"""The bytes that the bodies of a local engine may take up, in memory and with a journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR, MINUTE
from duebus_server.domain.errors import MaxQueuedEventsReached
from duebus_server.domain.model import NewEvent
from duebus_server.domain.views import TopicConfig
from support.engines import LocalHarness
from support.topics import TopicDriver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MOST = 1_000


@pytest.fixture(params=["memory", "journal"])
async def harness(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LocalHarness]:
    """An engine that may hold 1,000 bytes."""
    data_dir = tmp_path if request.param == "journal" else None
    harness = LocalHarness(TopicConfig(dedupe_window_us=MINUTE), data_dir, max_queued_bytes=MOST)
    harness.engine.watch(harness.recorder)
    await harness.engine.start()
    yield harness
    await harness.engine.stop()


@pytest.fixture
async def topic(harness: LocalHarness) -> TopicDriver:
    """A topic that a session has joined."""
    driver = TopicDriver(harness)
    await driver.join()
    return driver


def sized(event_id: str, size: int, delay_us: int | None = None) -> NewEvent:
    """An event with a body of this size."""
    return NewEvent(event_id, b"x" * size, delay_us=delay_us)


async def test_it_can_be_filled_to_the_last_byte(topic: TopicDriver) -> None:
    await topic.dispatch(sized("a", 600), sized("b", 400))

    assert isinstance(await topic.try_dispatch(sized("c", 1)), MaxQueuedEventsReached)
    await topic.dispatch(sized("empty", 0))


async def test_over_the_limit_nothing_of_a_request_is_stored(topic: TopicDriver) -> None:
    await topic.dispatch(sized("a", 500))

    refusal = await topic.try_dispatch(sized("b", 400), sized("c", 101))

    assert isinstance(refusal, MaxQueuedEventsReached)
    assert str(refusal) == "engine local holds 500 bytes of event bodies, of at most 1000"
    assert refusal.metadata == {"topic": topic.name, "max_queued_bytes": "1000"}
    assert refusal.retry_after_us == 1_000_000
    assert await topic.queued() == 1


async def test_all_topics_share_the_limit(topic: TopicDriver, harness: LocalHarness) -> None:
    other = TopicDriver(harness)
    await topic.dispatch(sized("a", 600))

    assert isinstance(await other.try_dispatch(sized("b", 500)), MaxQueuedEventsReached)
    await other.dispatch(sized("b", 400))


async def test_groups_share_a_body_and_the_last_one_frees_it(topic: TopicDriver) -> None:
    await topic.join("worker-2", "other")
    await topic.dispatch(sized("a", 900))

    await topic.ack(await topic.lease_one())
    assert isinstance(await topic.try_dispatch(sized("b", 900)), MaxQueuedEventsReached)
    await topic.ack(await topic.lease_one("worker-2", "other"), group="other")
    await topic.dispatch(sized("b", 900))


async def test_duplicates_take_up_nothing(topic: TopicDriver) -> None:
    await topic.dispatch(sized("a", 900))

    answer = await topic.dispatch(sized("a", 900), sized("b", 100))

    assert answer.duplicate_event_ids == ["a"]


async def test_dead_letters_count_until_they_are_purged(topic: TopicDriver) -> None:
    await topic.dispatch(sized("a", 900))
    await topic.dead_letter(await topic.lease_one())
    assert isinstance(await topic.try_dispatch(sized("b", 900)), MaxQueuedEventsReached)

    await topic.purge()

    await topic.dispatch(sized("b", 900))


@pytest.mark.parametrize("way", ["cancel", "delete the group", "delete the topic"])
async def test_what_is_removed_makes_room(topic: TopicDriver, way: str) -> None:
    await topic.dispatch(sized("a", 900, delay_us=HOUR))
    if way == "cancel":
        await topic.cancel("a")
    elif way == "delete the group":
        await topic.delete_group()
    else:
        await topic.delete()

    await topic.dispatch(sized("b", 1_000))


@pytest.mark.parametrize("harness", ["journal"], indirect=True)
async def test_a_restart_counts_what_the_journal_holds(topic: TopicDriver, harness: LocalHarness) -> None:
    await topic.join("worker-2", "other")
    await topic.dispatch(sized("a", 600), sized("far off", 300, delay_us=HOUR))

    topic.engine = await harness.restart()

    assert isinstance(await topic.try_dispatch(sized("b", 101)), MaxQueuedEventsReached)
    await topic.dispatch(sized("b", 100))
