"""Between the SDK's values and those of the protocol."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

from duebus import (
    Closing,
    Deliveries,
    Delivery,
    DueBusError,
    Frame,
    Heartbeat,
    LeaseFailure,
    Nack,
    NewEvent,
    Pause,
    Started,
)

__all__ = [
    "datetime_of",
    "moment_of",
    "optional_datetime_of",
    "optional_moment_of",
    "optional_span_ms",
    "read_delivery",
    "read_error",
    "read_failures",
    "read_frame",
    "read_started",
    "span_of",
    "write_event",
    "write_nack",
]

_MILLISECOND = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def span_of(milliseconds: int | None) -> timedelta | None:
    """A length of time."""
    return None if milliseconds is None else milliseconds * _MILLISECOND


def datetime_of(milliseconds: int) -> datetime:
    """A moment."""
    return _EPOCH + milliseconds * _MILLISECOND


def optional_datetime_of(milliseconds: int | None) -> datetime | None:
    """As `datetime_of`."""
    return None if milliseconds is None else datetime_of(milliseconds)


def write_event(event: dict[str, Any]) -> NewEvent:
    """An event to dispatch."""
    return NewEvent(
        data=base64.b64decode(event.get("data") or ""),
        id=event.get("id") or "",
        delay=span_of(event.get("delay_ms")),
        at=optional_datetime_of(event.get("deliver_at_ms")),
        attributes=event.get("attributes"),
        content_type=event.get("content_type"),
        max_retries=event.get("max_retries"),
        key=event.get("key") or "",
        priority=event.get("priority") or 0,
    )


def write_nack(nack: dict[str, Any]) -> Nack:
    """A nack."""
    pause = nack.get("pause")
    return Nack(
        delivery=nack["lease_token"],
        error=nack.get("error") or "",
        delay=span_of(nack.get("delay_ms")),
        dead_letter=nack.get("dead_letter") or False,
        release=nack.get("release") or False,
        pause=pause and Pause(duration=pause["duration_ms"] * _MILLISECOND, scope=pause["scope"]),
    )


def read_delivery(delivery: Delivery) -> dict[str, Any]:
    """A delivery with all its fields."""
    return {
        "event_id": delivery.event_id,
        "data": base64.b64encode(delivery.data).decode(),
        "content_type": delivery.content_type,
        "attributes": delivery.attributes,
        "key": delivery.key,
        "priority": delivery.priority,
        "topic": delivery.topic,
        "group": delivery.group,
        "lease_token": delivery.lease_token,
        "fencing_token": delivery.fencing_token,
        "attempt": delivery.attempt,
        "deliver_at_ms": moment_of(delivery.deliver_at),
        "dispatched_at_ms": moment_of(delivery.dispatched_at),
        "lease_expires_at_ms": moment_of(delivery.lease_expires_at),
        "last_error": delivery.last_error,
    }


def read_started(started: Started) -> dict[str, Any]:
    """The first frame."""
    return {
        "session_id": started.session_id,
        "max_in_flight": started.max_in_flight,
        "max_in_flight_bytes": started.max_in_flight_bytes,
        "lease_ms": started.lease // _MILLISECOND,
        "disconnect_grace_ms": started.disconnect_grace // _MILLISECOND,
        "lost_lease_tokens": list(started.lost_lease_tokens),
        "group": started.group,
    }


def read_frame(frame: Frame) -> tuple[str, dict[str, Any]]:
    """A later frame: the event's name and its fields."""
    match frame:
        case Deliveries():
            return "deliveries", {"deliveries": [read_delivery(each) for each in frame]}
        case Heartbeat():
            return "heartbeat", {"backlog": frame.backlog}
        case Closing():
            return "closing", {"reason": frame.reason, "reconnect_after_ms": frame.reconnect_after // _MILLISECOND}
        case Started():
            return "started", read_started(frame)


def read_failures(failures: list[LeaseFailure]) -> dict[str, Any]:
    """The failures of a settle or an extension."""
    return {"failures": [{"lease_token": each.lease_token, "reason": each.reason} for each in failures]}


def read_error(error: DueBusError) -> dict[str, Any]:
    """An error with all its fields."""
    violations = [{"field": each.field, "description": each.description} for each in error.field_violations]
    return {
        "reason": error.reason,
        "message": str(error),
        "field_violations": violations,
        "retry_after_ms": None if error.retry_after is None else error.retry_after // _MILLISECOND,
        "metadata": error.metadata,
        "stored_engines": list(error.stored_engines),
        "stored_event_ids": list(error.stored_event_ids),
    }


def moment_of(moment: datetime) -> int:
    """Milliseconds since the Unix epoch."""
    return (moment - _EPOCH) // _MILLISECOND


def optional_moment_of(moment: datetime | None) -> int | None:
    """As `moment_of`."""
    return None if moment is None else moment_of(moment)


def optional_span_ms(span: timedelta | None) -> int | None:
    """A length of time in milliseconds."""
    return None if span is None else span // _MILLISECOND
