"""Schedules as messages: decoded field by field, stored, and encoded."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from duebus.v1 import event_bus_pb2, schedules_pb2
from google.protobuf.message import DecodeError

from duebus_server.bus.scheduling import PutCommand
from duebus_server.domain import limits
from duebus_server.domain.clock import DAY, HOUR, SECOND
from duebus_server.domain.errors import InvalidArgument, NoTopicSpecified
from duebus_server.domain.schedules import MAX_SCHEDULE_NAME_BYTES, Overlap
from duebus_server.scheduling.cron import cron
from duebus_server.scheduling.rules import LAST_US, CronIn, Every, Rule
from duebus_server.scheduling.schedule import (
    DEFAULT_WINDOW_US,
    CatchUp,
    Schedule,
    every_words,
    rfc3339,
    upcoming,
)
from duebus_server.scheduling.zones import zone
from duebus_server.wire.decode import event_without_id
from duebus_server.wire.times import optional_duration_us, seconds_and_nanos, timestamp_us

if TYPE_CHECKING:
    from duebus_server.domain.model import NewEvent
    from duebus_server.domain.schedules import ScheduleRecord
    from duebus_server.scheduling.rules import Times

NAME_ATTRIBUTE, TIME_ATTRIBUTE = "duebus-schedule", "duebus-scheduled-for"
"""What a firing adds to the attributes of its event."""

MIN_EVERY_US, MAX_EVERY_US = SECOND, 366 * DAY
MAX_JITTER_US = DAY
MIN_WINDOW_US, MAX_WINDOW_US = SECOND, 31 * DAY
MAX_RUNS = 1 << 53
MAX_NOTE_BYTES = 1_000
NEXT_SHOWN = 10

KEPT_SCHEDULES = 10_000
"""How many schedules are kept decoded: as many as an engine has by default."""

MAX_KEPT_BYTES = 4 << 10
"""The largest schedule that is kept. Those that were replaced or deleted are, too; large ones would fill memory."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")

_OVERLAPS = {
    schedules_pb2.Schedule.OVERLAP_UNSPECIFIED: Overlap.ALLOW,
    schedules_pb2.Schedule.OVERLAP_ALLOW: Overlap.ALLOW,
    schedules_pb2.Schedule.OVERLAP_SKIP: Overlap.SKIP,
    schedules_pb2.Schedule.OVERLAP_BUFFER_ONE: Overlap.BUFFER_ONE,
}
_CATCH_UPS = {
    schedules_pb2.Schedule.CATCH_UP_UNSPECIFIED: CatchUp.LAST,
    schedules_pb2.Schedule.CATCH_UP_LAST: CatchUp.LAST,
    schedules_pb2.Schedule.CATCH_UP_ALL: CatchUp.ALL,
    schedules_pb2.Schedule.CATCH_UP_NONE: CatchUp.NONE,
}


class ScheduleCodec:
    """Implements ``scheduling.scheduler.Codec``. A body is a message Schedule."""

    def decode(self, body: bytes) -> Schedule:
        """See ``Codec``."""
        return _stored(body)

    def event(self, schedule: Schedule, event_id: str, nominal_us: int) -> NewEvent:
        """See ``Codec``."""
        attributes = {NAME_ATTRIBUTE: schedule.name, TIME_ATTRIBUTE: rfc3339(nominal_us)}
        # Messages that are joined are merged.
        added = event_bus_pb2.Event(attributes=attributes).SerializeToString(deterministic=True)
        return replace(schedule.event, id=event_id, body=schedule.event.body + added)


def _stored(body: bytes) -> Schedule:
    """A stored schedule.

    Raises:
        InvalidArgument: this build can't read it.
    """
    return _kept(body) if len(body) <= MAX_KEPT_BYTES else _decoded(body)


def _decoded(body: bytes) -> Schedule:
    try:
        message = schedules_pb2.Schedule.FromString(body)
    except DecodeError as error:
        raise InvalidArgument("schedule", "is not readable") from error
    return schedule_of(message)


_kept = lru_cache(KEPT_SCHEDULES)(_decoded)


def put_command(request: schedules_pb2.PutScheduleRequest) -> PutCommand:
    """A schedule to store.

    Raises:
        NoTopicSpecified, InvalidArgument: a field is wrong.
    """
    message = request.schedule
    paused = message.paused
    message.ClearField("paused")
    # Unset and the default are equal.
    message.overlap = message.overlap or message.OVERLAP_ALLOW
    message.catch_up = message.catch_up or message.CATCH_UP_LAST
    try:
        _check_names(message)
        return PutCommand(schedule_of(message), message.SerializeToString(deterministic=True), paused)
    except NoTopicSpecified:
        raise NoTopicSpecified("schedule.topic") from None
    except InvalidArgument as error:
        raise error.within("schedule") from None


def previewed(request: schedules_pb2.PreviewScheduleRequest) -> Schedule:
    """A schedule that need not exist.

    Raises:
        InvalidArgument: a field is wrong.
    """
    try:
        return schedule_of(request.schedule)
    except InvalidArgument as error:
        raise error.within("schedule") from None


def _check_names(message: schedules_pb2.Schedule) -> None:
    check_schedule_name(message.name)
    limits.check_topic(message.topic)
    if not message.HasField("event"):
        raise InvalidArgument("event", "an event is required")


