"""Every arrow of ``domain.states``, and no other way out of a state."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR, MINUTE, SECOND
from duebus_server.domain.states import TRANSITIONS, EventState, Transition
from support.builders import new_event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from duebus_server.domain.model import LeasedEvent
    from support.topics import TopicDriver

EVENT = "the-event"
RETENTION_US = HOUR


async def given_scheduled(topic: TopicDriver) -> None:
    await topic.dispatch(new_event(EVENT, delay_us=MINUTE))


async def given_ready(topic: TopicDriver) -> None:
    await topic.dispatch(EVENT)


async def given_blocked(topic: TopicDriver) -> None:
    await topic.dispatch(new_event("before", key="key"), new_event(EVENT, key="key"))


async def given_blocked_by_a_leased_event(topic: TopicDriver) -> None:
    await given_blocked(topic)
    await topic.lease_one()


async def given_leased(topic: TopicDriver) -> LeasedEvent:
    await topic.dispatch(EVENT)
    return await topic.lease_one(lease_us=SECOND)


async def given_dead(topic: TopicDriver) -> None:
    await topic.dead_letter(await given_leased(topic))


async def due(topic: TopicDriver) -> None:
    await given_scheduled(topic)
    await topic.harness.advance(MINUTE)


async def lease(topic: TopicDriver) -> None:
    await given_leased(topic)


async def ack(topic: TopicDriver) -> None:
    assert await topic.ack(await given_leased(topic)) == [None]


async def retry(topic: TopicDriver) -> None:
    assert await topic.nack(await given_leased(topic), delay_us=SECOND) == [None]


async def release(topic: TopicDriver) -> None:
    assert await topic.release(await given_leased(topic)) == [None]


async def expire(topic: TopicDriver) -> None:
    await given_leased(topic)
    await topic.harness.advance(SECOND)


async def purge(topic: TopicDriver) -> None:
    await given_dead(topic)
    await topic.harness.advance(RETENTION_US)
    await topic.engine.expire_leases()


async def cancel_scheduled(topic: TopicDriver) -> None:
    await given_scheduled(topic)
    await topic.cancel(EVENT)


async def cancel_ready(topic: TopicDriver) -> None:
    await given_ready(topic)
    await topic.cancel(EVENT)


async def reschedule_scheduled(topic: TopicDriver) -> None:
    await given_scheduled(topic)
    await topic.reschedule(EVENT, delay_us=HOUR)


async def reschedule_ready(topic: TopicDriver) -> None:
    await given_ready(topic)
    await topic.reschedule(EVENT, delay_us=HOUR)


async def block(topic: TopicDriver) -> None:
    await topic.dispatch(new_event("due before", key="key", delay_us=SECOND))
    await topic.harness.advance(MINUTE)
    await topic.dispatch(new_event(EVENT, key="key"))


async def open_(topic: TopicDriver) -> None:
    await given_blocked(topic)
    await topic.cancel("before")


async def cancel_blocked(topic: TopicDriver) -> None:
    await given_blocked(topic)
    await topic.cancel(EVENT)


async def reschedule_blocked(topic: TopicDriver) -> None:
    await given_blocked(topic)
    await topic.reschedule(EVENT, delay_us=HOUR)


async def redrive(topic: TopicDriver) -> None:
    await given_dead(topic)
    await topic.redrive()


ARROWS: dict[tuple[EventState, Transition], Callable[[TopicDriver], Awaitable[None]]] = {
    (EventState.SCHEDULED, Transition.DUE): due,
    (EventState.SCHEDULED, Transition.CANCEL): cancel_scheduled,
    (EventState.SCHEDULED, Transition.RESCHEDULE): reschedule_scheduled,
    (EventState.READY, Transition.LEASE): lease,
    (EventState.READY, Transition.CANCEL): cancel_ready,
    (EventState.READY, Transition.RESCHEDULE): reschedule_ready,
    (EventState.READY, Transition.BLOCK): block,
    (EventState.BLOCKED, Transition.OPEN): open_,
    (EventState.BLOCKED, Transition.CANCEL): cancel_blocked,
    (EventState.BLOCKED, Transition.RESCHEDULE): reschedule_blocked,
    (EventState.LEASED, Transition.ACK): ack,
    (EventState.LEASED, Transition.RETRY): retry,
    (EventState.LEASED, Transition.RELEASE): release,
    (EventState.LEASED, Transition.EXPIRE): expire,
    (EventState.LEASED, Transition.DIE): given_dead,
    (EventState.DEAD, Transition.REDRIVE): redrive,
    (EventState.DEAD, Transition.PURGE): purge,
}


def test_each_transition_is_covered_by_these_tests() -> None:
    assert set(TRANSITIONS) == set(ARROWS)


@pytest.mark.topic_config(dead_letter_retention_us=RETENTION_US)
@pytest.mark.parametrize("arrow", ARROWS, ids="-".join)
async def test_each_transition_leads_to_the_state_in_the_drawing(
    joined: TopicDriver, arrow: tuple[EventState, Transition]
) -> None:
    await ARROWS[arrow](joined)

    target = TRANSITIONS[arrow]
    assert await joined.state(EVENT) is target
    others = [await joined.state(other) for other in ("before", "due before")]
    assert await joined.counts() == Counter(state for state in (target, *others) if state)


async def test_a_lease_that_ends_without_retries_left_makes_a_dead_letter(joined: TopicDriver) -> None:
    await joined.dispatch(new_event(EVENT, max_retries=0))
    await joined.let_run_out()
    await joined.lease_one(lease_us=SECOND)

    await joined.harness.advance(SECOND)

    assert await joined.state(EVENT) is TRANSITIONS[EventState.LEASED, Transition.DIE]


@pytest.mark.parametrize(
    ("state", "given"),
    [
        (EventState.SCHEDULED, given_scheduled),
        (EventState.BLOCKED, given_blocked_by_a_leased_event),
        (EventState.LEASED, given_leased),
        (EventState.DEAD, given_dead),
    ],
)
async def test_only_a_ready_event_can_be_leased(
    joined: TopicDriver, state: EventState, given: Callable[[TopicDriver], Awaitable[object]]
) -> None:
    await given(joined)

    assert await joined.lease() == []

    assert await joined.state(EVENT) is state


@pytest.mark.parametrize("settle", ["ack", "nack", "release", "dead_letter", "extend"])
async def test_only_a_leased_event_can_be_settled(joined: TopicDriver, settle: str) -> None:
    """Once an event is given back, READY or SCHEDULED, its old lease no longer settles it."""
    lease = await given_leased(joined)
    await joined.release(lease)

    assert await getattr(joined, settle)(lease) != [None]

    assert await joined.state(EVENT) is EventState.READY
