"""Scheduled and ready events can be cancelled; leased and dead ones are left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import MINUTE, SECOND
from duebus_server.domain.errors import NotFound
from duebus_server.domain.states import EventState
from support.builders import new_event
from support.topics import ids

if TYPE_CHECKING:
    from duebus_server.domain.administration import CancelAnswer
    from support.engines import Harness
    from support.topics import TopicDriver


def lists(answer: CancelAnswer) -> tuple[int, list[str], list[str]]:
    """An answer with lists, whatever sequences the engine returns."""
    return answer.cancelled, list(answer.leased_event_ids), list(answer.missing_event_ids)


async def test_scheduled_and_ready_events_are_removed(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch("ready", new_event("scheduled", delay_us=MINUTE), "other")

    answer = await joined.cancel("ready", "scheduled")

    assert lists(answer) == (2, [], [])
    assert await joined.counts() == {EventState.READY: 1}
    assert await joined.queued() == 1
    await harness.advance(MINUTE)
    assert ids(await joined.lease()) == ["other"]
    with pytest.raises(NotFound):
        await joined.engine.get_event(joined.name, "ready")


async def test_an_event_in_its_backoff_can_be_cancelled(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch("event")
    await joined.nack(await joined.lease_one(), delay_us=SECOND)

    assert lists(await joined.cancel("event")) == (1, [], [])

    await harness.advance(SECOND)
    assert await joined.lease() == []
    assert await joined.queued() == 0


async def test_leased_and_dead_events_are_left_alone_and_missing_ones_are_reported(joined: TopicDriver) -> None:
    await joined.make_dead("dead")
    await joined.dispatch("leased")
    lease = await joined.lease_one()
    await joined.dispatch("ready")

    answer = await joined.cancel("missing", "leased", "ready", "dead", "neither")

    assert lists(answer) == (1, ["leased", "dead"], ["missing", "neither"])
    assert await joined.counts() == {EventState.LEASED: 1, EventState.DEAD: 1}
    assert await joined.ack(lease) == [None]


async def test_an_event_whose_lease_has_run_out_can_be_cancelled(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch("event")
    await joined.lease_one(lease_us=SECOND)
    await harness.advance(SECOND)

    assert lists(await joined.cancel("event")) == (1, [], [])


async def test_cancelling_in_every_group_or_in_one(topic: TopicDriver) -> None:
    await topic.join("one", "left")
    await topic.join("two", "right")
    await topic.dispatch("everywhere", "on the left")

    assert lists(await topic.cancel("everywhere")) == (1, [], [])
    assert lists(await topic.cancel("on the left", group="left")) == (1, [], [])

    assert await topic.lease("one", "left") == []
    assert ids(await topic.lease("two", "right")) == ["on the left"]
    assert lists(await topic.cancel("on the left", group="left")) == (0, [], ["on the left"])


async def test_a_waiting_copy_is_removed_although_another_is_leased(topic: TopicDriver) -> None:
    await topic.join("one", "left")
    await topic.join("two", "right")
    await topic.dispatch("event")
    lease = await topic.lease_one("one", "left")

    assert lists(await topic.cancel("event")) == (1, ["event"], [])

    assert await topic.lease("two", "right") == []
    assert await topic.ack(lease, group="left") == [None]
    assert await topic.queued() == 0


async def test_unclaimed_events_can_be_cancelled(topic: TopicDriver) -> None:
    await topic.dispatch("a", "b")

    assert lists(await topic.cancel("a")) == (1, [], [])

    await topic.join()
    assert ids(await topic.lease()) == ["b"]


async def test_a_cancelled_id_is_remembered_like_an_acked_one(joined: TopicDriver) -> None:
    await joined.dispatch("event")
    await joined.cancel("event")

    assert list((await joined.dispatch("event")).duplicate_event_ids) == ["event"]


async def test_cancelling_makes_room(joined: TopicDriver) -> None:
    await joined.configure(max_queued=1)
    await joined.dispatch("event")

    await joined.cancel("event")

    await joined.dispatch("another")


@pytest.mark.one_partition("§3.4: a topic with several partitions exists before anything is in it")
async def test_an_unknown_topic_or_group_is_not_found(topic: TopicDriver) -> None:
    with pytest.raises(NotFound) as raised:
        await topic.cancel("event")
    assert raised.value.metadata["topic"] == topic.name

    await topic.join()
    await topic.dispatch("event")
    with pytest.raises(NotFound) as raised:
        await topic.cancel("event", group="nobody")
    assert raised.value.metadata == {"topic": topic.name, "group": "nobody"}
    assert await topic.counts() == {EventState.READY: 1}
