"""The schedules of the local engine."""

from __future__ import annotations

from bisect import bisect_right, insort
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from duebus_server.domain.errors import NotFound
from duebus_server.domain.schedules import DueSchedules, for_one_answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from duebus_server.domain.schedules import ScheduleRecord

SPARE_ENTRIES = 1_000
"""How many more entries than schedules the heap may have before those that are out of date are dropped."""


class Schedules:
    """Schedules by name, and in order of when they are due."""

    def __init__(self) -> None:
        self._records: dict[str, ScheduleRecord] = {}
        self._names: list[str] = []
        self._of_topic: dict[str, dict[str, None]] = {}
        # When each is due, its name and version. An entry of another version than the schedule's is out of date.
        self._due: list[tuple[int, str, int]] = []

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[ScheduleRecord]:
        return (self._records[name] for name in self._names)

    def find(self, name: str) -> ScheduleRecord | None:
        """The schedule of this name."""
        return self._records.get(name)

    def known(self, name: str) -> ScheduleRecord:
        """The schedule of this name.

        Raises:
            NotFound: there is none.
        """
        record = self._records.get(name)
        if record is None:
            raise NotFound("schedule", name)
        return record

    def put(self, record: ScheduleRecord) -> None:
        """Store a schedule, in place of the one of its name."""
        if record.name not in self._records:
            insort(self._names, record.name)
            self._of_topic.setdefault(record.topic, {})[record.name] = None
        self._records[record.name] = record
        if record.due_us is not None:
            heappush(self._due, (record.due_us, record.name, record.version))
        if len(self._due) > 2 * len(self._records) + SPARE_ENTRIES:
            self._due = [entry for entry in self._due if self._is_current(entry)]
            heapify(self._due)

    def remove(self, name: str) -> None:
        """Remove a schedule."""
        record = self._records.pop(name)
        del self._names[bisect_right(self._names, name) - 1]
        names = self._of_topic[record.topic]
        del names[name]
        if not names:
            del self._of_topic[record.topic]

    def clear(self) -> None:
        """Remove all."""
        self._records.clear()
        self._names.clear()
        self._of_topic.clear()
        self._due.clear()

    def page(self, after: str, limit: int) -> list[ScheduleRecord]:
        """See ``Engine.list_schedules``."""
        start = bisect_right(self._names, after)
        return for_one_answer((self._records[name] for name in self._names[start : start + limit]), limit)

    def of_topic(self, topic: str) -> str | None:
        """The name of one schedule of a topic; None if it has none."""
        return next(iter(self._of_topic.get(topic, ())), None)

    def due(self, now_us: int, limit: int) -> DueSchedules:
        """See ``Engine.due_schedules``. The longest due come first; they stay where they are."""
        found = for_one_answer(self._take_due(now_us), limit)
        next_us = self.next_due()
        for record in found:
            heappush(self._due, (record.due_us or 0, record.name, record.version))
        return DueSchedules(found, next_us)

    def _take_due(self, now_us: int) -> Iterator[ScheduleRecord]:
        while (at_us := self.next_due()) is not None and at_us <= now_us:
            yield self._records[heappop(self._due)[1]]

    def next_due(self) -> int | None:
        """When the first schedule is due; None if there is none."""
        while self._due and not self._is_current(self._due[0]):
            heappop(self._due)
        return self._due[0][0] if self._due else None

    def _is_current(self, entry: tuple[int, str, int]) -> bool:
        record = self._records.get(entry[1])
        return record is not None and record.version == entry[2]
