"""A paused group gets nothing and loses nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import MINUTE, SECOND
from duebus_server.domain.errors import NotFound
from duebus_server.domain.model import DEFAULT_GROUP
from duebus_server.domain.states import EventState
from support.builders import new_event
from support.topics import WORKER, ids

if TYPE_CHECKING:
    from support.engines import Harness
    from support.topics import TopicDriver


async def test_nothing_is_leased_to_a_paused_group(joined: TopicDriver) -> None:
    await joined.dispatch("before")

    await joined.pause()
    await joined.dispatch("after")

    batch = await joined.lease_batch()
    assert (list(batch.events), batch.next_due_us, batch.has_more) == ([], None, False)
    assert batch.is_paused
    assert await joined.next_due() is None
    assert await joined.counts() == {EventState.READY: 2}


async def test_a_paused_group_shows_its_state_and_its_events(joined: TopicDriver) -> None:
    await joined.dispatch("event")
    assert not (await joined.group()).paused

    await joined.pause()

    assert (await joined.group()).paused
    assert await joined.engine.backlog(joined.name, DEFAULT_GROUP) == 1
    assert [subscriber.session_id for subscriber in (await joined.group()).subscribers] == [WORKER]


@pytest.mark.within_a_partition("§3.4: order holds within each partition")
async def test_a_resumed_group_gets_the_events_that_waited(harness: Harness, joined: TopicDriver) -> None:
    await joined.pause()
    await joined.dispatch("a", new_event("later", delay_us=SECOND))
    await harness.advance(2 * SECOND)
    await joined.dispatch("b")

    await joined.resume()

    assert not (await joined.group()).paused
    assert ids(await joined.lease_all()) == ["a", "later", "b"]


async def test_pausing_wakes_waiting_sessions(harness: Harness, joined: TopicDriver) -> None:
    assert not (await joined.lease_batch()).is_paused
    harness.recorder.forget()

    await joined.pause()

    await harness.recorder.until_due(joined.name, DEFAULT_GROUP, lambda at_us: at_us <= harness.now_us())
    assert (await joined.lease_batch()).is_paused
    await joined.resume()
    assert not (await joined.lease_batch()).is_paused


async def test_resuming_tells_waiting_sessions_at_once(harness: Harness, joined: TopicDriver) -> None:
    await joined.pause()
    await joined.dispatch("event")
    harness.recorder.forget()

    await joined.resume()

    await harness.recorder.until_due(joined.name, DEFAULT_GROUP, lambda at_us: at_us <= harness.now_us(), "due now")


async def test_leases_of_a_paused_group_can_be_settled(joined: TopicDriver) -> None:
    await joined.dispatch("acked", "nacked", "extended")
    acked, nacked, extended = await joined.lease()

    await joined.pause()

    assert await joined.ack(acked) == [None]
    assert await joined.nack(nacked, delay_us=0) == [None]
    assert await joined.extend(extended, lease_us=MINUTE) == [None]
    assert await joined.counts() == {EventState.READY: 1, EventState.LEASED: 1}


async def test_leases_of_a_paused_group_still_run_out(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch("event")
    await joined.lease_one(lease_us=SECOND)

    await joined.pause()
    await harness.advance(SECOND)
    await joined.engine.expire_leases()

    assert await joined.counts() == {EventState.READY: 1}
    assert await joined.lease() == []


async def test_other_groups_are_not_affected(topic: TopicDriver) -> None:
    await topic.join("one", "left")
    await topic.join("two", "right")
    await topic.pause("left")

    await topic.dispatch("event")

    assert await topic.lease("one", "left") == []
    assert ids(await topic.lease("two", "right")) == ["event"]


async def test_joining_does_not_end_the_pause(joined: TopicDriver) -> None:
    await joined.pause()
    await joined.dispatch("event")

    await joined.join("another")

    assert await joined.lease("another") == []


async def test_pausing_and_resuming_twice_is_harmless(joined: TopicDriver) -> None:
    await joined.resume()
    await joined.pause()
    await joined.pause()
    await joined.dispatch("event")
    assert await joined.lease() == []

    await joined.resume()
    await joined.resume()
    assert ids(await joined.lease()) == ["event"]


async def test_an_unknown_topic_or_group_is_not_found(topic: TopicDriver) -> None:
    for verb in (topic.pause, topic.resume):
        with pytest.raises(NotFound) as raised:
            await verb()
        assert raised.value.metadata["topic"] == topic.name

    await topic.dispatch("event")
    for verb in (topic.pause, topic.resume):
        with pytest.raises(NotFound) as raised:
            await verb("nobody")
        assert raised.value.metadata == {"topic": topic.name, "group": "nobody"}
