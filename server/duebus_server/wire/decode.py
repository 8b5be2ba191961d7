"""Requests of the wire as commands of the bus, checked field by field."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from duebus.v1 import event_bus_pb2

from duebus_server.bus.dispatching import DispatchCommand
from duebus_server.bus.pulling import PullCommand
from duebus_server.bus.settling import NackCommand
from duebus_server.bus.subscribing import SubscribeCommand
from duebus_server.domain import limits
from duebus_server.domain.errors import InvalidArgument, NoEventSpecified
from duebus_server.domain.event_ids import EventIds
from duebus_server.domain.model import DispatchRequest, EngineName, NackAction, NewEvent, Pause
from duebus_server.wire.names import ENGINE_FROM_PB, SCOPE_FROM_PB
from duebus_server.wire.times import duration_us, optional_duration_us, timestamp_us

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

SMALL_EVENT_BYTES = limits.MAX_ATTRIBUTE_BYTES
"""An event up to this size can't have a part that is too large."""


def dispatch_command(
    request: event_bus_pb2.DispatchRequest, origin: str, now_us: int, identity: str = ""
) -> DispatchCommand:
    """A Dispatch.

    Args:
        request: the message.
        origin: the caller's address.
        now_us: microseconds since the epoch, used to refuse due times that are absurdly far ahead.
        identity: who calls; empty for anonymous callers. Each identity has its own request ids.

    Raises:
        NoTopicSpecified, NoEventSpecified, InvalidArgument: a field is wrong.
    """
    limits.check_topic(request.topic)
    if not request.events:
        raise NoEventSpecified
    if len(request.events) > limits.MAX_EVENTS:
        raise InvalidArgument("events", f"has {len(request.events)} events, at most {limits.MAX_EVENTS} are allowed")
    limits.check_text("request_id", request.request_id)
    request_id = _own_request_id(identity, request.request_id)
    ids = EventIds(now_us, request_id)
    events = list(_new_events(request.events, ids, now_us))
    limits.check_length("events", sum(len(event.body) for event in events), limits.MAX_BATCH_BYTES)
    return DispatchCommand(
        request.topic,
        DispatchRequest(events, request_id, request.require_subscriber, origin),
        engine_names(request.engines),
    )


def _own_request_id(identity: str, request_id: str) -> str:
    """A request id that no other identity can have: both parts are printable, and the separator isn't."""
    return f"{identity}\n{request_id}" if identity and request_id else request_id


def subscribe_command(request: event_bus_pb2.SubscribeRequest) -> SubscribeCommand:
    """A Subscribe, with the window's defaults filled in.

    Raises:
        NoTopicSpecified, InvalidArgument: a field is wrong.
    """
    limits.check_topic(request.topic)
    if request.group:
        limits.check_name("group", request.group)
    limits.check_text("consumer", request.consumer)
    in_flight = request.max_in_flight or limits.DEFAULT_IN_FLIGHT
    in_flight_bytes = request.max_in_flight_bytes or limits.DEFAULT_IN_FLIGHT_BYTES
    limits.check_range("max_in_flight", in_flight, 1, limits.MAX_IN_FLIGHT)
    limits.check_range("max_in_flight_bytes", in_flight_bytes, 1, limits.MAX_IN_FLIGHT_BYTES)
    limits.check_range("held_lease_tokens", len(request.held_lease_tokens), 0, limits.MAX_HELD_LEASES)
    return SubscribeCommand(
        request.topic,
        request.group,
        engine_name("engine", request.engine),
        request.consumer,
        in_flight,
        in_flight_bytes,
        lease_us(request),
        _optional_duration(request, "disconnect_grace", 0, limits.MAX_GRACE_US),
        request.held_lease_tokens,
        request.ephemeral,
    )


def pull_command(request: event_bus_pb2.SubscribeRequest, wait_us: int) -> PullCommand:
    """A pull, given as the Subscribe that would have the same events.

    Raises:
        NoTopicSpecified, InvalidArgument: a field is wrong.
    """
    command = subscribe_command(request)
    limits.check_duration("wait", wait_us, 0, limits.MAX_PULL_WAIT_US)
    return PullCommand(
        command.topic,
        command.group,
        command.engine,
        command.consumer,
        command.max_in_flight,
        wait_us,
        command.lease_us,
    )


def lease_tokens(request: event_bus_pb2.AckRequest | event_bus_pb2.ExtendRequest) -> Sequence[str]:
    """The lease tokens of an Ack or Extend.

    Raises:
        InvalidArgument: there are none, or too many.
    """
    _check_settles("lease_tokens", len(request.lease_tokens))
    return request.lease_tokens


def lease_us(request: event_bus_pb2.SubscribeRequest | event_bus_pb2.ExtendRequest) -> int | None:
    """The requested lease, or None.

    Raises:
        InvalidArgument: it is out of range.
    """
    return _optional_duration(request, "lease", limits.MIN_LEASE_US, limits.MAX_LEASE_US)


def nack_commands(request: event_bus_pb2.NackRequest) -> list[NackCommand]:
    """The nacks of a request.

    Raises:
        InvalidArgument: there are none, too many, or a field of one is wrong.
    """
    _check_settles("nacks", len(request.nacks))
    return [_nack_command(nack, f"nacks[{index}]") for index, nack in enumerate(request.nacks)]


def drain_timeout_us(request: event_bus_pb2.StopRequest) -> int | None:
    """How long a Stop may wait, or None.

    Raises:
        InvalidArgument: it is out of range.
    """
    return _optional_duration(request, "drain_timeout", 0, limits.MAX_DRAIN_US)


