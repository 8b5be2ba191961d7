"""The calls to the service EventBus: makes requests from the caller's arguments, and results from answers."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from os import urandom
from typing import Any, NamedTuple

from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from duebus._core import fields
from duebus._core.batches import DEFAULT_REQUEST_BYTES, batches
from duebus._core.call import Call, Method
from duebus._core.delivery import Delivery
from duebus._core.enums import (
    Engine,
    LeaseFailureReason,
    engine_from_wire,
    lease_failure_reason_from_wire,
)
from duebus._core.events import add_events
from duebus._core.fields import Span
from duebus._core.limits import encode_pause
from duebus._core.model import Dispatched, LeaseFailure, LeaseRef, Nack, NewEvent, StoppedEngine
from duebus.errors import InvalidArgument
from duebus.v1 import event_bus_pb2

Engines = Iterable[Engine | str] | Engine | str
LeaseCall = Call[Any, list[LeaseFailure]]

_DISPATCH = Method("/duebus.v1.EventBus/Dispatch", event_bus_pb2.DispatchResponse)
_ACK = Method("/duebus.v1.EventBus/Ack", event_bus_pb2.AckResponse)
_NACK = Method("/duebus.v1.EventBus/Nack", event_bus_pb2.NackResponse)
_EXTEND = Method("/duebus.v1.EventBus/Extend", event_bus_pb2.ExtendResponse)
_STOP = Method("/duebus.v1.EventBus/Stop", event_bus_pb2.StopResponse)

# These have the same bytes as HealthCheckRequest (one string) and HealthCheckResponse (one enum), whose package only
# the server needs.
_CHECK = Method("/grpc.health.v1.Health/Check", Int32Value)
_SERVING = 1

# The failures that a retried settle gets if its first try succeeded and only the answer was lost: a lease token settles
# once. Either way the lease is over, and nothing is left for the caller to do.
_DONE_BY_LOST_ACK = frozenset({LeaseFailureReason.SETTLED})
_DONE_BY_LOST_NACK = frozenset({LeaseFailureReason.SETTLED, LeaseFailureReason.EXPIRED})
_NOTHING_DONE: frozenset[LeaseFailureReason] = frozenset()

# The tag and the length of a repeated field.
_FIELD_BYTES = 6


class DispatchOptions(NamedTuple):
    """The arguments of a dispatch besides its events."""

    engines: Engines = ()
    request_id: str | None = None
    require_subscriber: bool = False
    timeout: Span | None = None


def dispatch_many(
    topic: str, events: Iterable[NewEvent | Any], options: DispatchOptions
) -> Call[event_bus_pb2.DispatchResponse, list[Dispatched]]:
    """Stores all of the events or none."""
    request = event_bus_pb2.DispatchRequest(
        topic=fields.text("topic", topic),
        engines=fields.engines("engines", options.engines),
        request_id=_request_id(options.request_id),
        require_subscriber=options.require_subscriber,
    )
    add_events(request, events)
    return Call(_DISPATCH, request, lambda response, _: _read_dispatched(response))


class DispatchKind(NamedTuple):
    """The arguments that dispatches must have in common to share a call."""

    topic: str
    engines: tuple[event_bus_pb2.Engine, ...]
    require_subscriber: bool


def dispatch_kind(topic: str, engines: Engines, require_subscriber: bool) -> DispatchKind:
    """The kind of a dispatch with these arguments."""
    return DispatchKind(fields.text("topic", topic), tuple(fields.engines("engines", engines)), require_subscriber)


def dispatch_together(
    kind: DispatchKind, events: Sequence[event_bus_pb2.Event], request_id: str | None = None
) -> Call[event_bus_pb2.DispatchResponse, list[Dispatched]]:
    """One call for the events of several dispatches of one kind."""
    request = event_bus_pb2.DispatchRequest(
        topic=kind.topic,
        events=events,
        engines=kind.engines,
        request_id=_request_id(request_id),
        require_subscriber=kind.require_subscriber,
    )
    return Call(_DISPATCH, request, lambda response, _: _read_dispatched(response))


def _request_id(given: str | None) -> str:
    """The id that makes a dispatch repeatable; a new one if none is given."""
    return fields.text("request_id", given) if given else urandom(16).hex()


def _read_dispatched(response: event_bus_pb2.DispatchResponse) -> list[Dispatched]:
    if not response.duplicate_event_ids:
        return [Dispatched(event_id, False) for event_id in response.event_ids]
    # Of several events with one id in a request, the first is the one that was stored.
    duplicates = Counter(response.duplicate_event_ids)
    results = []
    for event_id in reversed(response.event_ids):
        results.append(Dispatched(event_id, duplicates[event_id] > 0))
        duplicates[event_id] -= 1
    results.reverse()
    return results


def subscribe_request(
    topic: str,
    *,
    group: str,
    engine: Engine | str | None,
    consumer: str,
    max_in_flight: int,
    max_in_flight_bytes: int,
    lease: Span | None,
    disconnect_grace: Span | None,
    held_lease_tokens: Iterable[LeaseRef],
    ephemeral: bool,
) -> event_bus_pb2.SubscribeRequest:
    """The request that opens a subscription's stream."""
    request = event_bus_pb2.SubscribeRequest(
        topic=fields.text("topic", topic),
        group=fields.text("group", group),
        engine=fields.engine("engine", engine),
        consumer=fields.text("consumer", consumer),
        max_in_flight=fields.uint32("max_in_flight", max_in_flight),
        max_in_flight_bytes=fields.uint64("max_in_flight_bytes", max_in_flight_bytes),
        held_lease_tokens=lease_tokens("held_lease_tokens", held_lease_tokens),
        ephemeral=ephemeral,
    )
    if lease is not None:
        request.lease.CopyFrom(fields.duration("lease", lease))
    if disconnect_grace is not None:
        request.disconnect_grace.CopyFrom(fields.duration("disconnect_grace", disconnect_grace))
    return request


