"""The leases of one group: which session holds which events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duebus_server.domain.model import LeasedEvent, LeaseFailureReason
from duebus_server.domain.states import EventState
from duebus_server.engine.local.due_index import SEQ_BITS
from duebus_server.engine.local.records import Entry, Lease

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.domain.model import LeaseRef, SubscriberInfo


class Leases:
    """The leases by session. What changes one also changes ``Entry.lease``; the group moves the entry in its indexes.

    Attributes:
        held: session id -> fencing token -> entry, those of a session from the oldest on. A session that has left may
            still hold leases.
    """

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held: dict[str, dict[int, Entry]] = {}

    def begin(self, entries: Sequence[Entry], leases: Sequence[Lease], expires_us: int) -> list[LeasedEvent]:
        """READY -> LEASED, all to one session."""
        held = self.held.setdefault(leases[0].session_id, {}) if leases else {}
        leased: list[LeasedEvent] = []
        for entry, lease in zip(entries, leases, strict=True):
            event, fencing_token = entry.event, lease.fencing_token
            due_us = entry.begin(lease, expires_us)
            held[fencing_token] = entry
            leased.append(
                LeasedEvent(
                    event.id,
                    event.body,
                    fencing_token,
                    entry.attempt,
                    due_us,
                    event.arrival.dispatched_us,
                    expires_us,
                    entry.past.last_error,
                )
            )
        return leased

    def put(self, entry: Entry, lease: Lease) -> None:
        """Record that this lease, which was restored or moved, holds a LEASED entry."""
        entry.lease = lease
        self.held.setdefault(lease.session_id, {})[lease.fencing_token] = entry

    def oldest_us(self) -> int | None:
        """When the lease began that has lasted longest; None if there is none. O(sessions)."""
        oldest = [next(iter(held.values())).lease for held in self.held.values()]
        return min([lease.started_us for lease in oldest if lease is not None], default=None)

    def end(self, entry: Entry, ended: dict[str, list[int]]) -> Lease:
        """End the lease of an entry, which is LEASED; see ``end_all``. Returns the lease."""
        lease = entry.lease
        assert lease is not None  # noqa: S101  # the entry is LEASED
        self.end_all((entry,), ended)
        return lease

    def end_all(self, entries: Sequence[Entry], ended: dict[str, list[int]]) -> None:
        """End the leases of entries, which are LEASED.

        Args:
            entries: the entries.
            ended: gets the leases, to be reported: session id -> fencing tokens.
        """
        session_id, tokens, held = None, list[int](), dict[int, Entry]()
        for entry in entries:
            lease = entry.lease
            assert lease is not None  # noqa: S101  # the entry is LEASED
            if lease.session_id != session_id:  # usually it is that of the one before
                session_id = lease.session_id
                tokens = ended.setdefault(session_id, [])
                held = self.held[session_id]
            fencing_token = lease.fencing_token
            entry.lease = None
            tokens.append(fencing_token)
            del held[fencing_token]
            if not held:
                del self.held[session_id]

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
    if entry is not None and is_held(entry, ref.fencing_token, now_us):
        return entry
    return why_not_held(entry)


def is_held(entry: Entry, fencing_token: int, now_us: int) -> bool:
    """Whether the lease with this fencing token holds the entry."""
    lease = entry.lease
    return lease is not None and lease.fencing_token == fencing_token and entry.sort_key >> SEQ_BITS > now_us


def why_not_held(entry: Entry | None) -> LeaseFailureReason:
    """Why a lease does not hold the entry of the event that it names; None if the group is done with the event."""
    if entry is None or entry.state is EventState.DEAD:
        return LeaseFailureReason.SETTLED
    return LeaseFailureReason.EXPIRED
