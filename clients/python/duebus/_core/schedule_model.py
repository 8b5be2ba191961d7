"""The arguments and results of the calls of EventBusSchedules."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from duebus._core.payload import decode_json, decode_text
from duebus.v1 import schedules_pb2

_Wire = schedules_pb2.Schedule


class Overlap(StrEnum):
    """What happens to a firing while the event of an earlier one is neither acked nor dead in some group."""

    ALLOW = "allow"
    """The event is dispatched all the same."""
    SKIP = "skip"
    """It is skipped, if the last event is unfinished."""
    BUFFER_ONE = "buffer_one"
    """It is skipped, if the last two events are unfinished. An event without a key gets the schedule's name as its key,
    so that the second waits for the first."""
    UNKNOWN = "unknown"
    """A choice that this client is too old to know."""


class CatchUp(StrEnum):
    """What happens to nominal times that passed while nothing could fire."""

    LAST = "last"
    """The last of them fires, if it is at most a year ago."""
    ALL = "all"
    """Each fires, within the window and at most 1,000."""
    NONE = "none"
    """None fires."""
    UNKNOWN = "unknown"
    """A choice that this client is too old to know."""


OVERLAP_TO_WIRE = {
    Overlap.ALLOW: _Wire.OVERLAP_ALLOW,
    Overlap.SKIP: _Wire.OVERLAP_SKIP,
    Overlap.BUFFER_ONE: _Wire.OVERLAP_BUFFER_ONE,
}
CATCH_UP_TO_WIRE = {
    CatchUp.LAST: _Wire.CATCH_UP_LAST,
    CatchUp.ALL: _Wire.CATCH_UP_ALL,
    CatchUp.NONE: _Wire.CATCH_UP_NONE,
}
OVERLAP_FROM_WIRE: dict[int, Overlap] = {wire: each for each, wire in OVERLAP_TO_WIRE.items()}
CATCH_UP_FROM_WIRE: dict[int, CatchUp] = {wire: each for each, wire in CATCH_UP_TO_WIRE.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A rule, and the event that it dispatches.

    Attributes:
        name: Unique in its engine.
        topic: Where its events go.
        cron: The rule, if it is one of cron; otherwise empty.
        every: The rule, if it is a period; otherwise None.
        zone: The time zone of `cron`; empty: UTC.
        data: The payload.
        content_type: As in NewEvent.
        attributes: As in NewEvent.
        max_retries: As in NewEvent.
        key: As in NewEvent.
        priority: As in NewEvent.
        start: The first moment at which it may fire, in UTC; None: no limit.
        end: The last moment at which it may fire, in UTC; None: no limit.
        max_runs: It ends after so many firings; 0: no limit.
        jitter: By how much a firing may be later than its nominal time.
        overlap: What happens while an earlier event is unfinished.
        catch_up: What happens to nominal times that were missed.
        catch_up_window: How long ago they may be with CatchUp.ALL; None: 1 h.
        paused: Whether it is paused.
        note: For people.
    """

    name: str
    topic: str
    cron: str
    every: timedelta | None
    zone: str
    data: bytes
    content_type: str
    attributes: dict[str, str] = field(default_factory=dict)
    max_retries: int | None
    key: str
    priority: int
    start: datetime | None
    end: datetime | None
    max_runs: int
    jitter: timedelta
    overlap: Overlap
    catch_up: CatchUp
    catch_up_window: timedelta | None
    paused: bool
    note: str

    def text(self) -> str:
        """The payload as text.

        Raises:
            ValueError: It is not UTF-8.
        """
        return decode_text(self.data, self.content_type)

    def json(self) -> Any:
        """The payload as the value that its JSON stands for.

        Raises:
            ValueError: It is not JSON.
        """
        return decode_json(self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleInfo:
    """A schedule, and what it has done.

    Attributes:
        schedule: The schedule.
        next: The next ten nominal times, in UTC; fewer if it ends before, none while it is paused.
        last_fired_at: The nominal time of the last event, in UTC; None if there was none.
        last_event_id: Its id; empty if there was none.
        runs: How many nominal times dispatched an event.
        skipped: How many were skipped because of `overlap`.
        missed: How many were missed: nothing could fire, or the topic was full until the next one.
        description: The rule in words.
    """

    schedule: Schedule
    next: tuple[datetime, ...]
    last_fired_at: datetime | None
    last_event_id: str
    runs: int
    skipped: int
    missed: int
    description: str


@dataclass(frozen=True, slots=True)
class Preview:
    """When a rule fires.

    Attributes:
        times: Nominal times, in UTC.
        description: The rule in words.
    """

    times: tuple[datetime, ...]
    description: str
