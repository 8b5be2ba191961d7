"""The options of a session."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """A subscriber's options, with the defaults filled in.

    Attributes:
        lease_us: how long each delivery is leased.
        grace_us: how long leases outlast a broken stream, and an ephemeral group its last stream.
        ephemeral: whether the group is deleted when its last stream has ended.
        is_pull: as in ``SubscriberInfo``.
    """

    session_id: str
    topic: str
    group: str
    consumer: str
    lease_us: int
    grace_us: int
    ephemeral: bool = False
    is_pull: bool = False