def check_schedule_name(name: str) -> None:
    """Check the name of a schedule.

    Raises:
        InvalidArgument: it is not valid.
    """
    if not _NAME.fullmatch(name):
        raise InvalidArgument("name", f"must match [A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_SCHEDULE_NAME_BYTES - 1}}}")


def schedule_of(message: schedules_pb2.Schedule) -> Schedule:
    """A schedule.

    Raises:
        InvalidArgument: a field is wrong.
    """
    limits.check_text("note", message.note, MAX_NOTE_BYTES)
    limits.check_range("max_runs", message.max_runs, 0, MAX_RUNS)
    rule = _rule(message)
    overlap = _OVERLAPS.get(message.overlap)
    catch_up = _CATCH_UPS.get(message.catch_up)
    if overlap is None or catch_up is None:
        wrong = "overlap" if overlap is None else "catch_up"
        raise InvalidArgument(wrong, f"there is no {wrong} number {getattr(message, wrong)}")
    return Schedule(
        message.name,
        message.topic,
        _event(message, overlap),
        rule,
        _words(message),
        message.max_runs,
        _duration(message, "jitter", 0, MAX_JITTER_US) or 0,
        overlap,
        catch_up,
        _duration(message, "catch_up_window", MIN_WINDOW_US, MAX_WINDOW_US) or DEFAULT_WINDOW_US,
    )


def _event(message: schedules_pb2.Schedule, overlap: Overlap) -> NewEvent:
    """What it dispatches, with the key that keeps firings apart where the overlap needs one."""
    event = event_bus_pb2.Event()
    event.CopyFrom(message.event)
    if overlap is Overlap.BUFFER_ONE and not event.key:
        event.key = message.name
    for name in (NAME_ATTRIBUTE, TIME_ATTRIBUTE):
        if name in event.attributes:
            raise InvalidArgument("event.attributes", f"{name!r} is added by the schedule")
    try:
        return event_without_id(event)
    except InvalidArgument as error:
        raise error.within("event") from None


def _rule(message: schedules_pb2.Schedule) -> Rule:
    """The rule.

    Raises:
        InvalidArgument: it can't be read, or never fires.
    """
    start_us, end_us = _moment(message, "start"), _moment(message, "end")
    if start_us is not None and end_us is not None and end_us < start_us:
        raise InvalidArgument("end", "is before start")
    rule = Rule(_times(message, start_us), start_us or 0, LAST_US if end_us is None else end_us)
    if rule.next_after(rule.start_us - 1) is None:
        raise InvalidArgument("end", "is before the rule fires for the first time")
    return rule


def _times(message: schedules_pb2.Schedule, start_us: int | None) -> Times:
    chosen = message.WhichOneof("rule")
    if chosen is None:
        raise InvalidArgument("rule", "cron or every is required")
    if chosen == "every":
        if message.time_zone:
            raise InvalidArgument("time_zone", "belongs to cron: every counts the time that passes")
        return Every(_duration(message, "every", MIN_EVERY_US, MAX_EVERY_US) or HOUR, start_us or 0)
    try:
        return CronIn(cron(message.cron), zone(message.time_zone))
    except KeyError:
        raise InvalidArgument("time_zone", f"there is no time zone {message.time_zone!r}") from None


def _words(message: schedules_pb2.Schedule) -> str:
    if message.WhichOneof("rule") == "every":
        return every_words(optional_duration_us(message, "every") or 0)
    return f"{cron(message.cron).words()} ({message.time_zone or 'UTC'})"


def _moment(message: schedules_pb2.Schedule, field: str) -> int | None:
    if not message.HasField(field):
        return None
    us = timestamp_us(field, getattr(message, field))
    if not 0 <= us <= LAST_US:
        raise InvalidArgument(field, "must be in the years 1970 to 2199")
    return us


def _duration(message: schedules_pb2.Schedule, field: str, low_us: int, high_us: int) -> int | None:
    us = optional_duration_us(message, field)
    if us is not None:
        limits.check_duration(field, us, low_us, high_us)
    return us


def schedule_info(record: ScheduleRecord, *, with_data: bool) -> schedules_pb2.ScheduleInfo:
    """A schedule and what it has done.

    Args:
        record: the schedule.
        with_data: whether the caller may see the data of its event.
    """
    info = schedules_pb2.ScheduleInfo(
        last_event_id=record.last_event_ids[-1] if record.last_event_ids else "",
        runs=record.runs,
        skipped=record.skipped,
        missed=record.missed,
    )
    _add_rule(info, record)
    if record.last_fired_us is not None:
        info.last_fired_at.FromMicroseconds(record.last_fired_us)
    if not with_data:
        info.schedule.event.ClearField("data")
    return info


def _add_rule(info: schedules_pb2.ScheduleInfo, record: ScheduleRecord) -> None:
    """Add the schedule, and when it fires. One that this build can't read is told all the same: it can be deleted."""
    try:
        info.schedule.ParseFromString(record.body)
    except DecodeError:
        info.schedule.Clear()
    info.schedule.MergeFrom(schedules_pb2.Schedule(name=record.name, topic=record.topic, paused=record.paused))
    try:
        schedule = _stored(record.body)
    except InvalidArgument as error:
        info.description = f"this server can't read it: {error}"
        return
    info.description = schedule.words
    for us in upcoming(schedule, record, NEXT_SHOWN):
        info.next.add(**seconds_and_nanos(us))
