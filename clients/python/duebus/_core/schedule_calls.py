"""The calls to the service EventBusSchedules: makes requests from the caller's arguments, and results from answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from os import urandom
from typing import Any

from duebus._core import fields
from duebus._core.admin_model import Page
from duebus._core.call import Call, Method
from duebus._core.enums import Engine
from duebus._core.events import encode_fields
from duebus._core.fields import Span
from duebus._core.messages import moment, moments, span
from duebus._core.schedule_model import (
    CATCH_UP_FROM_WIRE,
    CATCH_UP_TO_WIRE,
    OVERLAP_FROM_WIRE,
    OVERLAP_TO_WIRE,
    CatchUp,
    Overlap,
    Preview,
    Schedule,
    ScheduleInfo,
)
from duebus.errors import InvalidArgument
from duebus.v1 import schedules_pb2 as pb

_PUT = Method("/duebus.v1.EventBusSchedules/PutSchedule", pb.PutScheduleResponse)
_GET = Method("/duebus.v1.EventBusSchedules/GetSchedule", pb.GetScheduleResponse)
_LIST = Method("/duebus.v1.EventBusSchedules/ListSchedules", pb.ListSchedulesResponse)
_DELETE = Method("/duebus.v1.EventBusSchedules/DeleteSchedule", pb.DeleteScheduleResponse)
_PAUSE = Method("/duebus.v1.EventBusSchedules/PauseSchedule", pb.PauseScheduleResponse)
_RESUME = Method("/duebus.v1.EventBusSchedules/ResumeSchedule", pb.ResumeScheduleResponse)
_TRIGGER = Method("/duebus.v1.EventBusSchedules/TriggerSchedule", pb.TriggerScheduleResponse)
_BACKFILL = Method("/duebus.v1.EventBusSchedules/BackfillSchedule", pb.BackfillScheduleResponse)
_PREVIEW = Method("/duebus.v1.EventBusSchedules/PreviewSchedule", pb.PreviewScheduleResponse)

# Of a made-up request id: it is part of the event's id, which the longest name leaves room for 26 digits.
_REQUEST_ID_BYTES = 13


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The arguments that say when a schedule fires."""

    cron: str | None
    every: Span | None
    zone: str
    start: datetime | None
    end: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFields:
    """The arguments that say what a schedule dispatches."""

    data: Any
    attributes: Mapping[str, str] | None
    content_type: str | None
    max_retries: int | None
    key: str
    priority: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The other arguments of a schedule."""

    max_runs: int
    jitter: Span | None
    overlap: Overlap | str
    catch_up: CatchUp | str
    catch_up_window: Span | None
    paused: bool
    note: str


def put(
    name: str, topic: str, event: EventFields, rule: Rule, policy: Policy, *, engine: Engine | str | None
) -> Call[pb.PutScheduleResponse, ScheduleInfo]:
    """Creates or replaces a schedule."""
    schedule = _with_rule(rule)
    schedule.name, schedule.topic = fields.text("name", name), fields.text("topic", topic)
    # Without the current span: with another one each time, no two schedules would be equal.
    encode_fields(
        event.data,
        attributes=event.attributes,
        content_type=event.content_type,
        max_retries=event.max_retries,
        key=event.key,
        priority=event.priority,
        span={},
        message=schedule.event,
    )
    schedule.event.SetInParent()
    schedule.max_runs = fields.uint64("max_runs", policy.max_runs)
    if policy.jitter is not None:
        schedule.jitter.CopyFrom(fields.duration("jitter", policy.jitter))
    schedule.overlap = OVERLAP_TO_WIRE[fields.member("overlap", Overlap, policy.overlap, OVERLAP_TO_WIRE)]
    schedule.catch_up = CATCH_UP_TO_WIRE[fields.member("catch_up", CatchUp, policy.catch_up, CATCH_UP_TO_WIRE)]
    if policy.catch_up_window is not None:
        schedule.catch_up_window.CopyFrom(fields.duration("catch_up_window", policy.catch_up_window))
    schedule.paused, schedule.note = policy.paused, fields.text("note", policy.note)
    request = pb.PutScheduleRequest(engine=fields.engine("engine", engine), schedule=schedule)
    return Call(_PUT, request, lambda response, _: _read_info(response.schedule))


def get(name: str, *, engine: Engine | str | None) -> Call[pb.GetScheduleResponse, ScheduleInfo]:
    """One schedule."""
    request = pb.GetScheduleRequest(**_named(name, engine))
    return Call(_GET, request, lambda response, _: _read_info(response.schedule))


def list_page(
    *, engine: Engine | str | None, page_size: int, page_token: str
) -> Call[pb.ListSchedulesResponse, Page[ScheduleInfo]]:
    """One page of the schedules."""
    request = pb.ListSchedulesRequest(
        engine=fields.engine("engine", engine),
        page_size=fields.uint32("page_size", page_size),
        page_token=fields.text("page_token", page_token),
    )
    return Call(
        _LIST, request, lambda answer, _: Page([_read_info(each) for each in answer.schedules], answer.next_page_token)
    )


def delete(name: str, *, engine: Engine | str | None) -> Call[pb.DeleteScheduleResponse, None]:
    """Removes a schedule. Not repeatable: a second try would find it gone."""
    return Call(_DELETE, pb.DeleteScheduleRequest(**_named(name, engine)), lambda *_: None, repeatable=False)


def pause(name: str, *, engine: Engine | str | None) -> Call[pb.PauseScheduleResponse, None]:
    """Stops a schedule from firing."""
    return Call(_PAUSE, pb.PauseScheduleRequest(**_named(name, engine)), lambda *_: None)


def resume(name: str, *, engine: Engine | str | None) -> Call[pb.ResumeScheduleResponse, None]:
    """Ends a pause."""
    return Call(_RESUME, pb.ResumeScheduleRequest(**_named(name, engine)), lambda *_: None)


def trigger(name: str, *, request_id: str | None, engine: Engine | str | None) -> Call[pb.TriggerScheduleResponse, str]:
    """Dispatches the event of a schedule now."""
    request = pb.TriggerScheduleRequest(**_named(name, engine), request_id=_request_id(request_id))
    return Call(_TRIGGER, request, lambda response, _: response.event_id)


def backfill(
    name: str, start: datetime, end: datetime, *, request_id: str | None, engine: Engine | str | None
) -> Call[pb.BackfillScheduleResponse, tuple[str, ...]]:
    """Dispatches the events of the nominal times between two moments."""
    request = pb.BackfillScheduleRequest(
        **_named(name, engine),
        start=fields.timestamp("start", start),
        end=fields.timestamp("end", end),
        request_id=_request_id(request_id),
    )
    return Call(_BACKFILL, request, lambda response, _: tuple(response.event_ids))


def preview(rule: Rule, *, count: int, after: datetime | None) -> Call[pb.PreviewScheduleResponse, Preview]:
    """When a rule fires."""
    request = pb.PreviewScheduleRequest(schedule=_with_rule(rule), count=fields.uint32("count", count))
    if after is not None:
        request.after.CopyFrom(fields.timestamp("after", after))
    return Call(_PREVIEW, request, lambda answer, _: Preview(moments(answer.times), answer.description))


def _with_rule(rule: Rule) -> pb.Schedule:
    """A schedule with a rule and nothing else.

    Raises:
        InvalidArgument: both kinds of rule are given, or neither is.
    """
    if (rule.cron is None) == (rule.every is None):
        raise InvalidArgument.of_field("cron", "cron or every is required, and not both")
    schedule = pb.Schedule(time_zone=fields.text("zone", rule.zone))
    if rule.cron is not None:
        schedule.cron = fields.text("cron", rule.cron)
    if rule.every is not None:
        schedule.every.CopyFrom(fields.duration("every", rule.every))
    if rule.start is not None:
        schedule.start.CopyFrom(fields.timestamp("start", rule.start))
    if rule.end is not None:
        schedule.end.CopyFrom(fields.timestamp("end", rule.end))
    return schedule


def _named(name: str, engine: Engine | str | None) -> dict[str, Any]:
    return {"engine": fields.engine("engine", engine), "name": fields.text("name", name)}


def _request_id(given: str | None) -> str:
    return fields.text("request_id", given) if given else urandom(_REQUEST_ID_BYTES).hex()


def _read_info(message: pb.ScheduleInfo) -> ScheduleInfo:
    return ScheduleInfo(
        schedule=_read_schedule(message.schedule),
        next=moments(message.next),
        last_fired_at=moment(message, "last_fired_at"),
        last_event_id=message.last_event_id,
        runs=message.runs,
        skipped=message.skipped,
        missed=message.missed,
        description=message.description,
    )


def _read_schedule(message: pb.Schedule) -> Schedule:
    event = message.event
    return Schedule(
        name=message.name,
        topic=message.topic,
        cron=message.cron,
        every=span(message, "every"),
        zone=message.time_zone,
        data=event.data,
        content_type=event.content_type,
        attributes=dict(event.attributes),
        max_retries=event.max_retries if event.HasField("max_retries") else None,
        key=event.key,
        priority=event.priority,
        start=moment(message, "start"),
        end=moment(message, "end"),
        max_runs=message.max_runs,
        jitter=message.jitter.ToTimedelta(),
        overlap=OVERLAP_FROM_WIRE.get(message.overlap, Overlap.UNKNOWN),
        catch_up=CATCH_UP_FROM_WIRE.get(message.catch_up, CatchUp.UNKNOWN),
        catch_up_window=span(message, "catch_up_window"),
        paused=message.paused,
        note=message.note,
    )
