"""Records of schedules. Their times are those of the host's clock."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from duebus_server.domain.schedules import ScheduleRecord
from duebus_server.engine.local.journal.columns import Columns
from duebus_server.engine.local.journal.frames import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.engine.local.journal.columns import ColumnReader


@dataclass(slots=True)
class ScheduleState:
    """A schedule as it is."""

    kind: ClassVar[Kind] = Kind.SCHEDULE

    schedule: ScheduleRecord

    def body(self) -> bytes:
        """See ``Record``."""
        schedule = self.schedule
        return (
            Columns()
            .texts(schedule.name, schedule.topic, schedule.key)
            .blobs([schedule.body])
            .numbers(schedule.paused)
            .optional(*_progress(schedule))
            .texts(*schedule.last_event_ids)
            .body()
        )

    @classmethod
    def read(cls, reader: ColumnReader) -> ScheduleState:
        """The record that has this body."""
        name, topic, key = reader.texts()
        (body,), (paused,) = reader.blobs(), reader.numbers()
        version, next_us, due_us, runs, skipped, missed, last_us = reader.optional()
        return cls(
            ScheduleRecord(
                name,
                topic,
                key,
                body,
                version or 0,
                bool(paused),
                next_us,
                due_us,
                runs or 0,
                skipped or 0,
                missed or 0,
                last_us,
                tuple(reader.texts()),
            )
        )


@dataclass(slots=True)
class ScheduleAdvanced:
    """What a firing changes of a schedule."""

    kind: ClassVar[Kind] = Kind.SCHEDULE_ADVANCED

    name: str
    progress: Sequence[int | None]
    last_event_ids: Sequence[str]

    @classmethod
    def of(cls, schedule: ScheduleRecord) -> ScheduleAdvanced:
        """A schedule as it is now."""
        return cls(schedule.name, _progress(schedule), schedule.last_event_ids)

    def body(self) -> bytes:
        """See ``Record``."""
        return Columns().texts(self.name, *self.last_event_ids).optional(*self.progress).body()

    @classmethod
    def read(cls, reader: ColumnReader) -> ScheduleAdvanced:
        """The record that has this body."""
        name, *last_event_ids = reader.texts()
        return cls(name, reader.optional(), last_event_ids)

    def applied_to(self, schedule: ScheduleRecord) -> ScheduleRecord:
        """The schedule after the firing."""
        version, next_us, due_us, runs, skipped, missed, last_us = self.progress
        return replace(
            schedule,
            version=version or 0,
            next_us=next_us,
            due_us=due_us,
            runs=runs or 0,
            skipped=skipped or 0,
            missed=missed or 0,
            last_fired_us=last_us,
            last_event_ids=tuple(self.last_event_ids),
        )


@dataclass(slots=True)
class ScheduleDeleted:
    """A schedule was deleted."""

    kind: ClassVar[Kind] = Kind.SCHEDULE_DELETED

    name: str

    def body(self) -> bytes:
        """See ``Record``."""
        return Columns().texts(self.name).body()

    @classmethod
    def read(cls, reader: ColumnReader) -> ScheduleDeleted:
        """The record that has this body."""
        return cls(*reader.texts())


def _progress(schedule: ScheduleRecord) -> tuple[int | None, ...]:
    return (
        schedule.version,
        schedule.next_us,
        schedule.due_us,
        schedule.runs,
        schedule.skipped,
        schedule.missed,
        schedule.last_fired_us,
    )
