"""The protobuf enums as string enums, and the tables that map them."""

from enum import StrEnum

from duebus.v1 import admin_pb2, event_bus_pb2


class Engine(StrEnum):
    """Where events wait. An engine can always be given by its name as a string."""

    LOCAL = "local"
    """In one server process: durable if it has a data directory, and otherwise in its memory."""
    REDIS = "redis"
    """In Redis: durable as far as that Redis is, shared by all replicas."""


class LeaseFailureReason(StrEnum):
    """Why a lease token was not settled or extended."""

    EXPIRED = "expired"
    """The event is still in the group, but no longer under this lease."""
    SETTLED = "settled"
    """The event is gone from the group: acked, dead or cancelled."""
    MALFORMED = "malformed"
    """Not a lease token of this bus."""
    ENGINE_STOPPED = "engine_stopped"
    """The engine is stopped, or the server does not run it."""
    NO_KEY = "no_key"
    """A pause of a key, of an event without one or in a group that ignores keys. The delivery is still held."""
    UNKNOWN = "unknown"
    """A reason this client is too old to know."""


class ClosingReason(StrEnum):
    """Why the server ends a subscription."""

    DRAINING = "draining"
    """The engine is draining: subscribe again, there or elsewhere, with the leases still held."""
    GROUP_DELETED = "group_deleted"
    """The group was deleted; subscribing would create it again."""
    TOPIC_DELETED = "topic_deleted"
    """The topic was deleted; subscribing would create it again."""
    REBALANCE = "rebalance"
    """The stream has lasted long enough: subscribe again at once, on any server, with the leases still held."""
    UNKNOWN = "unknown"
    """A reason this client is too old to know."""


class EventState(StrEnum):
    """The state of an event in one group."""

    SCHEDULED = "scheduled"
    """Waits for its due time, or for the end of a retry's backoff."""
    READY = "ready"
    """Due, and waits for a subscriber with room."""
    LEASED = "leased"
    """Held by a subscriber."""
    DEAD = "dead"
    """Out of retries, or nacked as dead; kept until it is redriven or purged."""
    BLOCKED = "blocked"
    """Due, and waits for the event with the same key that is before it."""
    UNKNOWN = "unknown"
    """A state this client is too old to know."""


class AttemptOutcome(StrEnum):
    """How one delivery of an event ended."""

    UNDER_WAY = "under_way"
    """It has not ended."""
    NACKED = "nacked"
    """Nacked, to be retried."""
    DEAD = "dead"
    """Nacked as dead, or with no retries left."""
    RELEASED = "released"
    """Given back unhandled; not counted."""
    EXPIRED = "expired"
    """The lease ran out."""
    UNKNOWN = "unknown"
    """An outcome this client is too old to know."""


ENGINE_TO_WIRE = {
    Engine.LOCAL: event_bus_pb2.ENGINE_LOCAL,
    Engine.REDIS: event_bus_pb2.ENGINE_REDIS,
}
EVENT_STATE_TO_WIRE = {
    EventState.SCHEDULED: admin_pb2.EVENT_STATE_SCHEDULED,
    EventState.READY: admin_pb2.EVENT_STATE_READY,
    EventState.LEASED: admin_pb2.EVENT_STATE_LEASED,
    EventState.DEAD: admin_pb2.EVENT_STATE_DEAD,
    EventState.BLOCKED: admin_pb2.EVENT_STATE_BLOCKED,
}

_ENGINES = {wire: engine for engine, wire in ENGINE_TO_WIRE.items()}
_EVENT_STATES = {wire: state for state, wire in EVENT_STATE_TO_WIRE.items()}
_LEASE_FAILURE_REASONS = {
    event_bus_pb2.LeaseFailure.REASON_EXPIRED: LeaseFailureReason.EXPIRED,
    event_bus_pb2.LeaseFailure.REASON_SETTLED: LeaseFailureReason.SETTLED,
    event_bus_pb2.LeaseFailure.REASON_MALFORMED: LeaseFailureReason.MALFORMED,
    event_bus_pb2.LeaseFailure.REASON_ENGINE_STOPPED: LeaseFailureReason.ENGINE_STOPPED,
    event_bus_pb2.LeaseFailure.REASON_NO_KEY: LeaseFailureReason.NO_KEY,
}
_CLOSING_REASONS = {
    event_bus_pb2.Closing.REASON_DRAINING: ClosingReason.DRAINING,
    event_bus_pb2.Closing.REASON_GROUP_DELETED: ClosingReason.GROUP_DELETED,
    event_bus_pb2.Closing.REASON_TOPIC_DELETED: ClosingReason.TOPIC_DELETED,
    event_bus_pb2.Closing.REASON_REBALANCE: ClosingReason.REBALANCE,
}
_ATTEMPT_OUTCOMES = {
    admin_pb2.Attempt.OUTCOME_UNSPECIFIED: AttemptOutcome.UNDER_WAY,
    admin_pb2.Attempt.OUTCOME_NACKED: AttemptOutcome.NACKED,
    admin_pb2.Attempt.OUTCOME_DEAD: AttemptOutcome.DEAD,
    admin_pb2.Attempt.OUTCOME_RELEASED: AttemptOutcome.RELEASED,
    admin_pb2.Attempt.OUTCOME_EXPIRED: AttemptOutcome.EXPIRED,
}


def engine_from_wire(engine: event_bus_pb2.Engine) -> Engine | None:
    """The engine; None if it is unspecified, or this client is too old to know it."""
    return _ENGINES.get(engine)


def event_state_from_wire(state: admin_pb2.EventState) -> EventState:
    """The state; UNKNOWN if this client is too old to know it."""
    return _EVENT_STATES.get(state, EventState.UNKNOWN)


def lease_failure_reason_from_wire(reason: event_bus_pb2.LeaseFailure.Reason) -> LeaseFailureReason:
    """The reason; UNKNOWN if this client is too old to know it."""
    return _LEASE_FAILURE_REASONS.get(reason, LeaseFailureReason.UNKNOWN)


def closing_reason_from_wire(reason: event_bus_pb2.Closing.Reason) -> ClosingReason:
    """The reason; UNKNOWN if this client is too old to know it."""
    return _CLOSING_REASONS.get(reason, ClosingReason.UNKNOWN)


def attempt_outcome_from_wire(outcome: admin_pb2.Attempt.Outcome) -> AttemptOutcome:
    """The outcome; UNKNOWN if this client is too old to know it."""
    return _ATTEMPT_OUTCOMES.get(outcome, AttemptOutcome.UNKNOWN)
