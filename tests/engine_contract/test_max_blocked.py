"""A key that is held up is refused more events, so that it can't fill its topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR, SECOND
from duebus_server.domain.errors import MaxQueuedEventsReached
from duebus_server.domain.model import DispatchAnswer
from duebus_server.domain.states import EventState
from support.keyed import KEY, keyed

if TYPE_CHECKING:
    from support.topics import TopicDriver


@pytest.mark.topic_config(max_queued=40)
@pytest.mark.within_a_partition("each partition has its share of max_queued")
async def test_a_key_that_is_held_up_cant_fill_the_topic(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("head", "b1", "b2", "b3"))
    await joined.lease_one()

    refused = await joined.try_dispatch(*keyed("b4", "b5"))

    assert isinstance(refused, MaxQueuedEventsReached)
    assert refused.metadata["key"] == KEY
    assert refused.metadata["max_blocked"] == "4"
    assert await joined.queued() == 4
    assert isinstance(await joined.try_dispatch(*keyed("b4")), DispatchAnswer)
    assert isinstance(await joined.try_dispatch(*keyed("b5")), MaxQueuedEventsReached)
    assert isinstance(await joined.try_dispatch(*keyed("x", key="other")), DispatchAnswer)
    assert isinstance(await joined.try_dispatch("free"), DispatchAnswer)
    assert isinstance(await joined.try_dispatch(*keyed("later", delay_us=HOUR)), DispatchAnswer)


@pytest.mark.topic_config(max_queued=40)
@pytest.mark.within_a_partition("each partition has its share of max_queued")
async def test_a_request_with_too_many_events_of_a_free_key_stores_nothing(topic: TopicDriver) -> None:
    many = [f"e{number}" for number in range(6)]

    refused = await topic.try_dispatch(*keyed(*many), "free")

    assert isinstance(refused, MaxQueuedEventsReached)
    assert isinstance(await topic.try_dispatch(*keyed(*many[:5])), DispatchAnswer)
    assert await topic.queued() == 5


@pytest.mark.topic_config(max_queued=40)
@pytest.mark.within_a_partition("each partition has its share of max_queued")
async def test_a_key_that_is_over_its_limit_by_what_came_due_is_refused(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed(*[f"e{number}" for number in range(7)], delay_us=SECOND))
    await joined.harness.advance(2 * SECOND)
    await joined.lease_one()

    assert isinstance(await joined.try_dispatch(*keyed("later", delay_us=HOUR)), MaxQueuedEventsReached)


@pytest.mark.topic_config(max_queued=40)
@pytest.mark.within_a_partition("each partition has its share of max_queued")
async def test_what_only_an_ephemeral_group_holds_up_refuses_nothing(topic: TopicDriver) -> None:
    await topic.join(group="tail", ephemeral_us=SECOND)
    await topic.join()
    for number in range(8):
        await topic.dispatch(*keyed(f"e{number}"))
        await topic.ack(await topic.lease_one())

    assert (await topic.group("tail")).counts[EventState.BLOCKED] == 7
