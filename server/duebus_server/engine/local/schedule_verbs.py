"""The verbs of the local engine on schedules. Each is one synchronous step."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from duebus_server.domain.errors import DueBusError, InvalidArgument, TopicHasSchedules
from duebus_server.domain.model import DispatchRequest
from duebus_server.domain.schedules import DueSchedules, Firing, FiringOutcome, Overlap, ScheduleRecord
from duebus_server.engine.local.core import EngineCore

if TYPE_CHECKING:
    from collections.abc import Sequence

UNFINISHED = {Overlap.SKIP: 1, Overlap.BUFFER_ONE: 2}
"""How many of the last events are all unfinished when a firing is skipped."""

LAST_IDS = 2
"""How many ids of its last events a schedule keeps."""


class ScheduleVerbs(EngineCore):
    """Stores schedules and fires them; ``engine.base.Engine`` documents the guarantees of each verb."""

    def wall_us(self) -> int:
        """The host's clock."""
        return self._clock.host_us()

    async def save_schedule(self, record: ScheduleRecord, replaces: int, most: int) -> bool:
        """See ``Engine.save_schedule``."""
        self._working_now()
        schedules = self._topics.schedules
        known = schedules.find(record.name)
        if (known.version if known is not None else 0) != replaces:
            return False
        if known is not None and known.topic != record.topic:
            raise TopicHasSchedules(known.topic, known.name)
        if known is None and len(schedules) >= most:
            raise InvalidArgument("schedule", f"the engine may have at most {most} schedules, and has as many")
        self._store(replace(record, version=self._next_version(replaces)))
        await self._saved()
        return True

    async def get_schedule(self, name: str) -> ScheduleRecord:
        """See ``Engine.get_schedule``."""
        self._working_now()
        return self._topics.schedules.known(name)

    async def list_schedules(self, after: str, limit: int) -> list[ScheduleRecord]:
        """See ``Engine.list_schedules``."""
        self._working_now()
        return self._topics.schedules.page(after, limit)

    async def delete_schedule(self, name: str) -> None:
        """See ``Engine.delete_schedule``."""
        self._working_now()
        self._topics.schedules.known(name)
        self._topics.schedules.remove(name)
        if self._journal is not None:
            self._journal.recording.schedule_deleted(name)
        await self._saved()

    async def due_schedules(self, limit: int) -> DueSchedules:
        """See ``Engine.due_schedules``."""
        self._working_now()
        return self._topics.schedules.due(self._topics.host.now_us, limit)

    async def fire_schedules(self, firings: Sequence[Firing]) -> list[FiringOutcome]:
        """See ``Engine.fire_schedules``. One step for all."""
        now_us = self._working_now(dispatches=True)
        outcomes = [self._fire(firing, now_us) for firing in firings]
        for name in dict.fromkeys(firing.record.topic for firing in firings):
            topic = self._topics.find(name)
            if topic is not None:
                self._topics.announce_all(topic)
                if topic.is_idle():
                    self._topics.remove(topic)
        self._announce_schedules()
        await self._saved()
        return outcomes

    def _fire(self, firing: Firing, now_us: int) -> FiringOutcome:
        """Fire one schedule."""
        record = self._topics.schedules.find(firing.record.name)
        if record is None or record.version != firing.record.version:
            return FiringOutcome.CHANGED
        if record.due_us is None or record.due_us > self._topics.host.now_us:
            return FiringOutcome.EARLY
        outcome = self._dispatched(firing, record, now_us)
        if outcome is not FiringOutcome.FULL:
            self._advance(firing, record, outcome)
        return outcome

    def _dispatched(self, firing: Firing, record: ScheduleRecord, now_us: int) -> FiringOutcome:
        """Dispatch the event of a firing, unless the overlap forbids it."""
        if firing.event is None:
            return FiringOutcome.MISSED
        topic = self._topics.obtain(record.topic, now_us)
        if firing.overlap is not Overlap.ALLOW:
            last_ids = record.last_event_ids[-UNFINISHED[firing.overlap] :]
            if len(last_ids) == UNFINISHED[firing.overlap] and all(map(topic.is_unfinished, last_ids)):
                return FiringOutcome.SKIPPED
        answer = topic.dispatch(DispatchRequest([firing.event]), now_us, {})
        return FiringOutcome.FULL if isinstance(answer, DueBusError) else FiringOutcome.FIRED

    def _advance(self, firing: Firing, record: ScheduleRecord, outcome: FiringOutcome) -> None:
        """Move a schedule on to its next time."""
        advanced = replace(
            record,
            version=self._next_version(record.version),
            next_us=firing.next_us,
            due_us=firing.due_us,
            missed=record.missed + firing.missed,
            skipped=record.skipped + (outcome is FiringOutcome.SKIPPED),
        )
        if outcome is FiringOutcome.FIRED and firing.event is not None:
            advanced = replace(
                advanced,
                next_us=None if firing.ends else firing.next_us,
                due_us=None if firing.ends else firing.due_us,
                runs=record.runs + 1,
                last_fired_us=firing.nominal_us,
                last_event_ids=(*record.last_event_ids, firing.event.id)[-LAST_IDS:],
            )
        self._topics.schedules.put(advanced)
        if self._journal is not None:
            self._journal.recording.schedule_advanced(advanced)

    def _store(self, record: ScheduleRecord) -> None:
        self._topics.schedules.put(record)
        if self._journal is not None:
            self._journal.recording.schedule_saved(record)
        self._announce_schedules()

    def _next_version(self, version: int) -> int:
        """The version after this one; at least the time, so that a schedule that is made again has another."""
        return max(version + 1, self._topics.host.now_us)

    def _announce_schedules(self) -> None:
        """Report when the first schedule is due."""
        at_us = self._topics.schedules.next_due()
        if at_us is not None and self._topics.watcher is not None:
            self._topics.watcher.schedules_due(at_us)
