"""An event whose lease ran out twice is a suspect, and a session gets one suspect at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR, MINUTE, SECOND
from duebus_server.domain.model import DEFAULT_GROUP, AdoptedLease
from duebus_server.domain.states import EventState
from support.builders import new_event
from support.recorder import Step
from support.topics import ids

if TYPE_CHECKING:
    from support.engines import Harness
    from support.topics import TopicDriver

NAMES = ("first", "second", "third")


@pytest.fixture
async def suspects(joined: TopicDriver) -> TopicDriver:
    """A topic in which three events are suspects: their workers were killed twice."""
    await joined.dispatch(*NAMES)
    await joined.let_run_out()
    return joined


# --- how events become suspects, and stop being so --------------------------------------------------------------------


async def test_the_watcher_is_told_when_events_become_suspects(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch("event")

    await joined.let_run_out(1)
    await harness.engine.expire_leases()
    assert harness.recorder.suspects == []

    await joined.let_run_out(2)
    await harness.engine.expire_leases()
    assert harness.recorder.suspects == [Step(joined.name, DEFAULT_GROUP, 1, ("event",))]


async def test_leases_of_any_session_make_a_suspect(harness: Harness, joined: TopicDriver) -> None:
    """Leases of broken and of stalled streams count, whichever session of the group held them."""
    await joined.join("other")
    await joined.dispatch("event")

    await joined.lease_one(lease_us=HOUR)
    await joined.shorten(0)
    await joined.leave()
    await joined.let_run_out(1, "other")

    assert (await joined.lease_one("other")).is_suspect


async def test_each_group_has_its_own_suspects(topic: TopicDriver) -> None:
    await topic.join("one", "left")
    await topic.join("two", "right")
    await topic.dispatch("event")
    for _ in range(2):
        await topic.lease_one("one", "left", lease_us=SECOND)
        await topic.harness.advance(SECOND)

    assert (await topic.lease_one("one", "left")).is_suspect
    assert not (await topic.lease_one("two", "right")).is_suspect


async def test_a_nacked_or_released_suspect_remains_one(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch("event")
    await joined.let_run_out()

    await joined.release(await joined.lease_one())
    again = await joined.lease_one()
    assert (again.attempt, again.is_suspect) == (3, True)
    await joined.nack(again, delay_us=SECOND)
    await harness.advance(SECOND)

    last = await joined.lease_one()
    assert (last.attempt, last.is_suspect) == (4, True)


async def test_a_redriven_event_is_not_a_suspect_and_has_all_its_retries(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch(new_event("event", max_retries=0))
    await joined.let_run_out(3)
    assert await joined.state("event") is EventState.DEAD

    await joined.redrive()

    await joined.let_run_out()
    again = await joined.lease_one()
    assert (again.attempt, again.is_suspect) == (3, True)


# --- one at a time ----------------------------------------------------------------------------------------------------


async def test_a_lease_takes_one_suspect_and_all_other_events(harness: Harness, suspects: TopicDriver) -> None:
    await suspects.dispatch("fine", "good")

    batch = await suspects.lease_batch()

    assert len([event for event in batch.events if event.is_suspect]) == 1
    assert {event.event_id for event in batch.events if not event.is_suspect} == {"fine", "good"}
    assert not batch.has_more
    assert batch.next_due_us is not None
    assert batch.next_due_us > harness.now_us(), "the next lease to run out, not the remaining suspects"
    assert batch.suspect_due_us is not None
    assert batch.suspect_due_us <= harness.now_us()


async def test_a_session_with_a_suspect_gets_no_other(harness: Harness, suspects: TopicDriver) -> None:
    await suspects.dispatch("fine")

    batch = await suspects.lease_batch(with_suspect=False)

    assert ids(batch.events) == ["fine"]
    assert not batch.has_more
    assert batch.suspect_due_us is not None
    assert batch.suspect_due_us <= harness.now_us()
    empty = await suspects.lease_batch(with_suspect=False)
    assert list(empty.events) == []
    assert not empty.has_more
    assert empty.next_due_us is not None
    assert empty.next_due_us > harness.now_us()


async def test_other_sessions_get_the_others(suspects: TopicDriver) -> None:
    for session in ("other", "third"):
        await suspects.join(session)

    found = [event for session in ("worker-1", "other", "third") for event in await suspects.lease(session)]

    assert sorted(ids(found)) == sorted(NAMES)
    assert (await suspects.lease_batch()).suspect_due_us is None


async def test_suspects_are_leased_one_after_the_other(suspects: TopicDriver) -> None:
    done = []
    for _ in NAMES:
        event = await suspects.lease_one()
        done += [event.event_id]
        assert await suspects.ack(event) == [None]

    assert sorted(done) == sorted(NAMES)
    assert await suspects.queued() == 0


async def test_all_sessions_are_told_when_a_suspect_is_due(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch("event")
    await joined.let_run_out()
    await joined.nack(await joined.lease_one(), delay_us=MINUTE)
    due_us = harness.now_us() + MINUTE

    able = await joined.lease_batch()
    unable = await joined.lease_batch(with_suspect=False)

    assert able.suspect_due_us is None
    assert harness.near(due_us)(able.next_due_us)
    dues_us = [at_us for at_us in (unable.next_due_us, unable.suspect_due_us) if at_us is not None]
    assert harness.near(due_us)(min(dues_us))


@pytest.mark.within_a_partition("§3.4: order holds within each partition")
async def test_a_suspect_keeps_its_place(harness: Harness, joined: TopicDriver) -> None:
    """Its order among the other events is that of their due times."""
    await joined.join("busy")
    await joined.dispatch("before")
    before = await joined.lease_one("busy", lease_us=HOUR)
    await harness.advance(harness.grain_us)
    await joined.dispatch("suspect")
    await joined.let_run_out()
    await joined.dispatch("after", "later")
    await joined.release(before)

    assert ids(await joined.lease()) == ["before", "suspect", "after", "later"]


@pytest.mark.within_a_partition("§3.4: order holds within each partition")
async def test_a_suspect_that_does_not_fit_waits_its_turn(harness: Harness, joined: TopicDriver) -> None:
    await joined.join("busy")
    await joined.dispatch("before")
    before = await joined.lease_one("busy", lease_us=HOUR)
    await harness.advance(harness.grain_us)
    await joined.dispatch("suspect")
    await joined.let_run_out()
    await joined.release(before)

    batch = await joined.lease_batch(max_events=1)

    assert ids(batch.events) == ["before"]
    assert batch.has_more
    assert batch.next_due_us is not None
    assert batch.next_due_us <= harness.now_us()
    assert ids(await joined.lease(max_events=1)) == ["suspect"]


@pytest.mark.within_a_partition("§3.4: order holds within each partition")
async def test_a_suspect_leased_alone_leaves_the_other_events(joined: TopicDriver) -> None:
    await joined.dispatch("suspect")
    await joined.let_run_out()
    await joined.dispatch("after", "later")

    assert ids(await joined.lease(max_events=1)) == ["suspect"]

    assert ids(await joined.lease()) == ["after", "later"]


async def test_a_suspect_larger_than_the_window_fits_alone(joined: TopicDriver) -> None:
    await joined.dispatch(new_event("large", body=b"x" * 100))
    await joined.let_run_out()

    none = await joined.lease_batch(max_bytes=50, at_least_one=False)
    alone = await joined.lease_batch(max_bytes=50)

    assert (list(none.events), none.has_more) == ([], True)
    assert ids(alone.events) == ["large"]


async def test_no_suspect_is_leased_to_a_paused_group(suspects: TopicDriver) -> None:
    await suspects.pause()
    assert await suspects.lease() == []

    await suspects.resume()
    assert len(await suspects.lease()) == 1


async def test_adopting_a_suspect_reports_that_it_is_one(suspects: TopicDriver) -> None:
    await suspects.join("new")
    await suspects.dispatch("fine")
    leases = await suspects.lease()

    adopted = await suspects.adopt("new", *leases)

    assert [one.is_suspect for one in adopted if isinstance(one, AdoptedLease)] == [one.is_suspect for one in leases]


# --- what operators do ------------------------------------------------------------------------------------------------


async def test_suspects_are_counted_and_listed_among_the_others(harness: Harness, suspects: TopicDriver) -> None:
    await suspects.dispatch("fine")

    assert await suspects.counts() == {EventState.READY: 4}
    assert await suspects.engine.backlog(suspects.name, DEFAULT_GROUP) == 4
    assert await suspects.engine.work([(suspects.name, DEFAULT_GROUP)]) == [4]
    age_us = (await suspects.group()).oldest_ready_age_us
    assert age_us is not None
    assert age_us >= 2 * SECOND
    for newest_first in (False, True):
        listed, cursor = [], None
        while True:
            page = await suspects.page(EventState.READY, 1, cursor, newest_first=newest_first)
            listed += ids(page.events)
            cursor = page.next_cursor
            if cursor is None:
                break
        assert sorted(listed) == sorted([*NAMES, "fine"])
        assert listed[0 if newest_first else -1] == "fine"
    where = await suspects.group_info("first")
    assert (where.state, where.attempts, where.free_attempts) == (EventState.READY, 2, 2)


async def test_suspects_can_be_rescheduled_and_cancelled(harness: Harness, suspects: TopicDriver) -> None:
    await suspects.reschedule("first", "second", delay_us=MINUTE)
    assert await suspects.counts() == {EventState.SCHEDULED: 2, EventState.READY: 1}
    assert sorted(ids((await suspects.page(EventState.SCHEDULED, 10)).events)) == ["first", "second"]

    assert (await suspects.cancel("first", "third")).cancelled == 2
    await harness.advance(MINUTE)

    assert (await suspects.lease_one()).is_suspect
    assert await suspects.counts() == {EventState.LEASED: 1}


async def test_deleting_a_group_or_topic_removes_its_suspects(suspects: TopicDriver) -> None:
    assert await suspects.delete_group() == 3
    assert await suspects.queued() == 0

    await suspects.join()
    await suspects.dispatch("again")
    await suspects.let_run_out()
    assert await suspects.delete() == 1
    assert await suspects.engine.queued() == 0


# --- stalled sessions -------------------------------------------------------------------------------------------------


async def test_a_session_is_told_whether_its_leases_ran_out_or_were_settled(
    harness: Harness, joined: TopicDriver
) -> None:
    await joined.dispatch("slow", "done")
    slow, done = await joined.lease_each("slow", "done", lease_us=SECOND)

    await joined.ack(done)
    await harness.recorder.until_ended("worker-1", done.fencing_token)
    assert harness.recorder.ran_out["worker-1"] == []

    await harness.advance(SECOND)
    await harness.engine.expire_leases()
    await harness.recorder.until_ended("worker-1", slow.fencing_token)
    assert harness.recorder.ran_out["worker-1"] == [slow.fencing_token]


async def test_a_session_is_told_that_its_leases_were_extended(joined: TopicDriver) -> None:
    await joined.dispatch("event")
    lease = await joined.lease_one()

    await joined.extend(lease)

    recorder = joined.harness.recorder
    await recorder.until(lambda: recorder.extended == ["worker-1"], "that a lease was extended")


async def test_leases_that_a_stalled_session_lets_run_out_use_up_no_retry(
    harness: Harness, joined: TopicDriver
) -> None:
    """So however long a worker stalls, no event dies before a handler has seen it."""
    await joined.dispatch(new_event("event", max_retries=0))

    for _ in range(10):
        await joined.lease_batch(lease_us=SECOND, stalled=True)
        await harness.advance(SECOND)

    event = await joined.lease_one(lease_us=SECOND)
    assert (event.attempt, event.is_suspect) == (11, True)
    await harness.advance(SECOND)
    assert await joined.state("event") is EventState.DEAD


@pytest.mark.parametrize("sign", ["extend", "adopt", "adopt by another"])
async def test_a_session_that_settles_or_extends_is_no_longer_stalled(
    harness: Harness, joined: TopicDriver, sign: str
) -> None:
    await joined.dispatch(new_event("event", max_retries=0))
    await joined.let_run_out()
    (event,) = (await joined.lease_batch(lease_us=MINUTE, stalled=True)).events

    if sign == "extend":
        await joined.extend(event, lease_us=SECOND)
    elif sign == "adopt":
        await joined.adopt("worker-1", event, lease_us=SECOND)
    else:
        await joined.join("other")
        await joined.adopt("other", event, lease_us=SECOND)
    await harness.advance(SECOND)

    assert await joined.state("event") is EventState.DEAD


async def test_a_nack_of_a_stalled_session_uses_up_a_retry(joined: TopicDriver) -> None:
    await joined.dispatch(new_event("event", max_retries=0))
    (event,) = (await joined.lease_batch(stalled=True)).events

    await joined.nack(event, error="boom")

    assert await joined.state("event") is EventState.DEAD


async def test_the_mark_of_a_stalled_lease_applies_to_that_lease_only(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch(new_event("event", max_retries=0))
    await joined.lease_batch(lease_us=SECOND, stalled=True)
    await harness.advance(SECOND)

    await joined.let_run_out(2)

    assert await joined.state("event") is EventState.DEAD
