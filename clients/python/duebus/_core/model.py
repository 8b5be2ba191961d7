"""The arguments and results of calls, except deliveries."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from duebus._core.delivery import Delivery
from duebus._core.enums import Engine, LeaseFailureReason
from duebus._core.fields import Span
from duebus._core.limits import Pause

LeaseRef = Delivery | str
"""Names a lease: its delivery or its lease token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event to dispatch.

    Attributes:
        data: The payload, at most 1 MiB. Bytes are sent as they are, a str in UTF-8 (or in the charset that
            `content_type` names), and anything else as JSON: the types of `json.dumps`, and also datetime, date and
            time as ISO 8601, UUID and Decimal as text, an Enum as its value, a dataclass as an object of its fields,
            a msgspec Struct by `to_builtins`, and a pydantic model as its `model_dump(mode="json")`.
        id: Unique within the topic: an event whose id the topic holds, or held within its dedupe window, adds nothing.
            Empty: the server makes one.
        delay: How long after the server stored it the event is due: a timedelta or seconds, 0 to 10 years.
        at: When it is due, as an aware datetime; a past time means now. Not together with `delay`.
        attributes: Metadata for handlers, at most 64 KiB.
        content_type: The media type of `data`. None: application/octet-stream for bytes, text/plain; charset=utf-8 for
            str, application/json for the rest. Bytes declared as text or JSON must be in its charset, by default
            UTF-8.
        max_retries: How many times it is retried before it is dead. None: by the topic's retry policy. A handler of
            `Worker` may lower it.
        key: For example an order's number; at most 255 bytes. A group gets the events with the same key one at a time,
            in the order in which they are due, unless it has another `KeyPolicy`. Empty: in no order.
        priority: A head start in seconds, -86,400 to 86,400: of the events that are due, it is delivered as if it had
            been due so much earlier. It is never early, and does not overtake events with the same key.
    """

    data: Any
    id: str = ""
    delay: Span | None = None
    at: datetime | None = None
    attributes: Mapping[str, str] | None = None
    content_type: str | None = None
    max_retries: int | None = None
    key: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Dispatched:
    """The result of dispatching one event.

    Attributes:
        event_id: Its id, from the caller or made by the server.
        duplicate: True if it added nothing, because the topic holds an event with that id, or held one within its
            dedupe window.
    """

    event_id: str
    duplicate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Nack:
    """One delivery to give back. At most one of `delay`, `dead_letter` and `release`; without one, the topic's backoff.

    Attributes:
        delivery: The delivery or its lease token.
        error: The reason, kept as the event's last error and cut to 4 KiB.
        delay: When to retry it, if retries are left: a timedelta or seconds, 0 to 10 years.
        dead_letter: Make it a dead letter at once.
        release: Make it ready again at once, without counting the attempt.
        pause: Deliver nothing of its key, or of the group, for a while. With none of the above, it is released.
    """

    delivery: LeaseRef
    error: str = ""
    delay: Span | None = None
    dead_letter: bool = False
    release: bool = False
    pause: Pause | None = None


@dataclass(frozen=True, slots=True)
class LeaseFailure:
    """A lease that was not settled or extended. Nothing was changed."""

    lease_token: str
    reason: LeaseFailureReason


@dataclass(frozen=True, slots=True)
class StoppedEngine:
    """An engine that was stopped.

    Attributes:
        engine: The engine; None if this client is too old to know it.
        released: How many leases were released because they were not settled in time.
        queued: How many events it holds. On local without a data directory they are lost with the process; otherwise
            they stay.
    """

    engine: Engine | None
    released: int
    queued: int
