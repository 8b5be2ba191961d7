"""One schedule of an engine, with short verbs for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from duebus_server.domain.clock import MINUTE
from duebus_server.domain.schedules import Firing, FiringOutcome, ScheduleRecord

from support.builders import new_event, unique_name

if TYPE_CHECKING:
    from duebus_server.engine.base import Engine

    from support.topics import TopicDriver

MOST = 10_000


class ScheduleDriver:
    """One schedule of an engine, which fires every minute."""

    def __init__(self, topic: TopicDriver, name: str | None = None, engine: Engine | None = None) -> None:
        self.topic = topic
        self.engine = engine or topic.engine
        self.name = name or unique_name("schedule")

    def new(self, in_us: int = MINUTE, **fields: Any) -> ScheduleRecord:
        """A record that is due in a while."""
        next_us = self.engine.wall_us() + in_us
        record = ScheduleRecord(self.name, self.topic.name, "", b"\x00a body\xff", next_us=next_us, due_us=next_us)
        return replace(record, **fields)

    async def save(self, record: ScheduleRecord | None = None, replaces: int = 0) -> ScheduleRecord:
        """Store a record. Returns it as it is stored."""
        assert await self.engine.save_schedule(record or self.new(), replaces, MOST)
        return await self.read()

    async def read(self) -> ScheduleRecord:
        return await self.engine.get_schedule(self.name)

    async def fire(self, record: ScheduleRecord | None = None, **fields: Any) -> FiringOutcome:
        """Fire the schedule for its nominal time; it is due again a minute later."""
        record = record or await self.read()
        nominal_us = record.next_us or 0
        firing = Firing(
            record,
            nominal_us,
            new_event(f"{self.name}@{nominal_us}", key=record.key),
            next_us=nominal_us + MINUTE,
            due_us=nominal_us + MINUTE,
        )
        (outcome,) = await self.engine.fire_schedules([replace(firing, **fields)])
        return outcome
