"""Dead letters can be redriven and purged: all, or those that a filter selects, in bounded steps."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.administration import DeadLetterFilter, DeadLetterStep
from duebus_server.domain.clock import HOUR, MINUTE, SECOND
from duebus_server.domain.errors import InvalidArgument, NotFound
from duebus_server.domain.model import DEFAULT_GROUP
from duebus_server.domain.states import EventState
from duebus_server.domain.views import AttemptOutcome
from support.builders import new_event
from support.topics import TopicDriver, ids

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from duebus_server.domain.administration import DeadLetterProgress
    from support.engines import Harness

    Verb = Callable[..., Awaitable[DeadLetterProgress]]

VERBS: dict[str, Callable[[TopicDriver], Verb]] = {
    "redrive": lambda topic: topic.redrive,
    "purge": lambda topic: topic.purge,
}
both = pytest.mark.parametrize("verb", VERBS)


async def dead(topic: TopicDriver, group: str = DEFAULT_GROUP) -> list[str]:
    """The dead letters, the longest dead first."""
    return ids((await topic.page(EventState.DEAD, 1_000, group=group)).events)


async def all_steps(topic: TopicDriver, verb: str, chosen: DeadLetterFilter, step: DeadLetterStep) -> list[int]:
    """Run all steps. Returns how many dead letters each has moved."""
    moved: list[int] = []
    next_step: DeadLetterStep | None = step
    while next_step is not None:
        progress = await VERBS[verb](topic)(chosen, next_step)
        moved.append(progress.moved)
        next_step = progress.next_step(next_step)
    return moved


# --- redrive ----------------------------------------------------------------------------------------------------------


async def test_a_redriven_event_is_ready_with_all_its_retries(joined: TopicDriver) -> None:
    await joined.configure(max_retries=1)
    await joined.dispatch("event")
    for _ in range(2):
        await joined.nack(await joined.lease_one(), delay_us=0, error="boom")
    assert await joined.counts() == {EventState.DEAD: 1}

    assert (await joined.redrive()).moved == 1

    assert await joined.counts() == {EventState.READY: 1}
    lease = await joined.lease_one()
    assert (lease.attempt, lease.last_error) == (1, "boom")
    await joined.nack(lease, delay_us=0)
    await joined.nack(await joined.lease_one())
    assert await joined.counts() == {EventState.DEAD: 1}


@pytest.mark.within_a_partition("§3.4: max_queued holds within each partition")
async def test_a_redriven_event_counts_as_queued_even_beyond_max_queued(joined: TopicDriver) -> None:
    await joined.configure(max_queued=1)
    await joined.make_dead("a", "b")
    assert await joined.queued() == 0

    await joined.redrive()

    assert await joined.queued() == 2
    await joined.ack(*await joined.lease())
    assert await joined.queued() == 0


async def test_an_event_that_waits_in_another_group_counts_once(topic: TopicDriver) -> None:
    await topic.join()
    await topic.join("other", "other")
    await topic.make_dead("event")

    await topic.redrive()

    assert await topic.queued() == 1
    assert await topic.state("event", "other") is EventState.READY
    await topic.ack(await topic.lease_one())
    assert await topic.queued() == 1


async def test_waiting_sessions_are_notified(harness: Harness, joined: TopicDriver) -> None:
    await joined.make_dead("event")
    harness.recorder.forget()

    await joined.redrive()

    await harness.recorder.until_due(joined.name, DEFAULT_GROUP, lambda at_us: at_us <= harness.now_us(), "due now")


async def test_a_redrive_keeps_the_history(harness: Harness, joined: TopicDriver) -> None:
    await joined.join(consumer="worker")
    await joined.make_dead("event", error="first")
    await harness.advance(MINUTE)
    redriven_us = harness.now_us()
    await joined.redrive()
    await harness.advance(MINUTE)
    await joined.dead_letter(await joined.lease_one(), error="second")

    where = await joined.group_info("event")

    found = [(one.attempt, one.outcome, one.error) for one in where.history]
    assert found == [(1, AttemptOutcome.DEAD, "first"), (1, AttemptOutcome.DEAD, "second")]
    first, second = where.history
    assert harness.near(redriven_us)(first.redriven_us)
    assert second.redriven_us is None
    assert (where.attempts, where.last_error) == (1, "second")


async def test_a_redriven_event_shows_its_last_error(joined: TopicDriver) -> None:
    await joined.make_dead("event", error="why")

    await joined.redrive()

    where = await joined.group_info("event")
    assert (where.state, where.attempts, where.last_error, where.dead_us) == (EventState.READY, 0, "why", None)


@pytest.mark.within_a_partition("§3.4: order holds within each partition")
async def test_redriving_at_a_rate(harness: Harness, joined: TopicDriver) -> None:
    await joined.make_dead("a", "b", "c", "d", "e")
    start_us = harness.now_us()

    progress = await joined.redrive(step=DeadLetterStep(1_000, rate=0.5))

    assert progress.moved == 5
    due_us = [(await joined.group_info(event_id)).deliver_at_us for event_id in "abcde"]
    assert [harness.near(start_us + nth * 2 * SECOND)(at_us) for nth, at_us in enumerate(due_us)] == [True] * 5
    assert [later - sooner for sooner, later in itertools.pairwise(due_us)] == [2 * SECOND] * 4
    assert ids(await joined.lease()) == ["a"]
    await harness.advance(4 * SECOND)
    assert ids(await joined.lease_all()) == ["b", "c"]


async def test_redriving_at_a_rate_in_several_steps(harness: Harness, joined: TopicDriver) -> None:
    await joined.make_dead("a", "b", "c")
    start_us = harness.now_us()
    first = DeadLetterStep(2, rate=1)
    progress = await joined.redrive(step=first)
    await harness.advance(30 * SECOND)  # however long the steps take, the rate counts from the first

    second = progress.next_step(first)
    assert second is not None
    await joined.redrive(step=second)

    assert harness.near(start_us + 2 * SECOND)((await joined.group_info("c")).deliver_at_us)


async def test_events_that_die_meanwhile_are_not_redriven_again(harness: Harness, joined: TopicDriver) -> None:
    await joined.make_dead("a", "b", "c")
    first = DeadLetterStep(2)
    progress = await joined.redrive(step=first)
    await harness.advance(harness.grain_us)
    await joined.dead_letter(*await joined.lease())
    second = progress.next_step(first)
    assert second is not None

    assert (await joined.redrive(step=second)).moved == 1

    assert sorted(await dead(joined)) == ["a", "b"]


# --- purge ------------------------------------------------------------------------------------------------------------


async def test_purged_events_are_gone(joined: TopicDriver) -> None:
    await joined.make_dead("a", "b")
    await joined.dispatch("ready")

    assert (await joined.purge()).moved == 2

    assert await joined.counts() == {EventState.READY: 1}
    assert await joined.queued() == 1
    with pytest.raises(NotFound):
        await joined.engine.get_event(joined.name, "a")
    assert list((await joined.dispatch("a")).duplicate_event_ids) == ["a"]


async def test_copies_in_other_groups_stay(topic: TopicDriver) -> None:
    await topic.join()
    await topic.join("other", "other")
    await topic.make_dead("event")

    await topic.purge()

    assert await topic.state("event") is None
    assert ids(await topic.lease("other", "other")) == ["event"]


# --- both -------------------------------------------------------------------------------------------------------------


@both
async def test_a_step_without_dead_letters(joined: TopicDriver, verb: str) -> None:
    await joined.dispatch("ready", new_event("scheduled", delay_us=MINUTE))

    progress = await VERBS[verb](joined)()

    assert (progress.moved, progress.cursor) == (0, None)
    assert await joined.counts() == {EventState.READY: 1, EventState.SCHEDULED: 1}


@both
async def test_selecting_by_ids(joined: TopicDriver, verb: str) -> None:
    await joined.make_dead("a", "b", "c")
    await joined.dispatch("ready")

    progress = await VERBS[verb](joined)(DeadLetterFilter(event_ids=["c", "missing", "ready", "a"]))

    assert progress.moved == 2
    assert await dead(joined) == ["b"]


@both
async def test_selecting_by_error(joined: TopicDriver, verb: str) -> None:
    await joined.make_dead("a", error="connection refused: [db-1]")
    await joined.make_dead("b", error="no such customer")
    await joined.make_dead("c", error="CONNECTION refused: [db-1]")

    progress = await VERBS[verb](joined)(DeadLetterFilter(error_contains="tion refused: [db"))

    assert progress.moved == 1
    assert await dead(joined) == ["b", "c"]


@both
async def test_selecting_by_age(harness: Harness, joined: TopicDriver, verb: str) -> None:
    await joined.make_dead("old")
    await harness.advance(HOUR)
    await joined.make_dead("new")

    assert (await VERBS[verb](joined)(DeadLetterFilter(min_age_us=2 * HOUR))).moved == 0
    assert (await VERBS[verb](joined)(DeadLetterFilter(min_age_us=HOUR))).moved == 1

    assert await dead(joined) == ["new"]


@both
async def test_conditions_are_combined(harness: Harness, joined: TopicDriver, verb: str) -> None:
    await joined.make_dead("a", error="boom")
    await joined.make_dead("b", error="crash")
    await joined.make_dead("c", error="boom")
    await harness.advance(HOUR)
    await joined.make_dead("d", error="boom")

    progress = await VERBS[verb](joined)(DeadLetterFilter(["a", "b", "d"], "boom", MINUTE))

    assert progress.moved == 1
    assert await dead(joined) == ["b", "c", "d"]


@both
async def test_steps_examine_each_dead_letter_once(joined: TopicDriver, verb: str) -> None:
    for nth in range(7):
        await joined.make_dead(f"event {nth}", error="even" if nth % 2 == 0 else "odd")

    moved = await all_steps(joined, verb, DeadLetterFilter(error_contains="even"), DeadLetterStep(3))

    assert sum(moved) == 4
    assert max(moved) <= 3
    assert await dead(joined) == ["event 1", "event 3", "event 5"]


@both
async def test_selecting_by_ids_in_steps(joined: TopicDriver, verb: str) -> None:
    await joined.make_dead("a", "b", "c", "d")

    moved = await all_steps(joined, verb, DeadLetterFilter(["d", "c", "none", "a"]), DeadLetterStep(2))

    assert sum(moved) == 3
    assert await dead(joined) == ["b"]


@both
async def test_many_dead_letters_of_the_same_time(joined: TopicDriver, verb: str) -> None:
    await joined.dispatch(*(f"event {nth}" for nth in range(25)))
    await joined.dead_letter(*await joined.lease())

    moved = await all_steps(joined, verb, DeadLetterFilter(), DeadLetterStep(10))

    assert sum(moved) == 25
    assert await dead(joined) == []


@both
async def test_steps_pass_over_what_the_filter_excludes(joined: TopicDriver, verb: str) -> None:
    await joined.dispatch(*(f"event {nth}" for nth in range(5)))
    first, *others = await joined.lease()
    await joined.dead_letter(*others, error="other")
    await joined.dead_letter(first, error="this")
    chosen, step = DeadLetterFilter(error_contains="this"), DeadLetterStep(1)

    moved = []
    for _ in range(6):
        progress = await VERBS[verb](joined)(chosen, step)
        moved.append(progress.moved)
        following = progress.next_step(step)
        if following is None:
            break
        step = following

    assert following is None, "each step has looked at another one"
    assert sum(moved) == 1


@both
async def test_only_the_named_group_is_affected(topic: TopicDriver, verb: str) -> None:
    await topic.join()
    await topic.join(group="other")
    await topic.dispatch("event")
    for group in (DEFAULT_GROUP, "other"):
        await topic.dead_letter(await topic.lease_one(group=group), group=group)

    assert (await VERBS[verb](topic)(group="other")).moved == 1
    assert (await dead(topic), await dead(topic, "other")) == (["event"], [])
    assert (await VERBS[verb](topic)(group="")).moved == 1
    assert await dead(topic) == []


@both
async def test_unclaimed_events_are_not_dead(topic: TopicDriver, verb: str) -> None:
    await topic.dispatch("event")

    assert (await VERBS[verb](topic)(group="")).moved == 0


@both
async def test_an_unknown_topic_or_group_is_not_found(topic: TopicDriver, verb: str) -> None:
    with pytest.raises(NotFound) as raised:
        await VERBS[verb](topic)()
    assert raised.value.metadata["topic"] == topic.name

    await topic.dispatch("event")
    with pytest.raises(NotFound) as raised:
        await VERBS[verb](topic)(group="nobody")
    assert raised.value.metadata == {"topic": topic.name, "group": "nobody"}


@both
@pytest.mark.parametrize("cursor", ["nonsense", "1.2.3", "-1", "", "1.x"])
async def test_an_unknown_cursor_is_refused(joined: TopicDriver, verb: str, cursor: str) -> None:
    await joined.make_dead("event")

    with pytest.raises(InvalidArgument):
        await VERBS[verb](joined)(None, DeadLetterStep(10, began_us=joined.harness.now_us(), cursor=cursor))

    assert await dead(joined) == ["event"]
