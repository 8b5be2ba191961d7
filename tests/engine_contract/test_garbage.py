"""The verbs of an event's usual life leave no reference cycles: a server with many events collects seldom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.builders import new_events
from support.garbage import cycles

if TYPE_CHECKING:
    from support.topics import TopicDriver

ROUNDS = 50


async def test_events_leave_nothing_to_the_garbage_collector(joined: TopicDriver) -> None:
    async def life() -> None:
        await joined.dispatch(*new_events(2))
        first, second = await joined.lease()
        await joined.extend(first)
        await joined.ack(first)
        await joined.release(second)
        await joined.ack(await joined.lease_one())

    await life()
    with cycles() as found:
        for _ in range(ROUNDS):
            await life()
    assert len(found) < ROUNDS, [type(each) for each in found]
