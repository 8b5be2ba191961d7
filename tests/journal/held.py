"""A data directory with events in every state, for tests of what it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duebus.v1 import event_bus_pb2
from duebus_server.domain.clock import HOUR, MINUTE, SECOND, ManualClock
from duebus_server.domain.model import NewEvent
from journal.engines import opened
from support.engines import START_US
from support.topics import TopicDriver

if TYPE_CHECKING:
    from pathlib import Path


async def fill(path: Path, now_us: int = START_US) -> None:
    """Make a journal with two groups, and an event for each thing that can become of one in the group ``default``.

    The other group is paused, and holds all of them. A second topic has no group yet.
    """
    clock = ManualClock(now_us)
    async with opened(path, clock=clock) as one:
        topic = one.topic
        await topic.configure(lease_us=MINUTE, backoff_initial_us=2 * SECOND)
        await topic.join(consumer="host-1", grace_us=SECOND)
        await topic.join("other-1", "other")
        await topic.configure_group("other", max_retries=7)
        await topic.pause("other")
        await topic.join("viewer", "instance", ephemeral_us=HOUR)
        await topic.dispatch(*map(event, ("dead", "retried", "leased", "expired", "acked")), origin="ipv4:10.0.0.1:80")
        leased = {one.event_id: one for one in await topic.lease()}
        await topic.extend(leased["expired"], lease_us=SECOND)
        clock.advance(2 * SECOND)
        await topic.engine.expire_leases()
        await topic.dead_letter(leased["dead"], error="hopeless")
        await topic.nack(leased["retried"], error="failed", delay_us=HOUR)
        await topic.ack(leased["acked"])
        await topic.dispatch(event("scheduled", HOUR), event("plain"))
        other = TopicDriver(topic.harness)
        other.name = "unclaimed"
        await other.dispatch(event("waits"))


KEYED = ["held", "earlier", "behind"]
"""What ``fill_with_key`` leaves of one key, in the order in which it is delivered."""


async def fill_with_key(path: Path, now_us: int = START_US) -> None:
    """Make a journal in which an event waits for its retry, and others of its key, due before that, are blocked."""
    clock = ManualClock(now_us)
    async with opened(path, clock=clock) as one:
        await one.topic.join()
        await one.topic.dispatch(event("earlier", SECOND, key="key"), event("held", key="key"))
        await one.topic.nack(await one.topic.lease_one(), delay_us=MINUTE, error="failed")
        clock.advance(2 * SECOND)
        await one.topic.dispatch(event("behind", key="key"))


def event(event_id: str, delay_us: int | None = None, key: str = "") -> NewEvent:
    """An event with everything that one can have, encoded as the wire does."""
    message = event_bus_pb2.Event(
        data=f"data of {event_id}".encode(), content_type="text/plain", attributes={"tenant": "a"}, max_retries=3
    )
    message.key = key
    return NewEvent(event_id, message.SerializeToString(), delay_us, max_retries=3, key=key)
