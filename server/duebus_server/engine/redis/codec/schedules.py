"""Schedules and their firings as arguments of the scripts, and what the scripts return of them. The order of the fields
is that of ``schedules.lua``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from duebus_server.domain.model import DispatchRequest
from duebus_server.domain.schedules import FiringOutcome, Overlap, ScheduleRecord
from duebus_server.engine.redis.codec import dispatch
from duebus_server.engine.redis.codec.ids import pack_id, unpack_id
from duebus_server.engine.redis.codec.leases import read_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.domain.schedules import Firing

OUTCOMES = (
    FiringOutcome.FIRED,
    FiringOutcome.SKIPPED,
    FiringOutcome.MISSED,
    FiringOutcome.CHANGED,
    FiringOutcome.EARLY,
    FiringOutcome.FULL,
)
"""As in ``fire.lua``."""

_MOST_UNFINISHED = {Overlap.ALLOW: 0, Overlap.SKIP: 1, Overlap.BUFFER_ONE: 2}
_NONE = -1


def fields(record: ScheduleRecord) -> list[Any]:
    """A schedule's fields after its version."""
    last, before = ([b"", b"", *map(pack_id, record.last_event_ids)])[:-3:-1]
    return [
        _time(record.next_us),
        _time(record.due_us),
        int(record.paused),
        record.runs,
        record.skipped,
        record.missed,
        _time(record.last_fired_us),
        last,
        before,
        record.key,
        record.body,
    ]


def read(name: str, topic: str, found: Sequence[Any]) -> ScheduleRecord:
    """A schedule from its fields."""
    version, next_us, due_us, paused, runs, skipped, missed, last_fired_us, last, before, key, body = found
    return ScheduleRecord(
        name=name,
        topic=topic,
        key=key.decode(errors="replace"),
        body=body,
        version=version,
        paused=bool(paused),
        next_us=read_time(next_us),
        due_us=read_time(due_us),
        runs=runs,
        skipped=skipped,
        missed=missed,
        last_fired_us=read_time(last_fired_us),
        last_event_ids=[unpack_id(packed) for packed in (before, last) if packed],
    )


def firing_arguments(firing: Firing) -> list[Any]:
    """A firing as arguments of ``fire.lua``."""
    event = firing.event
    request = dispatch.arguments(DispatchRequest([event])) if event is not None else []
    return [
        firing.record.name,
        firing.record.version,
        firing.nominal_us,
        int(firing.ends),
        _MOST_UNFINISHED[firing.overlap],
        firing.missed,
        _time(firing.next_us),
        _time(firing.due_us),
        pack_id(event.id) if event is not None else "",
        len(request),
        *request,
    ]


def _time(at_us: int | None) -> int:
    return _NONE if at_us is None else at_us
