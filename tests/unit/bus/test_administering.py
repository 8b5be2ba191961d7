"""Operators' calls work while an engine serves and while it drains, but not after it has stopped."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from duebus_server.bus.administering import CANCELLED_AT_ONCE, DEAD_LETTERS_AT_ONCE, Administering
from duebus_server.bus.dispatching import DispatchCommand
from duebus_server.bus.engines import EngineStatus
from duebus_server.domain.administration import (
    CancelAnswer,
    DeadLetterFilter,
    DeadLetterProgress,
    DeadLetterStep,
    RetryPolicyChanges,
    TopicChanges,
)
from duebus_server.domain.clock import HOUR, SECOND
from duebus_server.domain.errors import DispatcherNotWorking, NoDispatcherSpecified, NotFound
from duebus_server.domain.model import DispatchRequest, LeaseRef, NackAction, NackRef
from duebus_server.domain.states import EventState
from duebus_server.domain.views import EventQuery
from support.builders import new_event
from unit.bus.conftest import GROUP, LOCAL, REDIS, TOPIC

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from unit.bus.conftest import Bus


QUERY = EventQuery("", EventState.READY, 10, 1 << 20)


@pytest.fixture
async def beats() -> AsyncIterator[Callable[[], int]]:
    """Counts the turns that another task gets on the event loop."""
    count = 0

    async def beat() -> None:
        nonlocal count
        while True:
            await asyncio.sleep(0)
            count += 1

    task = asyncio.create_task(beat())
    yield lambda: count
    task.cancel()


async def test_each_engine_shows_its_own_topics(bus: Bus) -> None:
    await bus.dispatch("a", "b")
    await bus.dispatch("c", engines=[REDIS])
    admin = Administering(bus.engines)
    assert [each.topic for each in await admin.list_topics(None, "", 10)] == [TOPIC]
    assert [(await admin.get_topic(engine, TOPIC)).queued for engine in (None, LOCAL, REDIS)] == [2, 2, 1]
    assert [each.event_id for each in (await admin.list_events(REDIS, TOPIC, QUERY)).events] == ["c"]
    with pytest.raises(NotFound):
        await admin.get_event(REDIS, TOPIC, "a")


async def test_a_draining_engine_can_be_inspected_and_a_stopped_one_can_not(bus: Bus) -> None:
    await bus.dispatch("a")
    admin = Administering(bus.engines)
    bus.running[0].status = EngineStatus.DRAINING
    assert (await admin.get_event(None, TOPIC, "a")).event_id == "a"
    bus.running[0].status = EngineStatus.STOPPED
    for look in (
        admin.list_topics(None, "", 10),
        admin.get_topic(None, TOPIC),
        admin.list_events(None, TOPIC, QUERY),
        admin.get_event(None, TOPIC, "a"),
    ):
        with pytest.raises(DispatcherNotWorking):
            await look


async def test_an_engine_that_does_not_run_here_can_not_be_inspected(bus: Bus) -> None:
    del bus.engines._running[REDIS]
    with pytest.raises(NoDispatcherSpecified):
        await Administering(bus.engines).list_topics(REDIS, "", 10)


async def make_dead(bus: Bus, count: int) -> None:
    """Make dead letters in GROUP."""
    for part in range(0, count, DEAD_LETTERS_AT_ONCE):
        await bus.dispatch(*(f"event {nth}" for nth in range(part, min(count, part + DEAD_LETTERS_AT_ONCE))))
    while leased := await bus.lease(bus.local):
        refs = [LeaseRef(each.event_id, each.fencing_token) for each in leased]
        await bus.local.nack(TOPIC, GROUP, [NackRef(each, NackAction.DEAD_LETTER) for each in refs])


async def test_many_dead_letters_are_moved_in_bounded_steps(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    await make_dead(bus, 2 * DEAD_LETTERS_AT_ONCE + 1)
    steps: list[DeadLetterStep] = []
    redrive = bus.local.redrive

    async def noting(topic: str, group: str, chosen: DeadLetterFilter, step: DeadLetterStep) -> DeadLetterProgress:
        steps.append(step)
        return await redrive(topic, group, chosen, step)

    monkeypatch.setattr(bus.local, "redrive", noting)
    moved = await Administering(bus.engines).redrive(None, TOPIC, GROUP, DeadLetterFilter(), rate=10)

    assert moved == 2 * DEAD_LETTERS_AT_ONCE + 1
    assert [(step.limit, step.moved, step.rate) for step in steps] == [
        (1_000, 0, 10),
        (1_000, 1_000, 10),
        (1_000, 2_000, 10),
    ]
    last = await bus.local.get_event(TOPIC, f"event {2 * DEAD_LETTERS_AT_ONCE}")
    assert last.groups[0].deliver_at_us == bus.clock.now_us() + 200 * SECOND


async def test_events_that_die_again_while_redriven_do_not_prolong_the_call(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a handler that keeps failing would keep the call busy forever."""
    await make_dead(bus, DEAD_LETTERS_AT_ONCE + 1)
    redrive = bus.local.redrive

    async def and_fail_at_once(*arguments: object) -> DeadLetterProgress:
        progress = await redrive(*arguments)  # type: ignore[arg-type]  # as they came
        bus.clock.advance(SECOND)
        await make_dead(bus, 0)
        return progress

    monkeypatch.setattr(bus.local, "redrive", and_fail_at_once)

    moved = await Administering(bus.engines).redrive(None, TOPIC, GROUP, DeadLetterFilter(), rate=0)

    assert moved == DEAD_LETTERS_AT_ONCE + 1


