"""Frames fit into what any gRPC client accepts."""

from __future__ import annotations

from duebus.v1 import event_bus_pb2
from duebus_server.delivery.frames import Closing, ClosingReason, Deliveries, Frame, Heartbeat
from duebus_server.domain.clock import SECOND
from duebus_server.domain.lease_token import LeaseTokens
from duebus_server.domain.limits import MAX_ATTRIBUTE_BYTES, MAX_ERROR_BYTES, MAX_EVENT_BYTES
from duebus_server.domain.model import EngineName, LeasedEvent
from duebus_server.wire import encode
from duebus_server.wire.deliveries import DeliveryEncoder
from hypothesis import given
from hypothesis import strategies as st
from support.engines import START_US
from support.wire import event, ids

TOKENS = LeaseTokens({EngineName.LOCAL: b"key"}).of_group(EngineName.LOCAL, "orders", "billing")

CLIENT_LIMIT = 4 << 20
"""What a gRPC client accepts by default (GRPC_DEFAULT_MAX_RECV_MESSAGE_LENGTH)."""


def leased(number: int, data: bytes = b"", last_error: str = "") -> LeasedEvent:
    event_id = f"event-{number}"
    body = event_bus_pb2.Event(data=data).SerializeToString()
    return LeasedEvent(event_id, body, number, 2, START_US, START_US - 1, START_US + 30 * SECOND, last_error)


def responses(frame: Frame) -> list[event_bus_pb2.SubscribeResponse]:
    """The messages of a frame, as a client reads them."""
    raw = list(encode.frame_responses(frame, DeliveryEncoder(TOKENS)))
    assert max(map(len, raw)) <= CLIENT_LIMIT
    return [event_bus_pb2.SubscribeResponse.FromString(each) for each in raw]


def test_a_delivery_has_the_event_as_stored_and_its_lease() -> None:
    (response,) = responses(Deliveries([leased(7, b"\x00\xff", "boom")]))
    (delivery,) = response.deliveries.deliveries
    assert delivery.event == event("event-7", b"\x00\xff")
    assert (delivery.topic, delivery.group, delivery.fencing_token, delivery.attempt) == ("orders", "billing", 7, 2)
    assert delivery.last_error == "boom"
    assert delivery.deliver_at.ToMicroseconds() == START_US
    assert delivery.dispatched_at.ToMicroseconds() == START_US - 1
    assert delivery.lease_expires_at.ToMicroseconds() == START_US + 30 * SECOND


times = st.integers(0, 250_000_000_000_000_000)


@given(
    events=st.lists(
        st.builds(
            LeasedEvent,
            event_id=st.text("aé7/", min_size=1, max_size=60),
            body=st.builds(lambda data: event_bus_pb2.Event(data=data).SerializeToString(), st.binary(max_size=300)),
            fencing_token=st.integers(1, 2**64 - 1),
            attempt=st.integers(1, 2**32 - 1),
            deliver_at_us=times,
            dispatched_us=times,
            lease_expires_us=times,
            last_error=st.sampled_from(["", "boom", "é" * 200]),
        ),
        min_size=1,
        max_size=5,
    ),
    repeat=st.integers(1, 3),
)
def test_a_frame_is_the_same_as_protobuf_would_write(events: list[LeasedEvent], repeat: int) -> None:
    """Repeated events share the fields that are encoded once; others share nothing."""
    sent = [each for each in events for _ in range(repeat)]

    (response,) = responses(Deliveries(sent))

    assert len(response.deliveries.deliveries) == len(sent)
    for each, delivery in zip(sent, response.deliveries.deliveries, strict=True):
        expected = event_bus_pb2.Delivery(
            event=event_bus_pb2.Event(id=each.event_id, data=event_bus_pb2.Event.FromString(each.body).data),
            topic="orders",
            group="billing",
            lease_token=TOKENS.mint([each.event_id], [each.fencing_token])[0],
            fencing_token=each.fencing_token,
            attempt=each.attempt,
            last_error=each.last_error,
        )
        expected.deliver_at.FromMicroseconds(each.deliver_at_us)
        expected.dispatched_at.FromMicroseconds(each.dispatched_us)
        expected.lease_expires_at.FromMicroseconds(each.lease_expires_us)
        assert delivery == expected


def test_a_frame_that_fits_is_one_message() -> None:
    assert len(responses(Deliveries([leased(number, b"x" * 200) for number in range(1_000)]))) == 1


def test_a_frame_that_does_not_fit_is_split_into_messages_in_order() -> None:
    """A thousand small events that failed with long errors: the errors are larger than the events."""
    events = [leased(number, b"x" * 2_000, "é" * (MAX_ERROR_BYTES // 2)) for number in range(1_000)]
    split = responses(Deliveries(events))
    assert len(split) > 1
    delivered = [delivery for response in split for delivery in response.deliveries.deliveries]
    assert ids(delivered) == [each.event_id for each in events]
    assert [each.fencing_token for each in delivered] == [each.fencing_token for each in events]


def test_the_largest_events_fit() -> None:
    largest = b"x" * (MAX_EVENT_BYTES + MAX_ATTRIBUTE_BYTES)
    assert len(responses(Deliveries([leased(number, largest) for number in range(5)]))) == 2


def test_a_heartbeat_and_a_closing_are_one_message_each() -> None:
    (heartbeat,) = responses(Heartbeat(START_US, 42))
    assert (heartbeat.heartbeat.server_time.ToMicroseconds(), heartbeat.heartbeat.backlog) == (START_US, 42)
    (closing,) = responses(Closing(ClosingReason.DRAINING, SECOND))
    assert closing.closing.reason == event_bus_pb2.Closing.REASON_DRAINING
    assert closing.closing.reconnect_after.ToMicroseconds() == SECOND