def ack(
    deliveries: Iterable[LeaseRef | Iterable[LeaseRef]], request_bytes: int = DEFAULT_REQUEST_BYTES
) -> Iterator[LeaseCall]:
    """As many calls as are needed; none if there are no deliveries."""
    tokens = lease_tokens("deliveries", _flatten(deliveries))
    for batch in batches(tokens, _size_of_tokens, request_bytes):
        yield Call(_ACK, event_bus_pb2.AckRequest(lease_tokens=batch), _read_failures_of_ack)


def nack(nacks: Iterable[Nack], request_bytes: int = DEFAULT_REQUEST_BYTES) -> Iterator[LeaseCall]:
    """As many calls as are needed; none if there are no nacks."""
    messages = [_encode_nack(each, f"nacks[{index}].") for index, each in enumerate(nacks)]
    for batch in batches(messages, _size_of_nacks, request_bytes):
        yield Call(_NACK, event_bus_pb2.NackRequest(nacks=batch), _read_failures_of_nack)


def extend(
    deliveries: Iterable[LeaseRef] | LeaseRef, lease: Span | None, request_bytes: int = DEFAULT_REQUEST_BYTES
) -> Iterator[LeaseCall]:
    """As many calls as are needed; none if there are no deliveries."""
    length = None if lease is None else fields.duration("lease", lease)
    tokens = lease_tokens("deliveries", _flatten([deliveries]))
    for batch in batches(tokens, _size_of_tokens, request_bytes):
        request = event_bus_pb2.ExtendRequest(lease_tokens=batch, lease=length)
        yield Call(_EXTEND, request, _read_failures)


def stop(engines: Engines, drain_timeout: Span | None) -> Call[Any, list[StoppedEngine]]:
    """Not repeatable: once the server has stopped, nothing is left to answer."""
    request = event_bus_pb2.StopRequest(engines=fields.engines("engines", engines))
    if drain_timeout is not None:
        request.drain_timeout.CopyFrom(fields.duration("drain_timeout", drain_timeout))
    return Call(_STOP, request, lambda response, _: _read_stopped(response), repeatable=False, waits=True)


