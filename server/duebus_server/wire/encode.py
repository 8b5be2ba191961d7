"""Encodes the answers of the bus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duebus.v1 import event_bus_pb2

from duebus_server.delivery.frames import Closing, Deliveries, Frame
from duebus_server.wire.deliveries import DeliveryEncoder
from duebus_server.wire.names import CLOSING_TO_PB, ENGINE_TO_PB, FAILURE_TO_PB

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from duebus_server.bus.lifecycle import StoppedEngine
    from duebus_server.bus.pulling import Pulled
    from duebus_server.bus.settling import LeaseFailure
    from duebus_server.bus.subscribing import Subscription
    from duebus_server.domain.model import DispatchAnswer

MAX_LOST_TOKEN_BYTES = 3 << 20
"""In one frame: gRPC clients accept up to 4 MiB by default."""


def dispatch_response(answer: DispatchAnswer) -> event_bus_pb2.DispatchResponse:
    """The answer to a Dispatch."""
    return event_bus_pb2.DispatchResponse(event_ids=answer.event_ids, duplicate_event_ids=answer.duplicate_event_ids)


def lease_failures(failures: Sequence[LeaseFailure]) -> list[event_bus_pb2.LeaseFailure]:
    """The failures of an Ack, Nack or Extend."""
    return [
        event_bus_pb2.LeaseFailure(lease_token=failure.lease_token, reason=FAILURE_TO_PB[failure.reason])
        for failure in failures
    ]


def deliveries(pulled: Pulled) -> event_bus_pb2.Deliveries:
    """The events of a pull."""
    answer = event_bus_pb2.Deliveries()
    for response in frame_responses(Deliveries(pulled.events), DeliveryEncoder(pulled.tokens)):
        answer.MergeFrom(event_bus_pb2.SubscribeResponse.FromString(response).deliveries)
    return answer


def stopped_engine(stopped: StoppedEngine) -> event_bus_pb2.StoppedEngine:
    """One engine of a Stop's answer."""
    return event_bus_pb2.StoppedEngine(
        engine=ENGINE_TO_PB[stopped.engine], released=stopped.released, queued=stopped.queued
    )


def started(subscription: Subscription, max_request_bytes: int) -> bytes:
    """The first frame of a stream, an encoded ``SubscribeResponse``."""
    options, window = subscription.session.options, subscription.session.window
    frame = event_bus_pb2.SubscribeResponse()
    frame.started.session_id = options.session_id
    frame.started.max_in_flight = window.max_events
    frame.started.max_in_flight_bytes = window.max_bytes
    frame.started.lease.FromMicroseconds(options.lease_us)
    frame.started.disconnect_grace.FromMicroseconds(options.grace_us)
    frame.started.max_request_bytes = max_request_bytes
    frame.started.group = options.group
    frame.started.limited = subscription.limited
    frame.started.lost_lease_tokens.extend(_that_fit(subscription.lost_lease_tokens))
    return frame.SerializeToString()


def _that_fit(tokens: Iterable[str]) -> Iterator[str]:
    """As many tokens as fit into one frame."""
    size = 0
    for token in tokens:
        size += len(token) + 4  # its tag and length
        if size > MAX_LOST_TOKEN_BYTES:
            return
        yield token


def frame_responses(frame: Frame, encoder: DeliveryEncoder) -> Iterator[bytes]:
    """A later frame of a stream as one encoded ``SubscribeResponse``, or several if one would be too large."""
    if isinstance(frame, Deliveries):
        yield from encoder.responses(frame.events)
        return
    response = event_bus_pb2.SubscribeResponse()
    if isinstance(frame, Closing):
        response.closing.reason = CLOSING_TO_PB[frame.reason]
        response.closing.reconnect_after.FromMicroseconds(frame.reconnect_after_us)
    else:
        response.heartbeat.server_time.FromMicroseconds(frame.server_time_us)
        response.heartbeat.backlog = frame.backlog
    yield response.SerializeToString()
