"""Ephemeral groups: their deliveries, what counts them, and their removal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR, MINUTE, SECOND
from duebus_server.domain.errors import InvalidArgument, NoHandlerFound, NotFound
from duebus_server.domain.model import DispatchAnswer, LeaseFailureReason
from duebus_server.domain.states import EventState
from support.builders import new_events
from support.topics import ids, ref

if TYPE_CHECKING:
    from support.topics import TopicDriver

EPHEMERAL = "instance"
GRACE = 2 * SECOND
ONE_PARTITION = "its events all belong to one partition"


async def join_ephemeral(
    topic: TopicDriver, session: str = "watcher", group: str = EPHEMERAL, grace_us: int = GRACE
) -> None:
    """A session subscribes to an ephemeral group."""
    await topic.join(session, group, ephemeral_us=grace_us)


async def pass_time(topic: TopicDriver, us: int) -> None:
    """Time passes, and the engine sweeps."""
    await topic.harness.advance(us)
    await topic.engine.expire_leases()


async def groups(topic: TopicDriver) -> list[str]:
    try:
        return sorted(info.group for info in (await topic.engine.get_topic(topic.name)).groups)
    except NotFound:
        return []


# --- deliveries -------------------------------------------------------------------------------------------------------


async def test_an_ephemeral_group_gets_what_is_dispatched_while_it_exists(joined: TopicDriver) -> None:
    await joined.dispatch("before")

    await join_ephemeral(joined)
    await joined.dispatch("after")

    assert ids(await joined.lease_all("watcher", EPHEMERAL)) == ["after"]
    assert sorted(ids(await joined.lease_all())) == ["after", "before"]


async def test_an_ephemeral_group_leaves_events_for_the_first_lasting_group(topic: TopicDriver) -> None:
    """One event is dispatched before the ephemeral group exists, and one after."""
    await topic.dispatch("before")
    await join_ephemeral(topic)
    await topic.dispatch("meanwhile")

    assert ids(await topic.lease_all("watcher", EPHEMERAL)) == ["meanwhile"]
    assert await topic.counts("") == {EventState.READY: 2}
    await topic.join()

    assert sorted(ids(await topic.lease_all())) == ["before", "meanwhile"]
    assert await groups(topic) == ["default", EPHEMERAL]


async def test_with_a_lasting_group_no_event_waits_for_the_first_group(joined: TopicDriver) -> None:
    await join_ephemeral(joined)

    await joined.dispatch("event")

    assert await groups(joined) == ["default", EPHEMERAL]
    assert ids(await joined.lease_all()) == ids(await joined.lease_all("watcher", EPHEMERAL)) == ["event"]


async def test_after_the_lasting_group_is_deleted_events_wait_for_the_next_one(joined: TopicDriver) -> None:
    await join_ephemeral(joined)
    await joined.dispatch("before")
    await joined.delete_group()

    await joined.dispatch("after")
    await joined.join()

    assert ids(await joined.lease_all()) == ["after"]
    assert sorted(ids(await joined.lease_all("watcher", EPHEMERAL))) == ["after", "before"]


async def test_every_ephemeral_group_gets_its_own_copy(joined: TopicDriver) -> None:
    for name in ("a", "b", "c"):
        await join_ephemeral(joined, name, name)

    await joined.dispatch("event")

    for name in ("a", "b", "c"):
        event = await joined.lease_one(name, name)
        assert event.event_id == "event"
        assert await joined.ack(event, group=name) == [None]
    assert await joined.state("event") is EventState.READY


async def test_an_ephemeral_group_counts_as_a_subscriber(topic: TopicDriver) -> None:
    await join_ephemeral(topic)

    assert isinstance(await topic.try_dispatch("event", require_subscriber=True), DispatchAnswer)
    await topic.leave("watcher", EPHEMERAL)
    assert isinstance(await topic.try_dispatch("other", require_subscriber=True), NoHandlerFound)


async def test_calls_about_the_waiting_events_still_reach_them(topic: TopicDriver) -> None:
    await join_ephemeral(topic)
    await topic.dispatch("event", "other")

    page = await topic.page(EventState.READY, 10, group="")
    assert sorted(ids(page.events)) == ["event", "other"]
    assert (await topic.cancel("event", group="")).cancelled == 1

    assert await topic.counts("") == {EventState.READY: 1}
    assert await topic.counts(EPHEMERAL) == {EventState.READY: 2}


# --- counts and limits ------------------------------------------------------------------------------------------------


@pytest.mark.within_a_partition(ONE_PARTITION)
@pytest.mark.topic_config(max_queued=2)
async def test_events_that_only_an_ephemeral_group_holds_do_not_fill_the_topic(joined: TopicDriver) -> None:
    await join_ephemeral(joined)

    for first in range(0, 10, 2):
        await joined.dispatch(f"event-{first}", f"event-{first + 1}")
        await joined.ack(*await joined.lease())

    assert await joined.queued() == 0
    assert await joined.counts(EPHEMERAL) == {EventState.READY: 10}
    assert await joined.engine.queued() == 0


@pytest.mark.parametrize("has_lasting", [True, False])
async def test_queued_ignores_what_an_ephemeral_group_does(topic: TopicDriver, has_lasting: bool) -> None:
    """The ephemeral group acks an event, and has others dead, redriven, cancelled and purged."""
    await join_ephemeral(topic)
    if has_lasting:
        await topic.join()
    await topic.dispatch(*(f"event-{number}" for number in range(6)))
    held = {lease.event_id: lease for lease in await topic.lease_all("watcher", EPHEMERAL)}

    await topic.ack(held["event-0"], group=EPHEMERAL)
    await topic.dead_letter(held["event-1"], held["event-2"], group=EPHEMERAL)
    await topic.release(held["event-3"], held["event-4"], group=EPHEMERAL)
    assert await topic.queued() == 6
    assert (await topic.redrive(group=EPHEMERAL)).moved == 2
    assert (await topic.cancel("event-1", "event-3", group=EPHEMERAL)).cancelled == 2
    await topic.dead_letter(*await topic.lease_all("watcher", EPHEMERAL), group=EPHEMERAL)
    assert (await topic.purge(group=EPHEMERAL)).moved == 2
    assert await topic.queued() == 6

    await topic.leave("watcher", EPHEMERAL)
    await pass_time(topic, MINUTE)
    assert await topic.queued() == 6
    if not has_lasting:
        await topic.join()
    assert len(await topic.lease_all()) == 6


async def test_dead_letters_of_the_lasting_group_do_not_count_although_an_ephemeral_group_holds_them(
    joined: TopicDriver,
) -> None:
    await join_ephemeral(joined)
    await joined.dispatch("dead", "done", "waits")
    held = {lease.event_id: lease for lease in await joined.lease_all()}

    await joined.dead_letter(held["dead"])
    await joined.ack(held["done"])
    assert await joined.queued() == 1
    await joined.redrive()
    assert await joined.queued() == 2
    await joined.dead_letter(*await joined.lease_all())
    assert await joined.queued() == 1

    await joined.ack(*await joined.lease_all("watcher", EPHEMERAL), group=EPHEMERAL)
    assert await joined.queued() == 1
    await joined.purge()
    assert await joined.queued() == 1
    await joined.ack(held["waits"])
    assert await joined.queued() == 0


async def test_an_event_that_only_an_ephemeral_group_holds_is_a_duplicate(joined: TopicDriver) -> None:
    await join_ephemeral(joined)
    await joined.dispatch("event")
    await joined.ack(await joined.lease_one())

    assert (await joined.dispatch("event")).duplicate_event_ids == ["event"]


# --- its removal ------------------------------------------------------------------------------------------------------


async def test_an_ephemeral_group_is_removed_after_its_last_session_and_the_grace(joined: TopicDriver) -> None:
    """The group has waiting, leased and dead events."""
    await join_ephemeral(joined)
    await joined.dispatch(*new_events(40))
    await joined.lease("watcher", EPHEMERAL, max_events=20, lease_us=GRACE)
    await joined.dead_letter(*await joined.lease("watcher", EPHEMERAL, max_events=10), group=EPHEMERAL)

    await joined.leave("watcher", EPHEMERAL)
    await pass_time(joined, GRACE - joined.harness.grain_us)
    assert EPHEMERAL in await groups(joined)
    await pass_time(joined, joined.harness.grain_us)

    assert await groups(joined) == ["default"]
    assert await joined.queued() == 40
    assert len(await joined.lease_all()) == 40


async def test_events_that_only_the_ephemeral_group_held_are_removed_with_it(joined: TopicDriver) -> None:
    await join_ephemeral(joined)
    await joined.dispatch("event", "dead")
    await joined.ack(*await joined.lease_all())
    held = {lease.event_id: lease for lease in await joined.lease_all("watcher", EPHEMERAL)}
    await joined.dead_letter(held["dead"], group=EPHEMERAL)
    await joined.release(held["event"], group=EPHEMERAL)

    await joined.leave("watcher", EPHEMERAL)
    await pass_time(joined, GRACE)

    for event_id in held:
        with pytest.raises(NotFound):
            await joined.engine.get_event(joined.name, event_id)
    assert await joined.ack(held["event"], group=EPHEMERAL) == [LeaseFailureReason.SETTLED]
    assert await joined.queued() == 0
    assert (await joined.dispatch("event")).duplicate_event_ids == ["event"], "the id is remembered"


@pytest.mark.one_partition("§3.4: a topic with several partitions exists before anything is in it")
async def test_an_ephemeral_group_leaves_no_topic_behind(topic: TopicDriver) -> None:
    await join_ephemeral(topic)
    await topic.leave("watcher", EPHEMERAL)

    await pass_time(topic, GRACE)
    await pass_time(topic, SECOND)

    assert await topic.engine.list_topics("", 10) == []


async def test_an_ephemeral_group_stays_while_it_has_a_session(topic: TopicDriver) -> None:
    await join_ephemeral(topic, "one")
    await join_ephemeral(topic, "two")

    await topic.leave("one", EPHEMERAL)
    await pass_time(topic, HOUR)
    await topic.dispatch("event")
    assert ids(await topic.lease_all("two", EPHEMERAL)) == ["event"]

    await topic.leave("two", EPHEMERAL)
    await pass_time(topic, HOUR)
    assert EPHEMERAL not in await groups(topic)


async def test_a_session_that_returns_in_time_keeps_the_group_and_its_leases(topic: TopicDriver) -> None:
    await join_ephemeral(topic)
    await topic.dispatch("held", "waits")
    leases = {lease.event_id: lease for lease in await topic.lease("watcher", EPHEMERAL, lease_us=HOUR)}
    held = leases["held"]
    await topic.release(leases["waits"], group=EPHEMERAL)

    await topic.leave("watcher", EPHEMERAL)
    await topic.shorten(GRACE, "watcher", EPHEMERAL)
    await pass_time(topic, GRACE - SECOND)
    await join_ephemeral(topic, "again")
    (adopted,) = await topic.adopt("again", held, lease_us=HOUR, group=EPHEMERAL)
    await pass_time(topic, MINUTE)

    assert not isinstance(adopted, LeaseFailureReason)
    assert await topic.ack(held, group=EPHEMERAL) == [None]
    assert ids(await topic.lease_all("again", EPHEMERAL)) == ["waits"]
    await topic.leave("again", EPHEMERAL)
    await pass_time(topic, MINUTE)
    assert EPHEMERAL not in await groups(topic)


async def test_the_longest_grace_of_those_that_left_decides(topic: TopicDriver) -> None:
    await join_ephemeral(topic, "patient", grace_us=MINUTE)
    await join_ephemeral(topic, "quick", grace_us=SECOND)

    await topic.leave("patient", EPHEMERAL)
    await topic.leave("quick", EPHEMERAL)
    await pass_time(topic, MINUTE - SECOND)
    assert EPHEMERAL in await groups(topic)
    await pass_time(topic, SECOND)

    assert EPHEMERAL not in await groups(topic)


async def test_a_session_that_was_told_to_come_back_later_has_the_time(topic: TopicDriver) -> None:
    await join_ephemeral(topic)

    await topic.leave("watcher", EPHEMERAL, returns_in_us=MINUTE)
    await pass_time(topic, MINUTE + GRACE - SECOND)
    assert EPHEMERAL in await groups(topic)
    await pass_time(topic, SECOND)

    assert EPHEMERAL not in await groups(topic)


async def test_an_ephemeral_group_stays_while_a_lease_lasts(topic: TopicDriver) -> None:
    """A worker still handles an event after the server has closed its stream."""
    await join_ephemeral(topic)
    await topic.dispatch("event")
    held = await topic.lease_one("watcher", EPHEMERAL, lease_us=MINUTE)
    await topic.leave("watcher", EPHEMERAL)

    await pass_time(topic, MINUTE - SECOND)
    assert await topic.extend(held, lease_us=MINUTE, group=EPHEMERAL) == [None]
    await pass_time(topic, MINUTE - SECOND)
    assert await topic.ack(held, group=EPHEMERAL) == [None]
    await pass_time(topic, MINUTE)

    assert EPHEMERAL not in await groups(topic)


async def test_an_operator_can_delete_an_ephemeral_group(joined: TopicDriver) -> None:
    await join_ephemeral(joined)
    await joined.dispatch("event")
    held = await joined.lease_one("watcher", EPHEMERAL)
    await joined.ack(await joined.lease_one())

    assert await joined.delete_group(EPHEMERAL) == 1

    assert await joined.ack(ref(held), group=EPHEMERAL) == [LeaseFailureReason.SETTLED]
    assert await joined.queued() == 0
    await pass_time(joined, MINUTE)
    assert await groups(joined) == ["default"]


async def test_an_ephemeral_group_can_be_paused(topic: TopicDriver) -> None:
    await join_ephemeral(topic)
    await topic.dispatch("event")
    await topic.pause(EPHEMERAL)
    assert await topic.lease("watcher", EPHEMERAL) == []

    await topic.leave("watcher", EPHEMERAL)
    await pass_time(topic, GRACE)

    assert EPHEMERAL not in await groups(topic)


# --- lasting or ephemeral ---------------------------------------------------------------------------------------------


async def test_a_group_shows_whether_it_is_ephemeral(joined: TopicDriver) -> None:
    await join_ephemeral(joined)

    assert (await joined.group(EPHEMERAL)).ephemeral
    assert not (await joined.group()).ephemeral
    assert [one.session_id for one in (await joined.group(EPHEMERAL)).subscribers] == ["watcher"]


async def test_a_lasting_group_can_not_be_joined_as_an_ephemeral_one(joined: TopicDriver) -> None:
    with pytest.raises(InvalidArgument) as raised:
        await join_ephemeral(joined, group="default")

    assert raised.value.violation.field == "ephemeral"
    assert "lasts" in raised.value.violation.description
    assert len((await joined.group()).subscribers) == 1
    await joined.leave("watcher", "default")
    await joined.leave()
    await pass_time(joined, HOUR)
    assert await groups(joined) == ["default"]


async def test_an_ephemeral_group_can_not_be_joined_as_a_lasting_one(topic: TopicDriver) -> None:
    await join_ephemeral(topic)

    with pytest.raises(InvalidArgument) as raised:
        await topic.join("worker", EPHEMERAL)

    assert raised.value.violation.field == "ephemeral"
    assert "is ephemeral" in raised.value.violation.description
    assert len((await topic.group(EPHEMERAL)).subscribers) == 1
    await topic.leave("worker", EPHEMERAL)
    await topic.leave("watcher", EPHEMERAL)
    await pass_time(topic, GRACE)
    assert EPHEMERAL not in await groups(topic)


async def test_the_name_of_a_removed_ephemeral_group_can_be_reused(topic: TopicDriver) -> None:
    await join_ephemeral(topic)
    await topic.dispatch("event")
    await topic.leave("watcher", EPHEMERAL)
    await pass_time(topic, GRACE)

    await topic.join("worker", EPHEMERAL)
    await topic.leave("worker", EPHEMERAL)
    await pass_time(topic, HOUR)

    assert await groups(topic) == [EPHEMERAL]
    assert not (await topic.group(EPHEMERAL)).ephemeral
    assert await topic.counts(EPHEMERAL) == {EventState.READY: 1}, "it was the first lasting group"
