"""The frames that a session sends down its stream."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from duebus_server.domain.clock import SECOND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.domain.model import LeasedEvent


class ClosingReason(StrEnum):
    """Why the server ends a stream."""

    DRAINING = "draining"
    GROUP_DELETED = "group_deleted"
    TOPIC_DELETED = "topic_deleted"
    REBALANCE = "rebalance"
    """The stream has reached the greatest age, this replica has too many streams, or the group has got a limit that the
    subscriber does not know: it subscribes again.
    """
    WAITED = "waited"
    """The wait of a pull is over. It is never sent down a stream."""


@dataclass(frozen=True, slots=True)
class Deliveries:
    """Events leased to the session."""

    events: Sequence[LeasedEvent]


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A heartbeat, with the number of events that are ready in the group."""

    server_time_us: int
    backlog: int


@dataclass(frozen=True, slots=True)
class Closing:
    """The last frame."""

    reason: ClosingReason
    reconnect_after_us: int


Frame = Deliveries | Heartbeat | Closing

RECONNECT_AFTER_US = SECOND
"""How long a client is asked to wait after the server closed its stream: time for another replica or a restart to be
ready.
"""

DRAINING = Closing(ClosingReason.DRAINING, RECONNECT_AFTER_US)
GROUP_DELETED = Closing(ClosingReason.GROUP_DELETED, RECONNECT_AFTER_US)
TOPIC_DELETED = Closing(ClosingReason.TOPIC_DELETED, RECONNECT_AFTER_US)
REBALANCE = Closing(ClosingReason.REBALANCE, 0)
WAITED = Closing(ClosingReason.WAITED, 0)

REBALANCE_GRACE_US = 5 * SECOND
"""How long a subscriber that was asked to subscribe again has, if its disconnect grace is shorter."""
