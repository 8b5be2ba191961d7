"""The commands about schedules, by the SDK's calls."""

import base64
from typing import TYPE_CHECKING, Any

from duebus import Schedule, ScheduleInfo
from duebus.aio import Client

from conformance_driver.codec import (
    datetime_of,
    moment_of,
    optional_datetime_of,
    optional_moment_of,
    optional_span_ms,
    span_of,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["SCHEDULE_COMMANDS"]

Fields = dict[str, Any]


async def _put(client: Client, command: Fields) -> Fields:
    event = command.get("event") or {}
    info = await client.schedules.put(
        command["name"],
        command["topic"],
        base64.b64decode(event.get("data") or ""),
        **_rule(command),
        content_type=event.get("content_type"),
        attributes=event.get("attributes"),
        max_retries=event.get("max_retries"),
        key=event.get("key") or "",
        jitter=span_of(command.get("jitter_ms")),
        catch_up_window=span_of(command.get("catch_up_window_ms")),
        **_given(command, "max_runs", "overlap", "catch_up", "paused", "note", "engine"),
    )
    return _read_info(info)


async def _get(client: Client, command: Fields) -> Fields:
    return _read_info(await client.schedules.get(command["name"], **_given(command, "engine")))


async def _list(client: Client, command: Fields) -> Fields:
    return {
        "names": [each.schedule.name async for each in client.schedules.list(**_given(command, "engine", "page_size"))]
    }


async def _delete(client: Client, command: Fields) -> Fields:
    await client.schedules.delete(command["name"], **_given(command, "engine"))
    return {}


async def _pause(client: Client, command: Fields) -> Fields:
    await client.schedules.pause(command["name"], **_given(command, "engine"))
    return {}


async def _resume(client: Client, command: Fields) -> Fields:
    await client.schedules.resume(command["name"], **_given(command, "engine"))
    return {}


async def _trigger(client: Client, command: Fields) -> Fields:
    event_id = await client.schedules.trigger(command["name"], **_given(command, "engine", "request_id"))
    return {"event_id": event_id}


async def _backfill(client: Client, command: Fields) -> Fields:
    start, end = datetime_of(command["start_at_ms"]), datetime_of(command["end_at_ms"])
    given = _given(command, "engine", "request_id")
    return {"event_ids": list(await client.schedules.backfill(command["name"], start, end, **given))}


async def _preview(client: Client, command: Fields) -> Fields:
    after = optional_datetime_of(command.get("after_at_ms"))
    preview = await client.schedules.preview(**_rule(command), after=after, **_given(command, "count"))
    return {"times_at_ms": [moment_of(each) for each in preview.times], "description": preview.description}


SCHEDULE_COMMANDS: "dict[str, Callable[[Client, Fields], Awaitable[Fields]]]" = {
    "schedule.put": _put,
    "schedule.get": _get,
    "schedule.list": _list,
    "schedule.delete": _delete,
    "schedule.pause": _pause,
    "schedule.resume": _resume,
    "schedule.trigger": _trigger,
    "schedule.backfill": _backfill,
    "schedule.preview": _preview,
}


def _given(command: Fields, *names: str) -> Fields:
    """The fields that the command has; the others have the SDK's defaults."""
    return {name: command[name] for name in names if command.get(name) is not None}


def _rule(command: Fields) -> Fields:
    return {
        "cron": command.get("cron"),
        "every": span_of(command.get("every_ms")),
        "zone": command.get("time_zone") or "",
        "start": optional_datetime_of(command.get("start_at_ms")),
        "end": optional_datetime_of(command.get("end_at_ms")),
    }


def _read_info(info: ScheduleInfo) -> Fields:
    return {
        **_read_schedule(info.schedule),
        "next_at_ms": [moment_of(each) for each in info.next],
        "last_fired_at_ms": optional_moment_of(info.last_fired_at),
        "last_event_id": info.last_event_id,
        "runs": info.runs,
        "skipped": info.skipped,
        "missed": info.missed,
        "description": info.description,
    }


def _read_schedule(schedule: Schedule) -> Fields:
    return {
        "name": schedule.name,
        "topic": schedule.topic,
        "event": {
            "data": base64.b64encode(schedule.data).decode(),
            "content_type": schedule.content_type,
            "attributes": schedule.attributes,
            "key": schedule.key,
            "max_retries": schedule.max_retries,
        },
        "cron": schedule.cron,
        "every_ms": optional_span_ms(schedule.every),
        "time_zone": schedule.zone,
        "start_at_ms": optional_moment_of(schedule.start),
        "end_at_ms": optional_moment_of(schedule.end),
        "max_runs": schedule.max_runs,
        "jitter_ms": optional_span_ms(schedule.jitter),
        "overlap": schedule.overlap,
        "catch_up": schedule.catch_up,
        "catch_up_window_ms": optional_span_ms(schedule.catch_up_window),
        "paused": schedule.paused,
        "note": schedule.note,
    }
