"""Redis is out of memory: dispatches are refused as a whole, and every call that frees memory works."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.administration import DeadLetterFilter
from duebus_server.domain.clock import HOUR, SECOND
from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.domain.states import EventState
from duebus_server.domain.transfer import HeldCopy, HeldEvent
from support.builders import new_event
from support.redis_bus import RedisBus, Replica, redis_bus
from support.topics import ids

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from support.redis_server import RedisServer
    from support.topics import TopicDriver


@pytest.fixture
async def small_bus(start_redis: Callable[..., RedisServer]) -> AsyncIterator[RedisBus]:
    """A bus on the test's own Redis, which may be filled up."""
    async with redis_bus(start_redis().url) as opened:
        yield opened


@pytest.fixture
async def full_topic(small_bus: RedisBus) -> TopicDriver:
    """A topic of two groups with 20 events, of which each group holds five; Redis has no room for another byte."""
    topic = (await small_bus.replica()).topic()
    for group in ("default", "other"):
        await topic.join(group=group)
    await topic.dispatch(*(new_event(f"e{number:02}", body=b"b" * 500) for number in range(20)))
    fill_up(small_bus)
    return topic


def fill_up(bus: RedisBus) -> None:
    """Make Redis refuse commands that need memory."""
    bus.raw.config_set("maxmemory", 1)


async def test_a_dispatch_is_refused_as_a_whole(small_bus: RedisBus, full_topic: TopicDriver) -> None:
    before = small_bus.contents(full_topic.name)
    for events in (["new"], [f"n{number}" for number in range(500)]):
        with pytest.raises(DispatcherNotWorking, match="out of memory") as caught:
            await full_topic.dispatch(*events, request_id="r")
        assert caught.value.retry_after_us == SECOND
    assert small_bus.contents(full_topic.name) == before


async def test_an_import_is_refused_as_a_whole(small_bus: RedisBus, full_topic: TopicDriver) -> None:
    before = small_bus.contents(full_topic.name)
    copies = [HeldCopy(group, EventState.READY, 0) for group in ("default", "other")]
    event = HeldEvent(full_topic.name, "new", b"body", 0, "", None, copies)
    engine = (await small_bus.replica()).engine
    with pytest.raises(DispatcherNotWorking, match="out of memory"):
        await engine.import_events(full_topic.name, [event])
    assert small_bus.contents(full_topic.name) == before


async def test_handling_the_backlog_frees_memory(small_bus: RedisBus, full_topic: TopicDriver) -> None:
    for group in ("default", "other"):
        for _ in range(4):
            held = await full_topic.lease(group=group, max_events=5)
            assert len(held) == 5
            assert await full_topic.extend(*held, group=group) == [None] * 5
            assert await full_topic.ack(*held, group=group) == [None] * 5
        assert await full_topic.counts(group) == {}
    assert small_bus.raw.exists(small_bus.key(full_topic.name, "events"), small_bus.key(full_topic.name, "refs")) == 0
    small_bus.raw.config_set("maxmemory", 0)
    await full_topic.dispatch("room again")


async def test_a_nack_and_a_dead_letter_lose_nothing(small_bus: RedisBus, full_topic: TopicDriver) -> None:
    held = await full_topic.lease(max_events=5)
    assert await full_topic.nack(*held[:2], delay_us=HOUR) == [None, None]
    assert await full_topic.dead_letter(*held[2:4]) == [None, None]
    assert await full_topic.release(held[4]) == [None]
    assert await full_topic.counts() == {EventState.SCHEDULED: 2, EventState.DEAD: 2, EventState.READY: 16}
    assert await full_topic.queued() == 20, "the events that are dead in this group still wait in the other one"


async def test_the_event_of_an_expired_lease_is_ready_again(small_bus: RedisBus, full_topic: TopicDriver) -> None:
    await full_topic.lease(max_events=5)
    await full_topic.shorten(0)
    again = await full_topic.lease(max_events=5)
    assert ids(again) == [f"e{number:02}" for number in range(5)]
    assert {event.attempt for event in again} == {2}


async def test_a_worker_can_subscribe_and_keep_its_leases(small_bus: RedisBus, full_topic: TopicDriver) -> None:
    held = await full_topic.lease(max_events=5)
    other: Replica = await small_bus.replica()
    elsewhere = other.topic(full_topic.name)
    await elsewhere.join("new session")
    adopted = await elsewhere.adopt("new session", *held)
    assert [lease.fencing_token for lease in adopted] == [event.fencing_token for event in held]  # type: ignore[union-attr]
    assert await elsewhere.ack(*held) == [None] * 5


async def test_operators_can_free_memory(small_bus: RedisBus, full_topic: TopicDriver) -> None:
    held = await full_topic.lease(max_events=5)
    assert await full_topic.dead_letter(*held, error="full") == [None] * 5
    await full_topic.configure(lease_us=HOUR)
    await full_topic.configure_group(max_retries=0)
    await full_topic.pause()
    assert await full_topic.lease() == []
    await full_topic.resume()
    assert (await full_topic.redrive(DeadLetterFilter(["e00"]))).moved == 1
    assert await full_topic.reschedule("e00", delay_us=HOUR) == 1
    assert (await full_topic.purge()).moved == 4
    assert (await full_topic.cancel("e05", "e06")).cancelled == 2
    assert await full_topic.counts() == {EventState.READY: 13, EventState.SCHEDULED: 1}
    assert await full_topic.delete_group("other") == 18
    assert await full_topic.queued() == 14
    assert await full_topic.delete() == 14
    assert not [key for key in small_bus.stored_keys() if full_topic.name in key]
