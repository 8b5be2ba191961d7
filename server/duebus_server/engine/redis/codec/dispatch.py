"""A dispatch as arguments of its script, and the script's answer as outcomes and as what was handed over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import DueBusError, MaxQueuedEventsReached, NoHandlerFound, RequestIdReused
from duebus_server.domain.event_ids import made_at
from duebus_server.domain.model import DispatchAnswer, DispatchRequest, LeaseBatch, LeasedEvent
from duebus_server.engine.redis.codec.ids import pack_ids
from duebus_server.engine.redis.codec.leases import read_time
from duebus_server.engine.redis.codec.packing import pack_events

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.domain.model import NewEvent
    from duebus_server.engine.redis.partition import Partition

_STORED, _REPEATED, _FULL, _NO_SUBSCRIBER, _REUSED, _KEY_FULL = range(6)
"""As in ``dispatch.lua``."""

RETRY_WHEN_FULL_US = SECOND


def arguments(request: DispatchRequest) -> list[Any]:
    """A request as arguments of ``dispatch.lua``."""
    events = request.events
    return [
        request.request_id,
        request.identity() if request.request_id else 0,
        int(request.require_subscriber),
        _generated_at_ms(events),
        len(events),
        _marks(events),
        _dues(events),
        *pack_events(events, pack_ids([event.id for event in events]), request.origin),
    ]


def _marks(events: Sequence[NewEvent]) -> str:
    """One digit for each event: the sum of 1 if the client chose the id, 2 if it has a key, and 4 if it has a priority.
    Empty if all are 0.
    """
    marks = "".join(
        ["01234567"[(not event.id_is_generated) + 2 * bool(event.key) + 4 * bool(event.priority)] for event in events]
    )
    return marks if marks.strip("0") else ""


def _dues(events: Sequence[NewEvent]) -> str:
    """The due times; only one if it is the same for all events."""
    times = [(event.delay_us, event.deliver_at_us) for event in events]
    if times.count(times[0]) == len(times):
        times = times[:1]
    return " ".join(f"a{at_us or 0}" if delay_us is None else f"d{delay_us}" for delay_us, at_us in times)


def outcome(partition: Partition, request: DispatchRequest, answer: Sequence[Any]) -> DispatchAnswer | DueBusError:
    """Reads the answer of ``dispatch.lua`` for a request."""
    status, *rest = answer
    topic = partition.topic
    if status == _FULL:
        queued, max_queued = rest
        what = f"topic {topic!r}" if partition.count == 1 else f"a partition of topic {topic!r}"
        return MaxQueuedEventsReached(
            f"{what} holds {queued} events of at most {max_queued}",
            metadata={"topic": topic, "max_queued": str(max_queued)},
            retry_after_us=RETRY_WHEN_FULL_US,
        )
    if status == _KEY_FULL:
        packed_key, blocked, max_blocked = rest
        key = packed_key.decode()
        return MaxQueuedEventsReached(
            f"key {key!r} of topic {topic!r} would have {blocked} blocked events of at most {max_blocked}",
            metadata={"topic": topic, "key": key, "max_blocked": str(max_blocked)},
            retry_after_us=RETRY_WHEN_FULL_US,
        )
    if status == _NO_SUBSCRIBER:
        return NoHandlerFound(f"topic {topic!r} has no subscriber", metadata={"topic": topic})
    if status == _REUSED:
        return RequestIdReused()
    generated_at_ms, *duplicates = rest
    ids = _first_ids(request, generated_at_ms) if status == _REPEATED else [event.id for event in request.events]
    return DispatchAnswer(ids, [ids[index] for index in duplicates])


def due_events(requests: Sequence[DispatchRequest], answers: Sequence[Sequence[int]], now_us: int) -> list[NewEvent]:
    """The events that these requests have stored and that are due, in the order in which they are handed over."""
    found: list[NewEvent] = []
    for request, (status, *rest) in zip(requests, answers, strict=True):
        if status == _STORED:
            duplicates = set(rest[1:])
            found += [
                event
                for index, event in enumerate(request.events)
                if index not in duplicates and not event.delay_us and (event.deliver_at_us or 0) <= now_us
            ]
    return found


def handed_over(answer: Sequence[Any], due: Sequence[NewEvent], stride: int, now_us: int) -> LeaseBatch:
    """Reads a hand-over in the answer of ``dispatch.lua``.

    Args:
        answer: the hand-over.
        due: as ``due_events`` returns it.
        stride: the number of partitions.
        now_us: the time of the dispatch, in microseconds.
    """
    *numbers, places = answer
    count, first_fence, expires, next_due, is_paused, suspect_due = map(int, numbers)
    if places:
        due = [due[place] for place in places]
    fences = range(first_fence, first_fence + stride * count, stride)
    events = [
        LeasedEvent(event.id, event.body, fence, 1, now_us, now_us, expires, "")
        for event, fence in zip(due, fences, strict=False)
    ]
    is_left = 0 <= next_due <= now_us
    return LeaseBatch(events, read_time(next_due), is_left, bool(is_paused), read_time(suspect_due))


def _first_ids(request: DispatchRequest, generated_at_ms: int) -> list[str]:
    """The ids in the first answer to this request."""
    return [made_at(generated_at_ms, event.id) if event.id_is_generated else event.id for event in request.events]


def _generated_at_ms(events: Sequence[NewEvent]) -> int:
    """The time in the generated ids of a request: the first 48 bits of a UUIDv7. 0 if none was generated."""
    first = next((event.id for event in events if event.id_is_generated), None)
    return int(first[:8] + first[9:13], 16) if first else 0
