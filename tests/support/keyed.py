"""Events with a key, for tests of the order by key and of key policies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.builders import new_event
from support.topics import ids

if TYPE_CHECKING:
    from duebus_server.domain.model import NewEvent
    from duebus_server.domain.rates import KeyPolicy

    from support.topics import TopicDriver

KEY = "customer-17"


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
