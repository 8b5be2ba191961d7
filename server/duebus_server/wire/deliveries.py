"""Deliveries as encoded bytes, put together from parts that are already encoded.

The fields of a message are encoded one after the other, so concatenated messages are one message with the fields of
all (https://protobuf.dev/programming-guides/encoding/#last-one-wins). A delivery is therefore concatenated from what it
shares with others, encoded once, and its own parts: the event's id, its body as stored, the tokens.
That takes half the time of a ``Delivery`` for each, as ``tests/bench/delivery_encoding.py`` shows, and every event that
the bus delivers goes through here.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import chain, repeat
from operator import attrgetter
from typing import TYPE_CHECKING

from duebus.v1 import event_bus_pb2

from duebus_server.wire.times import seconds_and_nanos

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from duebus_server.domain.lease_token import GroupTokens
    from duebus_server.domain.model import LeasedEvent

MAX_MESSAGE_BYTES = 4 << 20
"""gRPC clients refuse larger ones by default."""

FRONT_BYTES = 5
"""The most that the key and the length before a delivery take."""

MAX_DELIVERIES_BYTES = MAX_MESSAGE_BYTES - 16
"""The remainder is for the key and the length before the deliveries of a message."""


def _key(number: int, wire_type: int) -> bytes:
    """The key of a field: one byte for the first fifteen fields."""
    return bytes((number << 3 | wire_type,))


_VARINT, _LENGTH_DELIMITED = 0, 2
"""Wire types: https://protobuf.dev/programming-guides/encoding/#structure."""

_DELIVERY = event_bus_pb2.Delivery
_ID = _key(event_bus_pb2.Event.ID_FIELD_NUMBER, _LENGTH_DELIMITED)
_EVENT = _key(_DELIVERY.EVENT_FIELD_NUMBER, _LENGTH_DELIMITED)
_LEASE_TOKEN = _key(_DELIVERY.LEASE_TOKEN_FIELD_NUMBER, _LENGTH_DELIMITED)
_FENCING_TOKEN = _key(_DELIVERY.FENCING_TOKEN_FIELD_NUMBER, _VARINT)
_DELIVERIES = _key(event_bus_pb2.Deliveries.DELIVERIES_FIELD_NUMBER, _LENGTH_DELIMITED)
_FRAME = _key(event_bus_pb2.SubscribeResponse.DELIVERIES_FIELD_NUMBER, _LENGTH_DELIMITED)


class DeliveryEncoder:
    """Encodes the deliveries of one subscription.

    Args:
        tokens: those of the group; makes the lease tokens.
    """

    def __init__(self, tokens: GroupTokens) -> None:
        self._mint = tokens.mint
        # What stands between an event and the length of its lease token.
        self._place = _DELIVERY(topic=tokens.topic, group=tokens.group).SerializeToString() + _LEASE_TOKEN

    def responses(self, events: Sequence[LeasedEvent]) -> Iterator[bytes]:
        """Encoded ``SubscribeResponse`` messages: one, or several if one would be too large."""
        return map(_response, _messages(list(self._deliveries(events))))

    def _deliveries(self, events: Sequence[LeasedEvent]) -> Iterator[bytes]:
        place = self._place
        ids, fences = [event.event_id for event in events], [event.fencing_token for event in events]
        tokens = self._mint(ids, fences)
        shared, rest = None, b""
        for event, text, fence, minted, facts in zip(events, ids, fences, tokens, map(_facts, events), strict=True):
            if facts != shared:
                shared, rest = facts, _encode_facts(event)
            event_id, body, token = text.encode(), event.body, minted.encode()
            id_front = _id_front(len(event_id))
            yield b"".join(
                (
                    _EVENT,
                    varint(len(id_front) + len(event_id) + len(body)),
                    id_front,
                    event_id,
                    body,
                    place,
                    varint(len(token)),
                    token,
                    _FENCING_TOKEN,
                    # Neighbouring tokens differ in their last seven bits, so the cache has the others.
                    varint(fence) if fence <= _SEVEN_BITS else _MORE[fence & _SEVEN_BITS] + varint(fence >> 7),
                    rest,
                )
            )


_SEVEN_BITS = 0x7F

_MORE = tuple(bytes((bits | 0x80,)) for bits in range(_SEVEN_BITS + 1))
"""Seven bits that others follow."""


@lru_cache(maxsize=1 << 14)
def varint(number: int) -> bytes:
    """A non-negative number in groups of seven bits: https://protobuf.dev/programming-guides/encoding/#varints."""
    return bytes((number,)) if number <= _SEVEN_BITS else _MORE[number & _SEVEN_BITS] + varint(number >> 7)


@lru_cache(maxsize=256)
def _id_front(length: int) -> bytes:
    """What stands before an event's id of this length."""
    return _ID + varint(length)


_facts = attrgetter("attempt", "deliver_at_us", "dispatched_us", "lease_expires_us", "last_error")
"""What is the same for events that were dispatched together and are leased together."""


def _encode_facts(event: LeasedEvent) -> bytes:
    return _DELIVERY(
        attempt=event.attempt,
        deliver_at=seconds_and_nanos(event.deliver_at_us),
        dispatched_at=seconds_and_nanos(event.dispatched_us),
        lease_expires_at=seconds_and_nanos(event.lease_expires_us),
        last_error=event.last_error,
    ).SerializeToString()


def _messages(deliveries: list[bytes]) -> Iterator[list[bytes]]:
    """The deliveries of each message, in order."""
    if sum(map(len, deliveries)) + len(deliveries) * FRONT_BYTES <= MAX_DELIVERIES_BYTES:  # nearly always
        yield deliveries
        return
    begin = size = 0
    for index, delivery in enumerate(deliveries):
        added = FRONT_BYTES + len(delivery)
        if size + added > MAX_DELIVERIES_BYTES and size:
            yield deliveries[begin:index]
            begin, size = index, 0
        size += added
    yield deliveries[begin:]


def _response(deliveries: list[bytes]) -> bytes:
    lengths = [varint(len(delivery)) for delivery in deliveries]
    size = sum(map(len, deliveries)) + sum(map(len, lengths)) + len(deliveries) * len(_DELIVERIES)
    fields = zip(repeat(_DELIVERIES), lengths, deliveries, strict=False)
    return b"".join((_FRAME, varint(size), *chain.from_iterable(fields)))
