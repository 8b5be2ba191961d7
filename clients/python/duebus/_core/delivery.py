"""A delivery: an event leased to this subscriber."""

from datetime import UTC, datetime
from typing import Any

from duebus._core.payload import decode_json, decode_text
from duebus.v1 import event_bus_pb2


class Delivery:
    """An event leased to this subscriber. Immutable; equal if the lease is the same.

    Settle it with `ack` or `nack` before `lease_expires_at`, or extend the lease. An event may be delivered more than
    once, so handlers should be idempotent.
    """

    # Fields are read from the message on access: most handlers use few of them.
    __slots__ = ("_message",)
    _message: event_bus_pb2.Delivery

    def __init__(self, message: event_bus_pb2.Delivery) -> None:
        self._message = message

    @property
    def event_id(self) -> str:
        """The event's id, unique within the topic."""
        return self._message.event.id

    @property
    def data(self) -> bytes:
        """The payload, byte for byte as it was dispatched."""
        return self._message.event.data

    @property
    def content_type(self) -> str:
        """The media type of `data`."""
        return self._message.event.content_type

    @property
    def attributes(self) -> dict[str, str]:
        """A copy of the event's metadata."""
        return dict(self._message.event.attributes)

    @property
    def topic(self) -> str:
        """The topic it was dispatched to."""
        return self._message.topic

    @property
    def group(self) -> str:
        """The group whose copy this is."""
        return self._message.group

    @property
    def lease_token(self) -> str:
        """The token that settles this delivery, on any replica. Opaque."""
        return self._message.lease_token

    @property
    def fencing_token(self) -> int:
        """A number that grows with every lease of the event in this group, and of the events with the same key.

        A write guarded by "only if greater" can't be undone by a holder whose lease has run out.
        """
        return self._message.fencing_token

    @property
    def attempt(self) -> int:
        """The number of the attempt, from 1. A release is not counted."""
        return self._message.attempt

    @property
    def key(self) -> str:
        """Events with the same key are delivered in order; empty for none."""
        return self._message.event.key

    @property
    def priority(self) -> int:
        """Its head start in seconds; see NewEvent."""
        return self._message.event.priority

    @property
    def max_retries(self) -> int | None:
        """How many times it may be retried, as dispatched; None: by the retry policy in force."""
        event = self._message.event
        return event.max_retries if event.HasField("max_retries") else None

    @property
    def deliver_at(self) -> datetime:
        """When it was due, in UTC; for a retry, when the retry was due."""
        return self._message.deliver_at.ToDatetime(UTC)

    @property
    def dispatched_at(self) -> datetime:
        """When the engine stored it, in UTC, by the engine's clock."""
        return self._message.dispatched_at.ToDatetime(UTC)

    @property
    def lease_expires_at(self) -> datetime:
        """When the lease runs out unless it is extended, in UTC, by the engine's clock."""
        return self._message.lease_expires_at.ToDatetime(UTC)

    @property
    def _expires_at(self) -> float:
        """`lease_expires_at` in seconds since the Unix epoch; 0 if the server did not send it."""
        stamp = self._message.lease_expires_at
        return stamp.seconds + stamp.nanos / 1e9

    @property
    def last_error(self) -> str:
        """Why the previous attempt failed; empty on the first attempt."""
        return self._message.last_error

    def text(self) -> str:
        """The payload as text, decoded by the charset of its media type, or else UTF-8.

        Raises:
            UnicodeDecodeError: the payload is not in that charset.
            LookupError: Python does not know the charset.
        """
        return decode_text(self.data, self.content_type)

    def json(self) -> Any:
        """The payload as JSON, regardless of its media type.

        Raises:
            json.JSONDecodeError: the payload is not JSON.
        """
        return decode_json(self.data)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Delivery):
            return NotImplemented
        return self.lease_token == other.lease_token

    def __hash__(self) -> int:
        return hash(self.lease_token)

    def __repr__(self) -> str:
        return (
            f"Delivery(topic={self.topic!r}, group={self.group!r}, event_id={self.event_id!r}, "
            f"attempt={self.attempt}, content_type={self.content_type!r}, data=<{len(self.data)} bytes>)"
        )
