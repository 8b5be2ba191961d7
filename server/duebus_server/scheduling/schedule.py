"""A schedule, and what it fires at a moment. Times are integer microseconds of the engine's wall clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from duebus_server.domain.clock import DAY, HOUR, MINUTE, SECOND
from duebus_server.domain.schedules import Overlap

if TYPE_CHECKING:
    from duebus_server.domain.model import NewEvent
    from duebus_server.domain.schedules import ScheduleRecord
    from duebus_server.scheduling.rules import Rule

MAX_CAUGHT_UP = 1_000
"""How many nominal times CatchUp.ALL fires at most after an outage."""

LAST_WITHIN_US = 366 * DAY
"""How long ago the nominal time may be that CatchUp.LAST fires."""

ON_TIME_US = MINUTE
"""A firing that is less late is no catch-up, unless the next nominal time has come."""

DEFAULT_WINDOW_US = HOUR

FIRST_RETRY_US, GREATEST_RETRY_US = SECOND, MINUTE
"""The pause before a firing is tried again that found its topic full; it doubles."""


class CatchUp(StrEnum):
    """What happens to nominal times that have passed while nothing could fire."""

    LAST = "last"
    ALL = "all"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule as it was put.

    Attributes:
        name: unique in its engine.
        topic: where its events go.
        event: what it dispatches, but for the id and the attributes of a firing.
        rule: its nominal times.
        words: the rule in words.
        max_runs: how many times it fires; 0 is unlimited.
        jitter_us: how late a firing may be.
        overlap: see ``Overlap``.
        catch_up: see ``CatchUp``.
        catch_up_window_us: how long ago the nominal times may be that CatchUp.ALL fires.
    """

    name: str
    topic: str
    event: NewEvent
    rule: Rule
    words: str = ""
    max_runs: int = 0
    jitter_us: int = 0
    overlap: Overlap = Overlap.ALLOW
    catch_up: CatchUp = CatchUp.LAST
    catch_up_window_us: int = DEFAULT_WINDOW_US

    def due_us(self, nominal_us: int | None) -> int | None:
        """When a nominal time is to be fired: later by the jitter, but before the next nominal time."""
        if nominal_us is None or not self.jitter_us:
            return nominal_us
        following_us = self.rule.next_after(nominal_us)
        room_us = self.jitter_us if following_us is None else min(self.jitter_us, following_us - nominal_us)
        digest = blake2b(f"{self.name}@{nominal_us}".encode(), digest_size=8).digest()
        return nominal_us + int.from_bytes(digest) % room_us

    def is_over(self, runs: int) -> bool:
        """Whether it has reached its number of runs."""
        return 0 < self.max_runs <= runs


class Plan(NamedTuple):
    """What a schedule that is due does next.

    Attributes:
        nominal_us: the nominal time up to which it is settled.
        fires: whether that nominal time dispatches an event; otherwise it is among those that are missed.
        missed: how many nominal times are given up.
    """

    nominal_us: int
    fires: bool
    missed: int


def plan(schedule: Schedule, record: ScheduleRecord, now_us: int) -> Plan:
    """What fires of the nominal times that have passed, from ``record.next_us`` on, which is due."""
    first_us = record.next_us or 0
    missed = 0
    following_us = schedule.rule.next_after(first_us)
    if following_us is not None and following_us <= now_us and _was_postponed(schedule, record):
        if (schedule.due_us(following_us) or following_us) > now_us:
            return Plan(first_us, fires=False, missed=1)
        first_us, missed = following_us, 1
        following_us = schedule.rule.next_after(first_us)
    last_us = _last_due(schedule, first_us, following_us, now_us)
    chosen_us = _chosen(schedule, first_us, last_us, now_us)
    if chosen_us is None:
        return Plan(last_us, fires=False, missed=missed + 1 + schedule.rule.count(first_us, last_us))
    if chosen_us > first_us:
        missed += schedule.rule.count(first_us, chosen_us)
    return Plan(chosen_us, fires=True, missed=missed)


