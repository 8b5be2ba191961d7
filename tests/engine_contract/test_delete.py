"""Groups and topics can be deleted: their events are gone, and their subscribers are notified."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR, MILLISECOND, MINUTE
from duebus_server.domain.errors import NotFound
from duebus_server.domain.model import DEFAULT_GROUP, LeaseFailureReason
from duebus_server.domain.states import EventState
from support.builders import new_event
from support.topics import WORKER, TopicDriver, ids

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from support.engines import Harness

SETTLED = LeaseFailureReason.SETTLED


async def one_in_each_state(topic: TopicDriver, group: str = DEFAULT_GROUP) -> None:
    """The session WORKER has joined the group."""
    await topic.make_dead("dead", group=group)
    await topic.dispatch("leased")
    await topic.lease_one(group=group)
    await topic.dispatch("ready", new_event("scheduled", delay_us=MINUTE))


# --- a group ----------------------------------------------------------------------------------------------------------


async def test_deleting_a_group_removes_its_copies(topic: TopicDriver) -> None:
    await topic.join("one", "left")
    await topic.join(group="right")
    await one_in_each_state(topic, "right")

    assert await topic.delete_group("right") == 4

    assert [group.group for group in (await topic.engine.get_topic(topic.name)).groups] == ["left"]
    assert await topic.counts("left") == {EventState.READY: 3, EventState.SCHEDULED: 1}
    assert await topic.queued() == 4
    with pytest.raises(NotFound):
        await topic.lease(group="right")


async def test_events_that_no_other_group_holds_are_gone(joined: TopicDriver) -> None:
    await one_in_each_state(joined)

    await joined.delete_group()

    assert (await joined.engine.get_topic(joined.name)).queued == 0
    assert await joined.engine.queued() == 0
    for event_id in ("dead", "leased", "ready", "scheduled"):
        with pytest.raises(NotFound):
            await joined.engine.get_event(joined.name, event_id)


async def test_ids_of_deleted_events_are_remembered_like_acked_ones(joined: TopicDriver) -> None:
    await joined.dispatch("event")
    await joined.delete_group()

    assert list((await joined.dispatch("event")).duplicate_event_ids) == ["event"]


async def test_events_after_the_deletion_of_the_last_group_wait_for_the_next_one(joined: TopicDriver) -> None:
    await joined.dispatch("before")
    await joined.delete_group()

    await joined.dispatch("after")
    await joined.join("next", "next")

    assert ids(await joined.lease("next", "next")) == ["after"]


async def test_a_recreated_group_starts_empty(joined: TopicDriver) -> None:
    """The old group was paused, and had its own policy and events. None of that returns, and its tokens are invalid."""
    await joined.dispatch("before")
    await joined.lease_one()
    await joined.configure_group(max_retries=7)
    await joined.pause()
    await joined.delete_group()

    await joined.join()
    await joined.dispatch("after")

    assert ids(await joined.lease()) == ["after"]
    info = await joined.group()
    assert (info.paused, info.retry_policy.max_retries) == (False, 3)
    assert await joined.counts() == {EventState.LEASED: 1}


# --- a topic ----------------------------------------------------------------------------------------------------------


async def test_deleting_a_topic_removes_everything(harness: Harness, joined: TopicDriver) -> None:
    other = TopicDriver(harness)
    await other.dispatch("event")
    await joined.join("two", "another")
    await one_in_each_state(joined)

    assert await joined.delete() == 4

    with pytest.raises(NotFound):
        await joined.engine.get_topic(joined.name)
    assert joined.name not in [topic.topic for topic in await joined.engine.list_topics("", 1_000)]
    assert await joined.engine.queued() == 1
    assert await joined.next_due() is None
    for group in (DEFAULT_GROUP, "another"):
        with pytest.raises(NotFound):
            await joined.lease(group=group)


async def test_a_dispatch_recreates_the_topic_without_remembered_ids(joined: TopicDriver) -> None:
    await joined.configure(max_queued=1)
    await joined.dispatch("event", request_id="request")
    await joined.delete()

    answer = await joined.dispatch("event", "another", request_id="request")

    assert (list(answer.event_ids), list(answer.duplicate_event_ids)) == (["event", "another"], [])
    assert [group.group for group in (await joined.engine.get_topic(joined.name)).groups] == [""]
    await joined.join("first", "first")
    assert ids(await joined.lease("first", "first")) == ["event", "another"]


async def test_a_topic_without_groups_can_be_deleted(topic: TopicDriver) -> None:
    await topic.dispatch("a", "b")

    assert await topic.delete() == 2

    await topic.join()
    assert await topic.lease() == []


# --- both -------------------------------------------------------------------------------------------------------------

DELETE: dict[str, Callable[[TopicDriver], Awaitable[int]]] = {
    "the group": lambda topic: topic.delete_group(),
    "the topic": lambda topic: topic.delete(),
}
either = pytest.mark.parametrize("what", DELETE)


@either
async def test_leases_of_deleted_events_are_settled(joined: TopicDriver, what: str) -> None:
    await joined.dispatch("event")
    lease = await joined.lease_one()

    await DELETE[what](joined)

    assert await joined.ack(lease) == [SETTLED]
    assert await joined.nack(lease) == [SETTLED]
    assert await joined.extend(lease) == [SETTLED]
    await joined.shorten(0)
    await joined.join("new")
    assert await joined.adopt("new", lease) == [SETTLED]


@either
async def test_a_lease_from_before_a_deletion_is_invalid_afterwards(joined: TopicDriver, what: str) -> None:
    """The same event in a group of the same name: only the fencing token tells the leases apart."""
    await joined.configure(dedupe_window_us=0)
    await joined.dispatch("event")
    old = await joined.lease_one()
    await DELETE[what](joined)
    await joined.harness.advance(MILLISECOND)
    await joined.join()
    await joined.dispatch("event")

    new = await joined.lease_one()

    assert new.fencing_token > old.fencing_token
    assert await joined.ack(old) == [LeaseFailureReason.EXPIRED]
    assert await joined.ack(new) == [None]


async def test_fencing_tokens_grow_across_the_deletion_of_a_group_of_an_idle_topic(
    harness: Harness, joined: TopicDriver
) -> None:
    """The last fencing token was once forgotten with the topic."""
    await joined.dispatch(new_event())
    old = await joined.lease_one()
    await joined.delete_group()
    await joined.engine.expire_leases()
    await harness.advance(HOUR)
    await joined.engine.expire_leases()

    await joined.join()
    await joined.dispatch(new_event())

    assert (await joined.lease_one()).fencing_token > old.fencing_token


@either
async def test_subscribers_are_notified(harness: Harness, joined: TopicDriver, what: str) -> None:
    await joined.dispatch("event")
    lease = await joined.lease_one()
    harness.recorder.forget()

    await DELETE[what](joined)

    gone = (joined.name, DEFAULT_GROUP if what == "the group" else None)
    await harness.recorder.until(lambda: gone in harness.recorder.deletions, f"{gone} deleted")
    assert harness.recorder.ended[WORKER] == [lease.fencing_token]


@either
async def test_a_session_may_end_after_the_deletion(joined: TopicDriver, what: str) -> None:
    await DELETE[what](joined)
    await joined.shorten(0)
    await joined.leave()

    await joined.join("new")
    await joined.dispatch("event")

    assert ids(await joined.lease("new")) == ["event"]
    assert [subscriber.session_id for subscriber in (await joined.group()).subscribers] == ["new"]


@either
async def test_deleting_many_events(joined: TopicDriver, what: str) -> None:
    for _ in range(5):
        await joined.dispatch(*(new_event(delay_us=MINUTE) for _ in range(1_000)))
    await joined.dispatch("ready")

    assert await DELETE[what](joined) == 5_001

    assert await joined.engine.queued() == 0
    await joined.join()
    await joined.dispatch("after")
    assert ids(await joined.lease()) == ["after"]
    assert await joined.queued() == 1


@pytest.mark.one_partition("§3.4: a topic with several partitions exists before anything is in it")
async def test_an_unknown_topic_or_group_is_not_found(topic: TopicDriver) -> None:
    for delete in DELETE.values():
        with pytest.raises(NotFound) as raised:
            await delete(topic)
        assert raised.value.metadata["topic"] == topic.name

    await topic.dispatch("event")
    with pytest.raises(NotFound) as raised:
        await topic.delete_group("nobody")
    assert raised.value.metadata == {"topic": topic.name, "group": "nobody"}
    assert await topic.queued() == 1
