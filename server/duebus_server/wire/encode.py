"""What the bus answers, as messages of the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from duebus.v1 import event_bus_pb2

from duebus_server.delivery.frames import Closing, Deliveries, Frame
from duebus_server.wire import passthrough
from duebus_server.wire.names import CLOSING_TO_PB, ENGINE_TO_PB, FAILURE_TO_PB
from duebus_server.wire.times import EncodedTimes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from duebus_server.bus.lifecycle import StoppedEngine
    from duebus_server.bus.settling import LeaseFailure
    from duebus_server.bus.subscribing import Subscription
    from duebus_server.domain.lease_token import LeaseTokenMinter
    from duebus_server.domain.model import DispatchAnswer, LeasedEvent

MAX_MESSAGE_BYTES = 4 << 20
"""gRPC clients refuse larger ones unless told otherwise."""


def dispatch_response(answer: DispatchAnswer) -> event_bus_pb2.DispatchResponse:
    """The answer to a Dispatch."""
    return event_bus_pb2.DispatchResponse(event_ids=answer.event_ids, duplicate_event_ids=answer.duplicate_event_ids)


def lease_failures(failures: Sequence[LeaseFailure]) -> list[event_bus_pb2.LeaseFailure]:
    """The failures of an Ack, Nack or Extend."""
    return [
        event_bus_pb2.LeaseFailure(lease_token=failure.lease_token, reason=FAILURE_TO_PB[failure.reason])
        for failure in failures
    ]


def stopped_engine(stopped: StoppedEngine) -> event_bus_pb2.StoppedEngine:
    """One engine of a Stop's answer."""
    return event_bus_pb2.StoppedEngine(
        engine=ENGINE_TO_PB[stopped.engine], released=stopped.released, queued=stopped.queued
    )


def started(subscription: Subscription) -> Any:
    """The first frame of a stream, a ``passthrough.SubscribeResponse``."""
    options, window = subscription.session.options, subscription.session.window
    frame = passthrough.SubscribeResponse()
    frame.started.session_id = options.session_id
    frame.started.max_in_flight = window.max_events
    frame.started.max_in_flight_bytes = window.max_bytes
    frame.started.lease.FromMicroseconds(options.lease_us)
    frame.started.disconnect_grace.FromMicroseconds(options.grace_us)
    frame.started.lost_lease_tokens.extend(subscription.lost_lease_tokens)
    return frame


def frame_responses(frame: Frame, subscription: Subscription) -> Iterator[Any]:
    """A later frame of a stream as ``passthrough.SubscribeResponse``: one, or several where one would be too large."""
    if isinstance(frame, Deliveries):
        yield from _deliveries(frame.events, subscription)
        return
    response = passthrough.SubscribeResponse()
    if isinstance(frame, Closing):
        response.closing.reason = CLOSING_TO_PB[frame.reason]
        response.closing.reconnect_after.FromMicroseconds(frame.reconnect_after_us)
    else:
        response.heartbeat.server_time.FromMicroseconds(frame.server_time_us)
        response.heartbeat.backlog = frame.backlog
    yield response


def _deliveries(events: Sequence[LeasedEvent], subscription: Subscription) -> Iterator[Any]:
    options, minter, times = subscription.session.options, subscription.minter, EncodedTimes()
    deliveries = [_delivery(event, options.topic, options.group, minter, times) for event in events]
    response = passthrough.SubscribeResponse(deliveries=passthrough.Deliveries(deliveries=deliveries))
    if response.ByteSize() <= MAX_MESSAGE_BYTES or len(events) == 1:
        yield response
        return
    half = len(events) // 2
    yield from _deliveries(events[:half], subscription)
    yield from _deliveries(events[half:], subscription)


def _delivery(event: LeasedEvent, topic: str, group: str, minter: LeaseTokenMinter, times: EncodedTimes) -> Any:
    return passthrough.Delivery(
        event=event.body,
        topic=topic,
        group=group,
        lease_token=minter.mint(event.event_id, event.fencing_token),
        fencing_token=event.fencing_token,
        attempt=event.attempt,
        deliver_at=times[event.deliver_at_us],
        dispatched_at=times[event.dispatched_us],
        lease_expires_at=times[event.lease_expires_us],
        last_error=event.last_error,
    )
