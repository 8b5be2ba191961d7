"""The engine reports when there is next something to lease, so that nothing needs to poll."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duebus_server.domain.clock import HOUR, MINUTE, SECOND
from duebus_server.domain.model import DEFAULT_GROUP
from support.builders import new_event

if TYPE_CHECKING:
    from support.engines import Harness
    from support.topics import TopicDriver


async def reported_due(topic: TopicDriver) -> int | None:
    """The ``next_due`` of a batch without events."""
    asked = await topic.next_due()
    batch = await topic.lease_batch(max_events=0)
    assert batch.events == []
    assert batch.next_due_us == asked
    return asked


async def test_next_due_without_events(joined: TopicDriver) -> None:
    assert await reported_due(joined) is None


async def test_next_due_of_an_unknown_topic_or_group(topic: TopicDriver) -> None:
    assert await topic.next_due() is None
    await topic.dispatch("event")
    assert await topic.next_due("unknown") is None


async def test_next_due_is_that_of_a_scheduled_event(harness: Harness, joined: TopicDriver) -> None:
    deliver_at_us = harness.now_us() + MINUTE
    await joined.dispatch(new_event(deliver_at_us=deliver_at_us + SECOND), new_event(deliver_at_us=deliver_at_us))

    assert await reported_due(joined) == deliver_at_us


async def test_next_due_of_a_ready_event_has_passed(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch("event", new_event(delay_us=HOUR))
    await harness.advance(SECOND)

    due_us = await reported_due(joined)

    assert due_us is not None
    assert due_us <= harness.now_us()


async def test_next_due_is_the_expiry_of_a_lease(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch("event", new_event(delay_us=HOUR))
    await joined.lease_one(lease_us=MINUTE)

    assert harness.near(harness.now_us() + MINUTE)(await reported_due(joined))


async def test_next_due_is_the_earliest_due_time_or_expiry(harness: Harness, joined: TopicDriver) -> None:
    start_us = harness.now_us()
    await joined.dispatch("event", new_event(deliver_at_us=start_us + 10 * SECOND))
    await joined.lease_one(lease_us=20 * SECOND)
    assert await reported_due(joined) == start_us + 10 * SECOND

    await harness.advance(10 * SECOND)
    await joined.lease_one(lease_us=HOUR)
    assert harness.near(start_us + 20 * SECOND)(await reported_due(joined))


async def test_an_extension_moves_next_due(harness: Harness, joined: TopicDriver) -> None:
    start_us = harness.now_us()
    await joined.dispatch("event")
    lease = await joined.lease_one(lease_us=SECOND)

    await joined.extend(lease, lease_us=MINUTE)

    assert harness.near(start_us + MINUTE)(await reported_due(joined))


async def test_a_shortened_lease_moves_next_due(harness: Harness, joined: TopicDriver) -> None:
    start_us = harness.now_us()
    await joined.dispatch("event")
    await joined.lease_one(lease_us=HOUR)

    await joined.shorten(SECOND)

    assert harness.near(start_us + SECOND)(await reported_due(joined))


async def test_a_nacked_event_is_due_after_its_delay(harness: Harness, joined: TopicDriver) -> None:
    start_us = harness.now_us()
    await joined.dispatch("event")

    await joined.nack(await joined.lease_one(), delay_us=MINUTE)

    assert harness.near(start_us + MINUTE)(await reported_due(joined))


async def test_a_released_event_is_due_already(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch("event")

    await joined.release(await joined.lease_one())

    due_us = await reported_due(joined)
    assert due_us is not None
    assert due_us <= harness.now_us()


async def test_acked_and_dead_events_are_not_due(joined: TopicDriver) -> None:
    await joined.dispatch("done", "dead")
    done, dead = await joined.lease()

    await joined.ack(done)
    await joined.dead_letter(dead)

    assert await reported_due(joined) is None


async def test_each_group_has_its_own_next_due(harness: Harness, topic: TopicDriver) -> None:
    await topic.join("one", "left")
    await topic.join("two", "right")
    await topic.dispatch("event")

    await topic.ack(await topic.lease_one("one", "left"), group="left")

    assert await topic.next_due("left") is None
    due_us = await topic.next_due("right")
    assert due_us is not None
    assert due_us <= harness.now_us()


async def test_the_first_group_is_told_of_events_that_waited_for_it(harness: Harness, topic: TopicDriver) -> None:
    deliver_at_us = harness.now_us() + MINUTE
    await topic.dispatch(new_event(deliver_at_us=deliver_at_us))

    await topic.join()

    assert await reported_due(topic) == deliver_at_us


async def test_the_backlog_counts_ready_events(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch("a", "b", "c", new_event(delay_us=MINUTE))
    await joined.lease(max_events=1, lease_us=HOUR)
    assert await joined.engine.backlog(joined.name, DEFAULT_GROUP) == 2

    await harness.advance(MINUTE)
    assert await joined.engine.backlog(joined.name, DEFAULT_GROUP) == 3

    await harness.advance(HOUR)
    assert await joined.engine.backlog(joined.name, DEFAULT_GROUP) == 4


async def test_work_counts_leased_and_ready_events(harness: Harness, joined: TopicDriver) -> None:
    name = joined.name
    assert await joined.engine.work([(name, DEFAULT_GROUP), (name, "")]) == [0, 0]
    await joined.dispatch("a", "b", "c", new_event(delay_us=MINUTE))
    await joined.lease(max_events=1, lease_us=HOUR)
    assert await joined.engine.work([(name, DEFAULT_GROUP), (name, "")]) == [3, 0]

    await harness.advance(MINUTE)
    assert await joined.engine.work([(name, DEFAULT_GROUP)]) == [4]

    await joined.pause()
    assert await joined.engine.work([(name, DEFAULT_GROUP)]) == [1], "what is leased is being handled"


async def test_work_counts_events_that_wait_for_the_first_group(topic: TopicDriver) -> None:
    await topic.dispatch("a", "b", new_event(delay_us=MINUTE))
    groups = [(topic.name, ""), (topic.name, DEFAULT_GROUP), ("nobody.knows", "")]
    assert await topic.engine.work(groups) == [2, 0, 0]


async def test_an_unknown_group_has_no_backlog(topic: TopicDriver) -> None:
    assert await topic.engine.backlog(topic.name, DEFAULT_GROUP) == 0