async def test_other_tasks_run_between_the_steps(bus: Bus, beats: Callable[[], int]) -> None:
    await make_dead(bus, 3 * DEAD_LETTERS_AT_ONCE)
    before = beats()

    assert await Administering(bus.engines).purge(None, TOPIC, GROUP, DeadLetterFilter()) == 3 * DEAD_LETTERS_AT_ONCE

    assert beats() - before >= 3


async def test_an_empty_group_means_the_default_one(bus: Bus) -> None:
    await bus.lease(bus.local, "default")
    await bus.lease(bus.local)
    admin = Administering(bus.engines)

    await admin.pause_group(None, TOPIC, "")
    assert {group.group: group.paused for group in (await admin.get_topic(None, TOPIC)).groups} == {
        "default": True,
        GROUP: False,
    }
    await admin.resume_group(None, TOPIC, "")
    await admin.delete_group(None, TOPIC, "")
    assert [group.group for group in (await admin.get_topic(None, TOPIC)).groups] == [GROUP]


async def test_settings_are_those_of_the_topic_or_of_the_named_group(bus: Bus) -> None:
    await bus.lease(bus.local)
    admin = Administering(bus.engines)
    changes = TopicChanges(RetryPolicyChanges(max_retries=9))

    assert (await admin.configure(None, TOPIC, GROUP, changes)).retry_policy.max_retries == 9
    assert (await bus.local.config_of(TOPIC)).retry_policy.max_retries == 3
    assert (await admin.configure(None, TOPIC, "", changes)).retry_policy.max_retries == 9
    assert (await bus.local.config_of(TOPIC)).retry_policy.max_retries == 9


# --- the events of a key ----------------------------------------------------------------------------------------------


async def dispatch_with_key(bus: Bus, key: str, *ids: str, delay_us: int | None = None) -> None:
    request = DispatchRequest([new_event(each, key=key, delay_us=delay_us) for each in ids])
    await bus.dispatching.dispatch(DispatchCommand(TOPIC, request, ()))


async def test_all_events_of_a_key_are_cancelled_in_every_group_and_no_others(bus: Bus) -> None:
    await bus.lease(bus.local)
    await bus.lease(bus.local, "other")
    await dispatch_with_key(bus, "gone", *[f"e{number}" for number in range(CANCELLED_AT_ONCE + 10)])
    await dispatch_with_key(bus, "gone", "scheduled", delay_us=HOUR)
    await dispatch_with_key(bus, "stays", "a", "b")

    answer = await Administering(bus.engines).cancel_key(None, TOPIC, "gone", None)

    assert answer == CancelAnswer(CANCELLED_AT_ONCE + 11, [])
    for group in (GROUP, "other"):
        counts = next(one for one in (await bus.local.get_topic(TOPIC)).groups if one.group == group).counts
        assert counts == dict.fromkeys(EventState, 0) | {EventState.READY: 1, EventState.BLOCKED: 1}


async def test_the_events_of_a_key_that_are_held_stay_and_are_named(bus: Bus) -> None:
    await dispatch_with_key(bus, "key", "held", "blocked")
    (held,) = await bus.lease(bus.local)

    answer = await Administering(bus.engines).cancel_key(None, TOPIC, "key", GROUP)

    assert answer == CancelAnswer(1, ["held"])
    assert [one.group for one in (await bus.local.get_event(TOPIC, held.event_id)).groups] == [GROUP]


async def test_other_calls_get_their_turn_while_a_key_is_cancelled(bus: Bus, beats: Callable[[], int]) -> None:
    await dispatch_with_key(bus, "key", *[f"e{number}" for number in range(3 * CANCELLED_AT_ONCE)])
    before = beats()

    await Administering(bus.engines).cancel_key(None, TOPIC, "key", None)

    assert beats() - before >= 3
