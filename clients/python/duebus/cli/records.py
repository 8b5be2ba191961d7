"""The client's results as JSON."""

from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from typing import Any

from duebus._core.admin_model import EventInfo
from duebus._core.delivery import Delivery
from duebus._core.fields import Span
from duebus.cli.output import payload_json
from duebus.cli.spans import format_moment_json

Record = dict[str, Any]

_SPANS = (timedelta, timedelta | None, Span)


def record_of(value: Any) -> Record:
    """A dataclass as JSON: times in ISO 8601 and UTC, durations as `NAME_seconds`."""
    record: Record = {}
    for each in fields(value):
        item = getattr(value, each.name)
        if each.type in _SPANS:
            record[f"{each.name}_seconds"] = item.total_seconds() if isinstance(item, timedelta) else item
        else:
            record[each.name] = _json(item)
    return record


def _json(value: Any) -> Any:
    if isinstance(value, datetime):
        return format_moment_json(value)
    if isinstance(value, tuple | list):
        return [_json(each) for each in value]
    return record_of(value) if is_dataclass(value) else value


def event_record(event: EventInfo) -> Record:
    """An event and its state in each group."""
    record = record_of(event)
    del record["data"]
    return record if event.data_withheld else record | payload_json(event.data, event.content_type)


def delivery_record(delivery: Delivery, received_at: datetime) -> Record:
    """A delivery, and when it arrived."""
    return {
        "event_id": delivery.event_id,
        "topic": delivery.topic,
        "group": delivery.group,
        **payload_json(delivery.data, delivery.content_type),
        "content_type": delivery.content_type,
        "attributes": delivery.attributes,
        "attempt": delivery.attempt,
        "fencing_token": delivery.fencing_token,
        "dispatched_at": format_moment_json(delivery.dispatched_at),
        "deliver_at": format_moment_json(delivery.deliver_at),
        "received_at": format_moment_json(received_at),
        "late_seconds": (received_at - delivery.deliver_at).total_seconds(),
        "last_error": delivery.last_error,
    }
