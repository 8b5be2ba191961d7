"""The leases of one group: which session holds which events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duebus_server.domain.model import LeasedEvent, LeaseFailureReason
from duebus_server.domain.states import EventState
from duebus_server.engine.local.records import Lease

if TYPE_CHECKING:
    from duebus_server.domain.model import LeaseRef, SubscriberInfo
    from duebus_server.engine.local.records import Entry


class Leases:
    """The leases by session. What changes one also changes ``Entry.lease``; the group moves the entry in its indexes.

    Attributes:
        held: session id -> fencing token -> entry, those of a session from the oldest on. A session that has left may
            still hold leases.
    """

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held: dict[str, dict[int, Entry]] = {}

    def begin(self, entry: Entry, lease: Lease, expires_us: int) -> LeasedEvent:
        """READY -> LEASED."""
        event = entry.event
        deliver_at_us = entry.deliver_at_us
        entry.begin(lease, expires_us)
        self.held.setdefault(lease.session_id, {})[lease.fencing_token] = entry
        return LeasedEvent(
            event.id,
            event.body,
            lease.fencing_token,
            entry.attempt,
            deliver_at_us,
            event.arrival.dispatched_us,
            expires_us,
            entry.past.last_error,
        )

    def put(self, entry: Entry, lease: Lease) -> None:
        """Record that this lease, which was restored or moved, holds a LEASED entry."""
        entry.lease = lease
        self.held.setdefault(lease.session_id, {})[lease.fencing_token] = entry

    def oldest_us(self) -> int | None:
        """When the lease began that has lasted longest; None if there is none. O(sessions)."""
        oldest = [next(iter(held.values())).lease for held in self.held.values()]
        return min([lease.started_us for lease in oldest if lease is not None], default=None)

    def end(self, entry: Entry, ended: dict[str, list[int]]) -> Lease:
        """End the lease of an entry, which is LEASED.

        Args:
            entry: the entry.
            ended: gets the lease, to be reported: session id -> fencing tokens.

        Returns:
            The lease.
        """
        lease = entry.lease
        assert lease is not None  # noqa: S101  # the entry is LEASED
        entry.lease = None
        ended.setdefault(lease.session_id, []).append(lease.fencing_token)
        held = self.held[lease.session_id]
        del held[lease.fencing_token]
        if not held:
            del self.held[lease.session_id]
        return lease

    def adopt(self, entry: Entry, session: SubscriberInfo, ended: dict[str, list[int]]) -> None:
        """Move the lease of an entry to this session, unless it holds it already. ``ended`` is as for ``end``."""
        lease = entry.lease
        assert lease is not None  # noqa: S101  # the entry is LEASED
        if lease.session_id != session.session_id:
            self.end(entry, ended)
            self.put(
                entry,
                Lease(
                    session.session_id,
                    session.consumer,
                    lease.fencing_token,
                    lease.started_us,
                    grace_us=session.grace_us,
                ),
            )


def renew(entry: Entry) -> Lease:
    """The holder of an entry is alive, so its lease no longer counts as one of a stalled session. Returns the lease."""
    lease = entry.lease
    assert lease is not None  # noqa: S101  # the entry is LEASED
    lease.stalled = False
    return lease


def find_held(entry: Entry | None, ref: LeaseRef, now_us: int) -> Entry | LeaseFailureReason:
    """The entry that this lease holds, or why it does not hold one.

    Args:
        entry: the entry of the event that the lease names; None if the group is done with it.
        ref: the lease.
        now_us: the time, in microseconds.
    """
    if entry is None or entry.state is EventState.DEAD:
        return LeaseFailureReason.SETTLED
    lease = entry.lease
    if lease is None or lease.fencing_token != ref.fencing_token or entry.at_us <= now_us:
        return LeaseFailureReason.EXPIRED
    return entry