def _read_stopped(response: event_bus_pb2.StopResponse) -> list[StoppedEngine]:
    return [StoppedEngine(engine_from_wire(each.engine), each.released, each.queued) for each in response.engines]


def is_serving(service: str) -> Call[Int32Value, bool]:
    """Asks whether the server accepts new work."""
    request = StringValue(value=fields.text("service", service) if service else "")
    return Call(_CHECK, request, lambda response, _: response.value == _SERVING, repeatable=False)


def lease_tokens(field: str, leases: Iterable[LeaseRef]) -> list[str]:
    """The lease tokens of deliveries, or the tokens themselves."""
    given = list(leases)
    tokens = [each.lease_token if isinstance(each, Delivery) else each for each in given]
    try:
        "".join(tokens).encode()  # one check for all: they are text, and can be sent
    except (TypeError, UnicodeEncodeError):
        return [_lease_token(f"{field}[{index}]", each) for index, each in enumerate(given)]
    return tokens


def _lease_token(field: str, lease: LeaseRef) -> str:
    if isinstance(lease, Delivery):
        return lease.lease_token
    if isinstance(lease, str):
        return fields.text(field, lease)
    raise TypeError(f"{field}: expected a Delivery or a lease token, got {type(lease).__name__}")


def _flatten(leases: Iterable[LeaseRef | Iterable[LeaseRef]]) -> Iterator[LeaseRef]:
    for each in leases:
        if isinstance(each, Delivery | str) or not isinstance(each, Iterable):
            yield each
        else:
            yield from each


def _size_of_tokens(tokens: Sequence[str]) -> int:
    return len("".join(tokens).encode()) + _FIELD_BYTES * len(tokens)


def _size_of_nacks(messages: Sequence[event_bus_pb2.Nack]) -> int:
    return sum(message.ByteSize() + _FIELD_BYTES for message in messages)


def _encode_nack(nack: Nack, path: str) -> event_bus_pb2.Nack:
    _refuse_several_actions(nack, path)
    message = event_bus_pb2.Nack(
        lease_token=_lease_token(f"{path}delivery", nack.delivery),
        error=fields.text(f"{path}error", nack.error),
    )
    if nack.delay is not None:
        message.delay.CopyFrom(fields.duration(f"{path}delay", nack.delay))
    if nack.dead_letter:
        message.dead_letter = True
    if nack.release:
        message.release = True
    if nack.pause is not None:
        message.pause.CopyFrom(encode_pause(nack.pause, f"{path}pause."))
    return message


def _refuse_several_actions(nack: Nack, path: str) -> None:
    wanted = {"delay": nack.delay is not None, "dead_letter": nack.dead_letter, "release": nack.release}
    first, *others = [name for name, is_wanted in wanted.items() if is_wanted] or [""]
    if others:
        raise InvalidArgument.of_field(f"{path}{first}", f"can't be set together with {' and '.join(others)}")


def _read_failures_of_ack(response: event_bus_pb2.AckResponse, retried: bool) -> list[LeaseFailure]:
    return _failures(response, _DONE_BY_LOST_ACK if retried else _NOTHING_DONE)


def _read_failures_of_nack(response: event_bus_pb2.NackResponse, retried: bool) -> list[LeaseFailure]:
    return _failures(response, _DONE_BY_LOST_NACK if retried else _NOTHING_DONE)


def _read_failures(response: event_bus_pb2.ExtendResponse, _retried: bool) -> list[LeaseFailure]:
    return _failures(response, _NOTHING_DONE)


def _failures(
    response: event_bus_pb2.AckResponse | event_bus_pb2.NackResponse | event_bus_pb2.ExtendResponse,
    done: frozenset[LeaseFailureReason],
) -> list[LeaseFailure]:
    failures = (
        LeaseFailure(each.lease_token, lease_failure_reason_from_wire(each.reason)) for each in response.failures
    )
    return [failure for failure in failures if failure.reason not in done]
