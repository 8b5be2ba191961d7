"""The operators' use cases: inspect and change topics, groups and events; redrive and purge dead letters."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from duebus_server.domain.administration import CancelAnswer, DeadLetterStep
from duebus_server.domain.model import DEFAULT_GROUP
from duebus_server.domain.states import EventState
from duebus_server.domain.views import EventQuery

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from duebus_server.bus.engines import Engines
    from duebus_server.domain.administration import (
        DeadLetterFilter,
        DeadLetterProgress,
        NewDueTime,
        TopicChanges,
    )
    from duebus_server.domain.model import EngineName
    from duebus_server.domain.views import EventInfo, EventPage, KeyPage, KeyQuery, TopicConfig, TopicInfo
    from duebus_server.engine.base import Engine

    # One step through the dead letters of a group: (topic, group, filter, step) -> progress.
    StepVerb = Callable[[str, str, DeadLetterFilter, DeadLetterStep], Awaitable[DeadLetterProgress]]

DEAD_LETTERS_AT_ONCE = 1_000
"""How many dead letters one engine call examines. Bounded, because other calls wait meanwhile."""

CANCELLED_AT_ONCE = 1_000
"""How many events of a key one engine call cancels."""

PAGE_BYTES = 4 << 20
"""How many bytes of their bodies one engine call reads for that."""

CANCELLED_STATES = (EventState.SCHEDULED, EventState.BLOCKED, EventState.READY)
"""The states whose events can be cancelled, in the order in which events pass through them, so that none is missed."""

log = structlog.get_logger()


class Administering:
    """Inspects engines and changes what they hold. Works during a drain too.

    Raises, in all methods:
        NoDispatcherSpecified: this server does not run the engine.
        DispatcherNotWorking: it is starting or stopped.
        NotFound: no such topic, group or event.
    """

    def __init__(self, engines: Engines) -> None:
        self._engines = engines

    # --- view --------------------------------------------------------------------------------------------------------

    async def list_topics(self, engine: EngineName | None, after: str, limit: int) -> Sequence[TopicInfo]:
        """Up to ``limit`` topics whose names come after ``after``, by name."""
        return await self._engine(engine).list_topics(after, limit)

    async def get_topic(self, engine: EngineName | None, topic: str) -> TopicInfo:
        """One topic with its groups, and the last minutes of it and of these groups."""
        target = self._engine(engine)
        info = await target.get_topic(topic)
        existing = {group.group for group in info.groups}
        minutes = [
            replace(minute, groups={name: tally for name, tally in minute.groups.items() if name in existing})
            for minute in await target.minutes(topic)
        ]
        return replace(info, minutes=minutes)

    async def list_events(self, engine: EngineName | None, topic: str, query: EventQuery) -> EventPage:
        """A page of a group's events in one state."""
        return await self._engine(engine).list_events(topic, query)

    async def list_keys(self, engine: EngineName | None, topic: str, query: KeyQuery) -> KeyPage:
        """A page of a group's keys, those with the most blocked events first."""
        return await self._engine(engine).list_keys(topic, query)

    async def get_event(self, engine: EngineName | None, topic: str, event_id: str) -> EventInfo:
        """One event and its history."""
        return await self._engine(engine).get_event(topic, event_id)

    # --- topics and groups ------------------------------------------------------------------------------------------

    async def configure(self, engine: EngineName | None, topic: str, group: str, changes: TopicChanges) -> TopicConfig:
        """Change a topic's settings, or those that a group has of its own if one is named.

        Returns:
            The settings now in force.

        Raises:
            InvalidArgument: the settings contradict each other, or the engine can't have them.
        """
        target = self._engine(engine)
        if group:
            config = await target.configure_group(topic, group, changes.for_group())
        else:
            config = await target.configure_topic(topic, changes)
        log.info("configured", engine=target.name, topic=topic, group=group, config=config)
        return config

    async def delete_topic(self, engine: EngineName | None, topic: str) -> int:
        """Remove a topic with everything in it. Returns how many events were removed."""
        target = self._engine(engine)
        removed = await target.delete_topic(topic)
        log.info("topic deleted", engine=target.name, topic=topic, removed=removed)
        return removed

    async def delete_group(self, engine: EngineName | None, topic: str, group: str) -> int:
        """Remove a group. Returns how many events were removed from it."""
        target, group = self._engine(engine), group or DEFAULT_GROUP
        removed = await target.delete_group(topic, group)
        log.info("group deleted", engine=target.name, topic=topic, group=group, removed=removed)
        return removed

    async def pause_group(self, engine: EngineName | None, topic: str, group: str) -> None:
        """Deliver nothing to a group until it is resumed."""
        target, group = self._engine(engine), group or DEFAULT_GROUP
        await target.pause_group(topic, group)
        log.info("group paused", engine=target.name, topic=topic, group=group)

    async def resume_group(self, engine: EngineName | None, topic: str, group: str) -> None:
        """End a pause."""
        target, group = self._engine(engine), group or DEFAULT_GROUP
        await target.resume_group(topic, group)
        log.info("group resumed", engine=target.name, topic=topic, group=group)

    # --- events -----------------------------------------------------------------------------------------------------

    async def cancel(
        self, engine: EngineName | None, topic: str, event_ids: Sequence[str], group: str | None
    ) -> CancelAnswer:
        """Remove scheduled, ready and blocked events, from one group or, with None, from every group."""
        target = self._engine(engine)
        answer = await target.cancel(topic, event_ids, group)
        log.info("events cancelled", engine=target.name, topic=topic, group=group, cancelled=answer.cancelled)
        return answer

    async def cancel_key(self, engine: EngineName | None, topic: str, key: str, group: str | None) -> CancelAnswer:
        """Remove the scheduled, ready and blocked events of a key, from one group or, with None, from every group.

        This takes many engine calls. If one fails, some events have been removed already. The answer names the events
        that are leased, not those that are dead.
        """
        target = self._engine(engine)
        groups = [group]
        if group is None:
            groups = [info.group for info in (await target.get_topic(topic)).groups]
        cancelled = 0
        leased: dict[str, None] = {}
        for name in groups:
            for state in CANCELLED_STATES:
                async for event_ids in _ids_of_key(target, topic, name or "", state, key):
                    cancelled += (await target.cancel(topic, event_ids, group)).cancelled
            async for event_ids in _ids_of_key(target, topic, name or "", EventState.LEASED, key):
                leased.update(dict.fromkeys(event_ids))
        log.info("events of a key cancelled", engine=target.name, topic=topic, group=group, cancelled=cancelled)
        return CancelAnswer(cancelled, list(leased))

    async def reschedule(
        self, engine: EngineName | None, topic: str, event_ids: Sequence[str], group: str | None, due: NewDueTime
    ) -> int:
        """Change the due time of scheduled, ready and blocked events, all or none, in one group or, with None, in every
        group.

        Returns:
            How many events were moved.

        Raises:
            ConcurrentModification: one is leased or dead.
        """
        target = self._engine(engine)
        rescheduled = await target.reschedule(topic, event_ids, group, due)
        log.info("events rescheduled", engine=target.name, topic=topic, group=group, rescheduled=rescheduled)
        return rescheduled

    async def redrive(
        self, engine: EngineName | None, topic: str, group: str, chosen: DeadLetterFilter, rate: float
    ) -> int:
        """Make dead letters ready again, at ``rate`` events a second (0: all at once).

        This takes many engine calls. If one fails, the events that died first have been moved already.

        Returns:
            How many were moved.
        """
        target = self._engine(engine)
        first = DeadLetterStep(DEAD_LETTERS_AT_ONCE, rate)
        redriven = await _in_steps(target.redrive, topic, group, chosen, first)
        log.info("dead letters redriven", engine=target.name, topic=topic, group=group, redriven=redriven)
        return redriven

    async def purge(self, engine: EngineName | None, topic: str, group: str, chosen: DeadLetterFilter) -> int:
        """Remove dead letters, as ``redrive`` does. Returns how many were removed."""
        target = self._engine(engine)
        purged = await _in_steps(target.purge, topic, group, chosen, DeadLetterStep(DEAD_LETTERS_AT_ONCE))
        log.info("dead letters purged", engine=target.name, topic=topic, group=group, purged=purged)
        return purged

    def _engine(self, name: EngineName | None) -> Engine:
        return self._engines.in_use(name).engine


async def _in_steps(verb: StepVerb, topic: str, group: str, chosen: DeadLetterFilter, first: DeadLetterStep) -> int:
    """Take steps until none is left; other tasks run in between. Returns how many were moved."""
    step: DeadLetterStep | None = first
    moved = 0
    while step is not None:
        progress = await verb(topic, group, chosen, step)
        moved += progress.moved
        step = progress.next_step(step)
        await asyncio.sleep(0)
    return moved


async def _ids_of_key(engine: Engine, topic: str, group: str, state: EventState, key: str) -> AsyncIterator[list[str]]:
    """The ids of a key's events in a state, some at a time; other tasks run in between.

    A page begins behind the one before, so the caller may cancel its events.
    """
    cursor: str | None = None
    while True:
        query = EventQuery(group, state, CANCELLED_AT_ONCE, PAGE_BYTES, cursor, key=key)
        page = await engine.list_events(topic, query)
        if page.events:
            yield [event.event_id for event in page.events]
        cursor = page.next_cursor
        if cursor is None:
            return
        await asyncio.sleep(0)
