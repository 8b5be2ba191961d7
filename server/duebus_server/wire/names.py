"""Maps the enums of the proto to those of the domain."""

from __future__ import annotations

from duebus.v1 import admin_pb2, event_bus_pb2

from duebus_server.delivery.frames import ClosingReason
from duebus_server.domain.model import EngineName, LeaseFailureReason, PauseScope
from duebus_server.domain.rates import OnDead
from duebus_server.domain.states import EventState
from duebus_server.domain.views import AttemptOutcome

ENGINE_TO_PB = {
    EngineName.LOCAL: event_bus_pb2.ENGINE_LOCAL,
    EngineName.REDIS: event_bus_pb2.ENGINE_REDIS,
}
ENGINE_FROM_PB: dict[int, EngineName] = {number: name for name, number in ENGINE_TO_PB.items()}

STATE_TO_PB = {
    EventState.SCHEDULED: admin_pb2.EVENT_STATE_SCHEDULED,
    EventState.READY: admin_pb2.EVENT_STATE_READY,
    EventState.LEASED: admin_pb2.EVENT_STATE_LEASED,
    EventState.DEAD: admin_pb2.EVENT_STATE_DEAD,
    EventState.BLOCKED: admin_pb2.EVENT_STATE_BLOCKED,
}
STATE_FROM_PB: dict[int, EventState] = {number: name for name, number in STATE_TO_PB.items()}

FAILURE_TO_PB = {
    LeaseFailureReason.EXPIRED: event_bus_pb2.LeaseFailure.REASON_EXPIRED,
    LeaseFailureReason.SETTLED: event_bus_pb2.LeaseFailure.REASON_SETTLED,
    LeaseFailureReason.MALFORMED: event_bus_pb2.LeaseFailure.REASON_MALFORMED,
    LeaseFailureReason.ENGINE_STOPPED: event_bus_pb2.LeaseFailure.REASON_ENGINE_STOPPED,
    LeaseFailureReason.NO_KEY: event_bus_pb2.LeaseFailure.REASON_NO_KEY,
}

SCOPE_FROM_PB: dict[int, PauseScope] = {
    event_bus_pb2.Nack.Pause.SCOPE_KEY: PauseScope.KEY,
    event_bus_pb2.Nack.Pause.SCOPE_GROUP: PauseScope.GROUP,
}

ON_DEAD_TO_PB = {
    OnDead.SKIP: admin_pb2.KeyPolicy.ON_DEAD_SKIP,
    OnDead.HOLD: admin_pb2.KeyPolicy.ON_DEAD_HOLD,
}
ON_DEAD_FROM_PB: dict[int, OnDead] = {
    admin_pb2.KeyPolicy.ON_DEAD_UNSPECIFIED: OnDead.SKIP,
    admin_pb2.KeyPolicy.ON_DEAD_SKIP: OnDead.SKIP,
    admin_pb2.KeyPolicy.ON_DEAD_HOLD: OnDead.HOLD,
}

CLOSING_TO_PB = {
    ClosingReason.DRAINING: event_bus_pb2.Closing.REASON_DRAINING,
    ClosingReason.GROUP_DELETED: event_bus_pb2.Closing.REASON_GROUP_DELETED,
    ClosingReason.TOPIC_DELETED: event_bus_pb2.Closing.REASON_TOPIC_DELETED,
    ClosingReason.REBALANCE: event_bus_pb2.Closing.REASON_REBALANCE,
}

OUTCOME_TO_PB = {
    AttemptOutcome.UNDER_WAY: admin_pb2.Attempt.OUTCOME_UNSPECIFIED,
    AttemptOutcome.NACKED: admin_pb2.Attempt.OUTCOME_NACKED,
    AttemptOutcome.DEAD: admin_pb2.Attempt.OUTCOME_DEAD,
    AttemptOutcome.RELEASED: admin_pb2.Attempt.OUTCOME_RELEASED,
    AttemptOutcome.EXPIRED: admin_pb2.Attempt.OUTCOME_EXPIRED,
}
