"""Limits of a group, key policies and pauses, and how they are sent."""

from dataclasses import dataclass
from enum import StrEnum

from duebus._core import fields
from duebus._core.fields import Span
from duebus.v1 import admin_pb2, event_bus_pb2


class OnDead(StrEnum):
    """What happens to a key when one of its events becomes dead."""

    SKIP = "skip"
    """The next event of the key is delivered."""
    HOLD = "hold"
    """Nothing of the key is delivered until the dead letter is redriven, which puts it in front, or purged."""
    UNKNOWN = "unknown"
    """A choice this client is too old to know."""


class PauseScope(StrEnum):
    """What a nack pauses."""

    KEY = "key"
    """The key of its event."""
    GROUP = "group"
    """The group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How many deliveries may begin in a period. Every delivery counts, but one that is released is refunded.

    Attributes:
        events: How many, 1 to 1,000,000, and at most 1,000,000 a second.
        per: The period: a timedelta or seconds, 1 ms to 1 day.
        burst: How many may begin at once after a pause, 0 to 1,000,000. 0: what may begin in 100 ms, and at least 1.
    """

    events: int
    per: Span
    burst: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a group, over all its subscribers and servers. Without any, those that were set are removed.

    Attributes:
        max_in_flight: How many deliveries may be under way at once, 0 to 1,000,000; 0 is unlimited.
        rate: How many may begin in a period; None is unlimited.
    """

    max_in_flight: int = 0
    rate: Rate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPolicy:
    """How a group handles the events with the same key. Without any setting, the policy that was set is removed.

    Attributes:
        max_in_flight: How many of a key may be under way at once, 0 to 1,000. 1, which None means too: in order. More:
            in no order, and an event that waits for its retry does not count. 0: keys are ignored.
        rate: How many deliveries of each key may begin in a period; None is unlimited.
        on_dead: What a dead letter does to its key. HOLD only in order.
        max_blocked: How many events of a key may be blocked before others of it are refused; 0: a tenth of
            `max_queued`.
    """

    max_in_flight: int | None = None
    rate: Rate | None = None
    on_dead: OnDead = OnDead.SKIP
    max_blocked: int = 0


@dataclass(frozen=True, slots=True)
class Pause:
    """Deliver nothing of the event's key, or of the group, for a while.

    Attributes:
        duration: A timedelta or seconds, 1 ms to 1 h. Several pauses last until the latest of them ends.
        scope: What is paused.
    """

    duration: Span
    scope: PauseScope = PauseScope.KEY


_ON_DEAD = {
    OnDead.SKIP: admin_pb2.KeyPolicy.ON_DEAD_SKIP,
    OnDead.HOLD: admin_pb2.KeyPolicy.ON_DEAD_HOLD,
}
_ON_DEAD_FROM_WIRE = {wire: name for name, wire in _ON_DEAD.items()}
_SCOPES = {
    PauseScope.KEY: event_bus_pb2.Nack.Pause.SCOPE_KEY,
    PauseScope.GROUP: event_bus_pb2.Nack.Pause.SCOPE_GROUP,
}


def encode_limits(limits: Limits) -> admin_pb2.Limits:
    """The message.

    Raises:
        TypeError, InvalidArgument: a field can't be sent as it is.
    """
    in_flight = fields.uint32("limits.max_in_flight", limits.max_in_flight)
    return admin_pb2.Limits(max_in_flight=in_flight, rate=_encode_rate("limits.rate", limits.rate))


def encode_key_policy(policy: KeyPolicy) -> admin_pb2.KeyPolicy:
    """The message. Raises as `encode_limits`."""
    message = admin_pb2.KeyPolicy(
        rate=_encode_rate("keys.rate", policy.rate),
        on_dead=_ON_DEAD[fields.member("keys.on_dead", OnDead, policy.on_dead, _ON_DEAD)],
        max_blocked=fields.uint64("keys.max_blocked", policy.max_blocked),
    )
    if policy.max_in_flight is not None:
        message.max_in_flight = fields.uint32("keys.max_in_flight", policy.max_in_flight)
    return message


def encode_pause(pause: Pause, path: str) -> event_bus_pb2.Nack.Pause:
    """The message; `path` is a prefix for the field names in errors. Raises as `encode_limits`."""
    return event_bus_pb2.Nack.Pause(
        duration=fields.duration(f"{path}duration", pause.duration),
        scope=_SCOPES[fields.member(f"{path}scope", PauseScope, pause.scope, _SCOPES)],
    )


def _encode_rate(path: str, rate: Rate | None) -> admin_pb2.Rate | None:
    if rate is None:
        return None
    return admin_pb2.Rate(
        events=fields.uint32(f"{path}.events", rate.events),
        per=fields.duration(f"{path}.per", rate.per),
        burst=fields.uint32(f"{path}.burst", rate.burst),
    )


def read_limits(message: admin_pb2.TopicConfig | admin_pb2.GroupInfo) -> Limits | None:
    """The limits in a message; None if there are none."""
    if not message.HasField("limits"):
        return None
    return Limits(max_in_flight=message.limits.max_in_flight, rate=_read_rate(message.limits))


def read_key_policy(message: admin_pb2.TopicConfig | admin_pb2.GroupInfo) -> KeyPolicy | None:
    """The key policy in a message; None if that is the default one."""
    if not message.HasField("keys"):
        return None
    keys = message.keys
    return KeyPolicy(
        max_in_flight=keys.max_in_flight if keys.HasField("max_in_flight") else None,
        rate=_read_rate(keys),
        on_dead=_ON_DEAD_FROM_WIRE.get(keys.on_dead, OnDead.UNKNOWN),
        max_blocked=keys.max_blocked,
    )


def _read_rate(message: admin_pb2.Limits | admin_pb2.KeyPolicy) -> Rate | None:
    if not message.HasField("rate"):
        return None
    rate = message.rate
    return Rate(events=rate.events, per=rate.per.ToTimedelta(), burst=rate.burst)
