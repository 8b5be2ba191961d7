"""Imports what another engine held. What is there already is left alone, so an import can be repeated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from secrets import token_hex
from typing import TYPE_CHECKING

from duebus_server.domain.model import SubscriberInfo
from duebus_server.domain.schedules import ScheduleRecord
from duebus_server.domain.transfer import HeldEvent, HeldGroup

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from duebus_server.domain.transfer import Held
    from duebus_server.engine.redis.partitioned.engine import PartitionedEngine

MOST_SCHEDULES = 1_000_000
"""The greatest value of the setting ``max_schedules``."""

EVENTS_AT_ONCE, BYTES_AT_ONCE = 100, 1 << 20
"""How many events, and about how many bytes of bodies, one step stores. It blocks Redis while it runs."""


@dataclass
class Imported:
    """The progress of an import.

    Attributes:
        stored: how many events were stored.
        skipped: how many the topic held already, or remembered.
    """

    stored: int = 0
    skipped: int = 0


async def import_held(engine: PartitionedEngine, held: Iterable[Held], done: Imported) -> None:
    """Store topics, groups, events and schedules. A leased event is stored as if its holder had released it.

    Args:
        engine: started.
        held: each topic before its groups, and these before its events; schedules anywhere.
        done: is updated with each step.

    Raises:
        DispatcherNotWorking: Redis can't be reached, or refuses a command. The whole import can safely be repeated.
        InvalidArgument: a setting contradicts those of the topic, or a group of the name is ephemeral.
        NotFound: a group was deleted meanwhile.
    """
    for is_event, some in groupby(held, lambda one: isinstance(one, HeldEvent)):
        if is_event:
            for topic, events in groupby(some, lambda one: one.topic):
                for batch in _batches(_released(one, engine.now_us()) for one in events if isinstance(one, HeldEvent)):
                    stored = await engine.import_events(topic, batch)
                    done.stored += stored
                    done.skipped += len(batch) - stored
            continue
        for one in some:
            if isinstance(one, ScheduleRecord):
                await engine.save_schedule(one, 0, MOST_SCHEDULES)  # unless it is there
            elif isinstance(one, HeldGroup):
                await _make_group(engine, one)
            elif not isinstance(one, HeldEvent):
                await engine.configure_topic(one.topic, one.changes)


async def _make_group(engine: PartitionedEngine, group: HeldGroup) -> None:
    """Make a group, as its first subscriber would."""
    session_id = f"import-{token_hex(8)}"
    await engine.join(group.topic, group.group, SubscriberInfo(session_id, "duebus import", engine.now_us()))
    try:
        if group.changes:
            await engine.configure_group(group.topic, group.group, group.changes)
        if group.paused:
            await engine.pause_group(group.topic, group.group)
    finally:
        await engine.leave(group.topic, group.group, session_id)


def _released(event: HeldEvent, now_us: int) -> HeldEvent:
    return replace(event, copies=[copy.released(now_us) for copy in event.copies])


def _batches(events: Iterable[HeldEvent]) -> Iterator[list[HeldEvent]]:
    """The events, as many at a time as one step takes."""
    batch: list[HeldEvent] = []
    size = 0
    for event in events:
        if batch and (len(batch) == EVENTS_AT_ONCE or size + len(event.body) > BYTES_AT_ONCE):
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += len(event.body)
    if batch:
        yield batch
