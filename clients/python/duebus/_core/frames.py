"""The frames of a subscription's stream."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from duebus._core.batches import DEFAULT_REQUEST_BYTES
from duebus._core.delivery import Delivery
from duebus._core.enums import ClosingReason, closing_reason_from_wire
from duebus._core.model import Nack
from duebus.errors import DeadlineExceeded, InternalError, Unavailable
from duebus.v1 import event_bus_pb2


@dataclass(frozen=True, slots=True)
class Started:
    """The first frame: the group exists, and nothing dispatched from now on is missed.

    Attributes:
        session_id: Identifies the stream in the admin views and the server's logs.
        max_in_flight: How many events may be leased to the stream at once.
        max_in_flight_bytes: How many bytes of events may be leased to the stream at once.
        lease: How long a delivery is leased.
        disconnect_grace: How long leases last after the stream breaks.
        max_request_bytes: The largest request to the server.
        lost_lease_tokens: The `held_lease_tokens` that are no longer held. Settling one would fail, and its event may
            already be elsewhere.
        group: The group of the stream, whether the request or the server named it. A worker that reconnects names it.
        limited: Whether every delivery counts for a limit of the group: ask for no more than can begin at once.
    """

    session_id: str
    max_in_flight: int
    max_in_flight_bytes: int
    lease: timedelta
    disconnect_grace: timedelta
    lost_lease_tokens: tuple[str, ...]
    max_request_bytes: int = DEFAULT_REQUEST_BYTES
    group: str = ""
    limited: bool = False


@dataclass(frozen=True, slots=True)
class Deliveries:
    """Due events, as many as there were and fitted into the stream's window."""

    deliveries: list[Delivery]

    def __iter__(self) -> Iterator[Delivery]:
        return iter(self.deliveries)

    def __len__(self) -> int:
        return len(self.deliveries)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Sent when nothing else was sent for 10 seconds.

    Attributes:
        server_time: The time by the engine's clock, in UTC.
        backlog: How many events of the group are ready.
    """

    server_time: datetime
    backlog: int


@dataclass(frozen=True, slots=True)
class Closing:
    """The last frame of a stream that the server ends. The leases stay in force: settle the events being handled.

    Attributes:
        reason: Why the stream ends.
        reconnect_after: How long to wait before subscribing again.
    """

    reason: ClosingReason
    reconnect_after: timedelta


# How many seconds releasing unseen deliveries may take. After that the disconnect grace has ended their leases anyway.
RELEASE_TIMEOUT = 1.0

Frame = Started | Deliveries | Heartbeat | Closing


def read_frame(response: event_bus_pb2.SubscribeResponse) -> Frame | None:
    """The frame; None if this client is too old to know its kind."""
    match response.WhichOneof("frame"):
        case "deliveries":
            return Deliveries([Delivery(each) for each in response.deliveries.deliveries])
        case "heartbeat":
            return _read_heartbeat(response.heartbeat)
        case "started":
            return _read_started(response.started)
        case "closing":
            return _read_closing(response.closing)
        case _:
            return None


def _read_started(message: event_bus_pb2.Started) -> Started:
    return Started(
        session_id=message.session_id,
        max_in_flight=message.max_in_flight,
        max_in_flight_bytes=message.max_in_flight_bytes,
        lease=message.lease.ToTimedelta(),
        disconnect_grace=message.disconnect_grace.ToTimedelta(),
        lost_lease_tokens=tuple(message.lost_lease_tokens),
        max_request_bytes=message.max_request_bytes or DEFAULT_REQUEST_BYTES,
        group=message.group,
        limited=message.limited,
    )


def _read_heartbeat(message: event_bus_pb2.Heartbeat) -> Heartbeat:
    return Heartbeat(message.server_time.ToDatetime(UTC), message.backlog)


def _read_closing(message: event_bus_pb2.Closing) -> Closing:
    return Closing(closing_reason_from_wire(message.reason), message.reconnect_after.ToTimedelta())


def expect_started(frame: Frame | None) -> Started:
    """The first frame of a stream.

    Raises:
        Unavailable: the server ended the stream before it began.
        InternalError: the server began with another frame.
    """
    if isinstance(frame, Started):
        return frame
    if frame is None or isinstance(frame, Closing):
        raise Unavailable("the server ended the subscription before it had started")
    raise InternalError(f"the server began the subscription with {type(frame).__name__}, not with Started")


def not_started_in_time(target: str, timeout: float | None) -> DeadlineExceeded:
    """The error of a server that accepted the subscription and then did not start it."""
    return DeadlineExceeded(f"{target} did not start the subscription within {timeout} s")


def release(deliveries: Iterable[Delivery]) -> list[Nack]:
    """Releases deliveries that were not handed out, so that they do not wait for the disconnect grace."""
    return [Nack(delivery=each, release=True) for each in deliveries]
