"""Events with a key, for tests of the order by key and of key policies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import MINUTE

from support.builders import new_event
from support.topics import ids

if TYPE_CHECKING:
    from duebus_server.domain.model import NewEvent
    from duebus_server.domain.rates import KeyPolicy

    from support.topics import TopicDriver

KEY = "customer-17"

ON_THE_JOURNAL = pytest.mark.parametrize("harness", ["journal"], indirect=True)
"""A restart of the engine itself: the journal's is a new process, while Redis outlives the server."""


def keyed(*event_ids: str, key: str = KEY, delay_us: int | None = None) -> list[NewEvent]:
    """Events of one key."""
    return [new_event(event_id, key=key, delay_us=delay_us) for event_id in event_ids]


async def follow(topic: TopicDriver, policy: KeyPolicy) -> None:
    """Change the key policy, and let the group take it up."""
    await topic.configure(keys=policy)
    await topic.counts()


async def lease_ids(topic: TopicDriver) -> list[str]:
    """The ids of what can be leased now."""
    return sorted(ids(await topic.lease_all()))


async def order_of(topic: TopicDriver) -> list[str]:
    """The ids of what is delivered when one event is leased and acked after the other, until nothing is due."""
    found: list[str] = []
    while leased := await topic.lease_all():
        found += ids(leased)
        assert await topic.ack(*leased) == [None] * len(leased)
    return found


async def restart(topic: TopicDriver) -> None:
    """End the engine and start it again, and let the leases of before run out."""
    topic.engine = await topic.harness.restart()
    await topic.harness.advance(MINUTE)
    await topic.join()