def engine_name(field: str, number: int) -> EngineName | None:
    """An engine; None for ENGINE_UNSPECIFIED, the default one.

    Raises:
        InvalidArgument: there is no such engine.
    """
    if number == event_bus_pb2.ENGINE_UNSPECIFIED:
        return None
    name = ENGINE_FROM_PB.get(number)
    if name is None:
        raise InvalidArgument(field, f"there is no engine number {number}")
    return name


def engine_names(numbers: Sequence[int]) -> list[EngineName]:
    """The engines of a repeated field; ENGINE_UNSPECIFIED has no meaning in it.

    Raises:
        InvalidArgument: there is no such engine.
    """
    names: list[EngineName] = []
    for index, number in enumerate(numbers):
        name = engine_name(f"engines[{index}]", number)
        if name is None:
            raise InvalidArgument(f"engines[{index}]", "must name an engine")
        names.append(name)
    return names


def _new_events(events: Iterable[event_bus_pb2.Event], ids: EventIds, now_us: int) -> Iterator[NewEvent]:
    for index, event in enumerate(events):
        try:
            yield _new_event(event, ids, index, now_us)
        except InvalidArgument as error:
            raise error.within(f"events[{index}]") from None


def event_without_id(event: event_bus_pb2.Event) -> NewEvent:
    """What a schedule dispatches: an event that gets its id with each firing.

    Raises:
        InvalidArgument: a field of it is wrong, or it has an id or a due time.
    """
    for field in ("id", "delay", "deliver_at"):
        if event.HasField(field) if field != "id" else event.id:
            raise InvalidArgument(field, "is given by the schedule")
    return replace(_new_event(event, EventIds(0, ""), 0, 0), id="", id_is_generated=False)


def _new_event(event: event_bus_pb2.Event, ids: EventIds, index: int, now_us: int) -> NewEvent:
    """An event with its own id, or else the generated id of its index. Errors name the event's fields."""
    chosen = event.id
    if chosen:
        limits.check_text("id", chosen)
        event.ClearField("id")
    key = event.key
    if key:
        limits.check_text("key", key, limits.MAX_KEY_BYTES)
    priority = event.priority
    if priority:
        limits.check_range("priority", priority, -limits.MAX_PRIORITY, limits.MAX_PRIORITY)
    body = event.SerializeToString()
    _check_sizes(event, len(body))
    # Not by keywords, which would take half as long again.
    new = NewEvent(chosen or ids.at(index), body, None, None, None, not chosen, key, priority)
    if event.HasField("max_retries"):
        new.max_retries = event.max_retries
    due = event.WhichOneof("due")
    if due == "delay":
        new.delay_us = duration_us("delay", event.delay)
        limits.check_duration("delay", new.delay_us, 0, limits.MAX_DELAY_US)
    elif due == "deliver_at":
        new.deliver_at_us = timestamp_us("deliver_at", event.deliver_at)
        if new.deliver_at_us - now_us > limits.MAX_DELAY_US:
            raise InvalidArgument("deliver_at", "is more than 10 years ahead")
    return new


def _check_sizes(event: event_bus_pb2.Event, size: int) -> None:
    """Check that each part is within its limit; ``size`` is that of the whole event."""
    if event.content_type:
        limits.check_text("content_type", event.content_type)
    attributes = event.attributes
    if attributes and "" in attributes:
        raise InvalidArgument("attributes", "has an empty name")
    if size <= SMALL_EVENT_BYTES:
        return
    limits.check_length("data", len(event.data), limits.MAX_EVENT_BYTES)
    in_attributes = sum(len(name.encode()) + len(value.encode()) for name, value in attributes.items())
    limits.check_length("attributes", in_attributes, limits.MAX_ATTRIBUTE_BYTES)


def _nack_command(nack: event_bus_pb2.Nack, path: str) -> NackCommand:
    action, delay_us = NackAction.RETRY, None
    chosen = nack.WhichOneof("action")
    if chosen == "delay":
        delay_us = duration_us(f"{path}.delay", nack.delay)
        limits.check_duration(f"{path}.delay", delay_us, 0, limits.MAX_DELAY_US)
    elif chosen == "dead_letter" and nack.dead_letter:
        action = NackAction.DEAD_LETTER
    elif chosen == "release" and nack.release:
        action = NackAction.RELEASE
    pause = _pause(nack.pause, f"{path}.pause") if nack.HasField("pause") else None
    if pause is not None and chosen is None:
        action = NackAction.RELEASE
    error = nack.error.encode()[: limits.MAX_ERROR_BYTES].decode(errors="ignore")
    return NackCommand(nack.lease_token, action, delay_us, error, pause)


def _pause(pause: event_bus_pb2.Nack.Pause, path: str) -> Pause:
    scope = SCOPE_FROM_PB.get(pause.scope)
    if scope is None:
        raise InvalidArgument(f"{path}.scope", "must be SCOPE_KEY or SCOPE_GROUP")
    pause_us = duration_us(f"{path}.duration", pause.duration)
    limits.check_duration(f"{path}.duration", pause_us, limits.MIN_PAUSE_US, limits.MAX_PAUSE_US)
    return Pause(pause_us, scope)


def _check_settles(field: str, count: int) -> None:
    if not 1 <= count <= limits.MAX_SETTLES:
        raise InvalidArgument(field, f"has {count} entries, must have 1 to {limits.MAX_SETTLES}")


def _optional_duration(
    request: event_bus_pb2.SubscribeRequest | event_bus_pb2.ExtendRequest | event_bus_pb2.StopRequest,
    field: str,
    low_us: int,
    high_us: int,
) -> int | None:
    us = optional_duration_us(request, field)
    if us is not None:
        limits.check_duration(field, us, low_us, high_us)
    return us
