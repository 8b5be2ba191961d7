"""The use cases of schedules: put, inspect, pause, trigger. ``scheduling.scheduler`` fires them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from duebus_server.bus.dispatching import DispatchCommand
from duebus_server.domain import limits
from duebus_server.domain.errors import ConcurrentModification, InvalidArgument, NotFound, TopicHasSchedules
from duebus_server.domain.model import DispatchRequest
from duebus_server.domain.schedules import ScheduleRecord
from duebus_server.scheduling.schedule import event_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from duebus_server.bus.dispatching import Dispatching
    from duebus_server.bus.engines import Engines
    from duebus_server.domain.model import EngineName
    from duebus_server.engine.base import Engine
    from duebus_server.scheduling.schedule import Schedule
    from duebus_server.scheduling.scheduler import Codec

    # Raises PermissionDenied when the caller may not dispatch to a topic. None permits everything.
    Permit = Callable[[str], None] | None

log = structlog.get_logger()

ATTEMPTS = 50
"""How many times a change is tried while others change the same schedule."""

MAX_BACKFILLED = 1_000

REQUEST_ID_BYTES = 13
"""The size of a generated request id: 26 digits, so that an id with the longest name has at most 255 bytes."""


@dataclass(frozen=True, slots=True)
class PutCommand:
    """A schedule to store.

    Attributes:
        schedule: the schedule.
        body: the schedule, encoded. Equal schedules have equal bodies.
        paused: whether it is paused if it is new.
    """

    schedule: Schedule
    body: bytes
    paused: bool = False


class Scheduling:
    """Stores schedules, inspects them, and dispatches their events on demand.

    The methods that change something take ``permit``, which is called with the schedule's topic first.

    Args:
        engines: the engines.
        dispatching: dispatches on demand.
        codec: reads schedules and makes events.
        most: how many schedules an engine may have.
    """

    def __init__(self, engines: Engines, dispatching: Dispatching, codec: Codec, most: int) -> None:
        self._engines = engines
        self._dispatching = dispatching
        self._codec = codec
        self._most = most

    async def put(self, engine: EngineName | None, command: PutCommand, permit: Permit) -> tuple[ScheduleRecord, bool]:
        """Store a schedule. Returns it, and whether something has changed: an equal one changes nothing.

        Raises:
            TopicHasSchedules: the stored one has another topic.
            InvalidArgument: it would never fire, because its end has passed; or the engine has reached its limit of
                schedules.
        """
        schedule, target = command.schedule, self._serving(engine)
        if permit is not None:
            permit(schedule.topic)
        for _ in range(ATTEMPTS):
            known = await _find(target, schedule.name)
            if known is not None and known.topic != schedule.topic:
                raise TopicHasSchedules(known.topic, known.name)
            if known is not None and known.body == command.body:
                return known, False
            record = _replacing(known, command, target.wall_us())
            if record.next_us is None and not schedule.is_over(record.runs):
                raise InvalidArgument("schedule.end", "has passed, or the rule does not fire before it anymore")
            if await target.save_schedule(record, known.version if known is not None else 0, self._most):
                log.info("schedule put", engine=target.name, schedule=schedule.name, topic=schedule.topic)
                return await target.get_schedule(schedule.name), True
        raise _contended(schedule.name)

    async def get(self, engine: EngineName | None, name: str) -> ScheduleRecord:
        """One schedule.

        Raises:
            NotFound: there is none of this name.
        """
        return await self._engines.in_use(engine).engine.get_schedule(name)

    async def list(self, engine: EngineName | None, after: str, limit: int) -> Sequence[ScheduleRecord]:
        """Up to ``limit`` schedules whose names come after ``after``, by name."""
        return await self._engines.in_use(engine).engine.list_schedules(after, limit)

    async def delete(self, engine: EngineName | None, name: str, permit: Permit) -> None:
        """Remove a schedule.

        Raises:
            NotFound: there is none of this name.
        """
        target = self._serving(engine)
        await _permitted(target, name, permit)
        await target.delete_schedule(name)
        log.info("schedule deleted", engine=target.name, schedule=name)

    async def pause(self, engine: EngineName | None, name: str, permit: Permit) -> None:
        """Stop a schedule from firing."""
        await self._change(engine, name, permit, lambda record, _: replace(record, paused=True, due_us=None))

    async def resume(self, engine: EngineName | None, name: str, permit: Permit) -> None:
        """Let a schedule fire again, from now on."""
        await self._change(engine, name, permit, self._resumed)

    def _resumed(self, record: ScheduleRecord, now_us: int) -> ScheduleRecord:
        schedule = self._codec.decode(record.body)
        return _going_on(replace(record, paused=False), schedule, max(now_us, record.last_fired_us or 0))

    async def trigger(self, engine: EngineName | None, name: str, request_id: str, permit: Permit) -> str:
        """Dispatch the event of a schedule once, now. Returns its id."""
        target = self._serving(engine)
        schedule = self._codec.decode((await _permitted(target, name, permit)).body)
        chosen = _own_id(f"{name}@trigger", request_id)
        event = self._codec.event(schedule, chosen, target.wall_us())
        await self._dispatching.dispatch(DispatchCommand(schedule.topic, DispatchRequest([event]), [target.name]))
        log.info("schedule triggered", engine=target.name, schedule=name, event_id=chosen)
        return chosen

    async def backfill(
        self, engine: EngineName | None, name: str, span: tuple[int, int], request_id: str, permit: Permit
    ) -> Sequence[str]:
        """Dispatch the events of the nominal times from the first moment on, and before the second; all or none.

        Returns:
            Their ids.

        Raises:
            InvalidArgument: they are too many, or too large together.
        """
        target = self._serving(engine)
        schedule = self._codec.decode((await _permitted(target, name, permit)).body)
        times = nominal_times(schedule, span[0] - 1, MAX_BACKFILLED + 1, before_us=span[1])
        if len(times) > MAX_BACKFILLED:
            raise InvalidArgument("end", f"there are more than {MAX_BACKFILLED} nominal times before it")
        own = _own_id("", request_id)
        chosen = [_checked(f"{event_id(name, at)}{own}") for at in times]
        # Before they are made: together they may be far larger than any request.
        if len(times) * len(schedule.event.body) > limits.MAX_BATCH_BYTES:
            raise InvalidArgument(
                "end", f"there are {len(times)} nominal times before it, and their events exceed 4 MiB together"
            )
        events = [self._codec.event(schedule, one, at) for one, at in zip(chosen, times, strict=True)]
        if events:
            await self._dispatching.dispatch(DispatchCommand(schedule.topic, DispatchRequest(events), [target.name]))
        log.info("schedule backfilled", engine=target.name, schedule=name, events=len(events))
        return [event.id for event in events]

    async def _change(
        self,
        engine: EngineName | None,
        name: str,
        permit: Permit,
        changed: Callable[[ScheduleRecord, int], ScheduleRecord],
    ) -> None:
        """Change a schedule that may be fired meanwhile."""
        target = self._serving(engine)
        for _ in range(ATTEMPTS):
            record = await _permitted(target, name, permit)
            change = changed(record, target.wall_us())
            if change.paused == record.paused or await target.save_schedule(change, record.version, self._most):
                log.info("schedule changed", engine=target.name, schedule=name, paused=change.paused)
                return
        raise _contended(name)

    def _serving(self, name: EngineName | None) -> Engine:
        return self._engines.serving(name).engine

    def now_us(self, engine: EngineName | None) -> int:
        """The clock that schedules follow, in microseconds since the Unix epoch."""
        return self._engines.in_use(engine).engine.wall_us()


def nominal_times(schedule: Schedule, after_us: int, count: int, before_us: int | None = None) -> Sequence[int]:
    """The nominal times after a moment, ``count`` at most, and before another."""
    found: list[int] = []
    next_us = schedule.rule.next_after(after_us)
    while next_us is not None and len(found) < count and (before_us is None or next_us < before_us):
        found.append(next_us)
        next_us = schedule.rule.next_after(next_us)
    return found


async def _find(engine: Engine, name: str) -> ScheduleRecord | None:
    try:
        return await engine.get_schedule(name)
    except NotFound:
        return None


async def _permitted(engine: Engine, name: str, permit: Permit) -> ScheduleRecord:
    """A schedule that the caller may change.

    Raises:
        NotFound: there is none of this name.
        PermissionDenied: the caller may not dispatch to its topic.
    """
    record = await engine.get_schedule(name)
    if permit is not None:
        permit(record.topic)
    return record


def _replacing(known: ScheduleRecord | None, command: PutCommand, now_us: int) -> ScheduleRecord:
    """The record of a schedule in place of the known one, whose counters and pause it keeps. A nominal time that is due
    and not fired yet is not lost.
    """
    schedule = command.schedule
    if known is None:
        new = ScheduleRecord(schedule.name, schedule.topic, schedule.event.key, command.body, paused=command.paused)
        return _going_on(new, schedule, now_us)
    after_us = now_us
    if known.due_us is not None and known.next_us is not None:
        after_us = min(now_us, known.next_us - 1)
    after_us = max(after_us, known.last_fired_us or 0)
    return _going_on(replace(known, key=schedule.event.key, body=command.body), schedule, after_us)


def _going_on(record: ScheduleRecord, schedule: Schedule, after_us: int) -> ScheduleRecord:
    """A record that fires next after a moment, unless it has reached its number of runs."""
    next_us = None if schedule.is_over(record.runs) else schedule.rule.next_after(after_us)
    return replace(record, next_us=next_us, due_us=None if record.paused else schedule.due_us(next_us))


def _own_id(head: str, request_id: str) -> str:
    return _checked(f"{head}@{request_id or secrets.token_hex(REQUEST_ID_BYTES)}")


def _checked(chosen: str) -> str:
    """An event id that contains a request id.

    Raises:
        InvalidArgument: the request id makes it too long, or unprintable.
    """
    limits.check_text("request_id", chosen)
    return chosen


def _contended(name: str) -> ConcurrentModification:
    return ConcurrentModification(f"schedule {name!r} keeps being changed by others", metadata={"schedule": name})