def _was_postponed(schedule: Schedule, record: ScheduleRecord) -> bool:
    """Whether its nominal time was tried, and found the topic full."""
    return record.due_us != schedule.due_us(record.next_us)


def _last_due(schedule: Schedule, first_us: int, following_us: int | None, now_us: int) -> int:
    """The last nominal time that is due."""
    if following_us is None or following_us > now_us:
        return first_us
    last_us = schedule.rule.last_until(now_us, span_us=now_us - first_us) or first_us
    due_us = schedule.due_us(last_us)
    if due_us is not None and due_us > now_us:
        last_us = schedule.rule.last_until(last_us - 1, span_us=last_us - first_us) or first_us
    return max(first_us, last_us)


def _chosen(schedule: Schedule, first_us: int, last_us: int, now_us: int) -> int | None:
    """The nominal time that fires, of those from ``first_us`` to ``last_us``; None if none does."""
    if schedule.catch_up is CatchUp.ALL and (oldest_us := _oldest(schedule, first_us, last_us, now_us)) is not None:
        return oldest_us
    is_on_time = now_us - (schedule.due_us(last_us) or last_us) <= ON_TIME_US
    is_caught_up = schedule.catch_up is CatchUp.LAST and now_us - last_us <= LAST_WITHIN_US
    return last_us if is_on_time or is_caught_up else None


def _oldest(schedule: Schedule, first_us: int, last_us: int, now_us: int) -> int | None:
    """The first nominal time that CatchUp.ALL fires; None if all of them are too long ago."""
    begin_us = max(first_us, now_us - schedule.catch_up_window_us)
    if begin_us == first_us and schedule.rule.count(first_us, last_us) < MAX_CAUGHT_UP:
        return first_us
    return schedule.rule.last_until(last_us, MAX_CAUGHT_UP, last_us - begin_us + SECOND)


def retry_us(schedule: Schedule, nominal_us: int, now_us: int) -> int:
    """When a nominal time is tried again that found its topic full: before the next one, or else when that is due."""
    since_us = now_us - (schedule.due_us(nominal_us) or nominal_us)
    again_us = now_us + min(max(since_us, FIRST_RETRY_US), GREATEST_RETRY_US)
    following_us = schedule.rule.next_after(nominal_us)
    if following_us is None or again_us < following_us:
        return again_us
    return schedule.due_us(following_us) or following_us


def upcoming(schedule: Schedule, record: ScheduleRecord, count: int) -> list[int]:
    """The next nominal times, ``count`` at most; none while it is paused."""
    found: list[int] = []
    left = min(count, schedule.max_runs - record.runs) if schedule.max_runs else count
    next_us = None if record.paused else record.next_us
    while next_us is not None and len(found) < left:
        found.append(next_us)
        next_us = schedule.rule.next_after(next_us)
    return found


def event_id(name: str, nominal_us: int) -> str:
    """The id of the event of a nominal time: NAME@TIME."""
    return f"{name}@{rfc3339(nominal_us)}"


@lru_cache(maxsize=1_000)
def rfc3339(us: int) -> str:
    """A moment in UTC, with a fraction of a second only if it has one. Cached: a firing needs its time twice, and many
    schedules fire at the same time.
    """
    text = datetime.fromtimestamp(us // SECOND, UTC).isoformat().removesuffix("+00:00")
    fraction = us % SECOND
    return f"{text}.{fraction:06d}".rstrip("0") + "Z" if fraction else f"{text}Z"


def every_words(every_us: int) -> str:
    """A period in words."""
    for size_us, unit in ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute"), (SECOND, "second")):
        if every_us % size_us == 0:
            number = every_us // size_us
            return f"every {unit}" if number == 1 else f"every {number} {unit}s"
    return f"every {every_us / SECOND:.15g} seconds"
