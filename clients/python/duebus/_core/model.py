"""What callers pass in and get back, apart from deliveries."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from duebus._core.delivery import Delivery
from duebus._core.enums import Engine, LeaseFailureReason
from duebus._core.fields import Span

LeaseRef = Delivery | str
"""What names a lease: the delivery it came with, or its lease token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event to dispatch.

    Attributes:
        data: The payload, at most 1 MiB. Bytes are sent as they are, a str in UTF-8 (or in the charset that
            `content_type` names), anything else as JSON: what `json.dumps` takes, and within it datetime, date and time
            as ISO 8601, UUID and Decimal as text, an Enum as its value, a dataclass as an object of its fields, and a
            model of pydantic as its `model_dump(mode="json")`.
        id: Unique within the topic: an event whose id the topic holds, or held within its dedupe window, adds nothing.
            Empty: the server fills one in.
        delay: How long after the server has stored it the event is due: a timedelta or seconds, 0 to 10 years.
        at: When it is due, as an aware datetime; a moment in the past means now. Not together with `delay`.
        attributes: Metadata for handlers, at most 64 KiB.
        content_type: The media type of `data`. None: application/octet-stream for bytes, text/plain; charset=utf-8 for
            str, application/json for the rest. Bytes that are said to be text or JSON have to be in its charset, by
            default UTF-8.
        max_retries: How many times it is retried before it is dead. None: as the topic's retry policy says. A handler
            of `Worker` may lower it.
    """

    data: Any
    id: str = ""
    delay: Span | None = None
    at: datetime | None = None
    attributes: Mapping[str, str] | None = None
    content_type: str | None = None
    max_retries: int | None = None


@dataclass(frozen=True, slots=True)
class Dispatched:
    """What became of one dispatched event.

    Attributes:
        event_id: Its id, the one that was passed in or the one that the server filled in.
        duplicate: True when it added nothing, because the topic holds an event of that id or held it within its dedupe
            window.
    """

    event_id: str
    duplicate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Nack:
    """One delivery to give back. At most one of `delay`, `dead_letter` and `release`; none: the topic's backoff.

    Attributes:
        delivery: The delivery or its lease token.
        error: Why; kept as the event's last error, cut to 4 KiB.
        delay: It is retried after this; dead when no retries are left. A timedelta or seconds, 0 to 10 years.
        dead_letter: To the dead letters at once.
        release: Ready again at once, and the attempt is not counted.
    """

    delivery: LeaseRef
    error: str = ""
    delay: Span | None = None
    dead_letter: bool = False
    release: bool = False


@dataclass(frozen=True, slots=True)
class LeaseFailure:
    """A lease that could not be settled or extended. Nothing was changed by it."""

    lease_token: str
    reason: LeaseFailureReason


@dataclass(frozen=True, slots=True)
class StoppedEngine:
    """An engine that was stopped.

    Attributes:
        engine: Which; None for one that this client is too old to know.
        released: Leases that were given back because they were not settled in time.
        queued: Events it holds: on local they go with the process, on redis they stay.
    """

    engine: Engine | None
    released: int
    queued: int
