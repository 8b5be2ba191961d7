"""Each group of a topic gets its own copy of each event, independent of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import MINUTE, SECOND
from duebus_server.domain.states import EventState
from support.builders import new_event
from support.topics import TopicDriver, ids

if TYPE_CHECKING:
    from support.engines import Harness


async def test_every_group_gets_every_event(topic: TopicDriver) -> None:
    await topic.join("one", "left")
    await topic.join("two", "right")

    await topic.dispatch("a", "b")

    assert sorted(ids(await topic.lease("one", "left"))) == ["a", "b"]
    assert sorted(ids(await topic.lease("two", "right"))) == ["a", "b"]


async def test_groups_do_not_affect_each_other(topic: TopicDriver) -> None:
    for group in ("acks", "nacks", "waits"):
        await topic.join(group, group)
    await topic.dispatch("event")

    await topic.ack(await topic.lease_one("acks", "acks"), group="acks")
    await topic.nack(await topic.lease_one("nacks", "nacks"), delay_us=MINUTE, group="nacks")

    assert await topic.state("event", "acks") is None
    assert await topic.state("event", "nacks") is EventState.SCHEDULED
    assert await topic.state("event", "waits") is EventState.READY


@pytest.mark.within_a_partition("§3.4: order holds within each partition")
async def test_events_without_a_group_wait_for_the_first_one(harness: Harness, topic: TopicDriver) -> None:
    await topic.dispatch("a", new_event("later", delay_us=MINUTE))
    await harness.advance(SECOND)
    await topic.dispatch("b")
    assert await topic.counts("") == {EventState.READY: 2, EventState.SCHEDULED: 1}

    await topic.join("one", "first")

    assert [group.group for group in (await topic.engine.get_topic(topic.name)).groups] == ["first"]
    assert ids(await topic.lease("one", "first", lease_us=2 * MINUTE)) == ["a", "b"]
    await harness.advance(MINUTE)
    assert ids(await topic.lease("one", "first")) == ["later"]


async def test_a_later_group_gets_what_is_dispatched_from_then_on(harness: Harness, topic: TopicDriver) -> None:
    await topic.join("one", "first")
    await topic.dispatch("before", new_event("scheduled before", delay_us=SECOND))

    await topic.join("two", "second")
    await topic.dispatch("after")

    await harness.advance(SECOND)
    assert sorted(ids(await topic.lease("one", "first"))) == ["after", "before", "scheduled before"]
    assert ids(await topic.lease("two", "second")) == ["after"]


async def test_only_the_first_group_gets_the_events_that_waited(topic: TopicDriver) -> None:
    await topic.dispatch("waited")

    await topic.join("one", "first")
    await topic.join("two", "second")

    assert await topic.lease("two", "second") == []
    assert ids(await topic.lease("one", "first")) == ["waited"]


async def test_a_group_remains_after_its_sessions_have_left(harness: Harness, topic: TopicDriver) -> None:
    await topic.join("one", "durable")
    await topic.leave("one", "durable")
    await harness.advance(24 * 60 * MINUTE)
    await harness.engine.expire_leases()

    await topic.dispatch("event")
    await topic.join("two", "durable")

    assert ids(await topic.lease("two", "durable")) == ["event"]


async def test_nothing_dispatched_after_a_join_is_missed(topic: TopicDriver) -> None:
    await topic.join()

    await topic.dispatch("event")

    assert ids(await topic.lease()) == ["event"]


async def test_an_event_is_kept_until_every_group_is_done_with_it(topic: TopicDriver) -> None:
    await topic.join("one", "left")
    await topic.join("two", "right")
    await topic.dispatch("event")

    await topic.ack(await topic.lease_one("one", "left"), group="left")
    groups = (await topic.engine.get_event(topic.name, "event")).groups
    assert [(info.group, info.state) for info in groups] == [("right", EventState.READY)]
    assert await topic.queued() == 1

    await topic.ack(await topic.lease_one("two", "right"), group="right")
    assert await topic.queued() == 0


async def test_an_event_that_is_dead_in_one_group_is_queued_while_another_waits(topic: TopicDriver) -> None:
    await topic.join("one", "left")
    await topic.join("two", "right")
    await topic.dispatch("event")

    await topic.dead_letter(await topic.lease_one("one", "left"), group="left")
    assert await topic.queued() == 1

    await topic.dead_letter(await topic.lease_one("two", "right"), group="right")
    assert await topic.queued() == 0
    assert await topic.counts("left") == await topic.counts("right") == {EventState.DEAD: 1}


async def test_a_session_may_be_in_several_groups(topic: TopicDriver) -> None:
    await topic.join("one", "left")
    await topic.join("one", "right")
    await topic.dispatch("event")

    left = await topic.lease_one("one", "left")
    await topic.lease_one("one", "right")
    await topic.leave("one", "right")

    assert await topic.ack(left, group="left") == [None]
    assert [info.session_id for info in (await topic.group("left")).subscribers] == ["one"]
    assert list((await topic.group("right")).subscribers) == []


async def test_topics_do_not_affect_each_other(harness: Harness, topic: TopicDriver) -> None:
    other = TopicDriver(harness)
    await topic.join()
    await other.join()

    await topic.dispatch(new_event("event", body=b"of the topic"))
    await other.dispatch(new_event("event", body=b"of the other"))
    lease = await topic.lease_one()
    theirs = await other.lease_one()

    assert (lease.body, theirs.body) == (b"of the topic", b"of the other")
    assert await topic.ack(lease) == [None]
    assert await other.state("event") is EventState.LEASED
