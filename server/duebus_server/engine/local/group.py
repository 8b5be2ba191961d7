"""One group of a topic: every event that it is not done with, in exactly one state, and its way through the states.

Each public method that moves events is one step of ``domain.states``. None of them awaits, so no other call sees a
half-done move.
"""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING

from duebus_server.domain.model import (
    AdoptedLease,
    LeaseBatch,
    LeasedEvent,
    LeaseFailureReason,
    LeaseRef,
    LeaseRequest,
    NackAction,
    NackRef,
    PauseScope,
    SubscriberInfo,
)
from duebus_server.domain.states import EventState
from duebus_server.domain.views import AttemptOutcome
from duebus_server.engine.local.group_core import PROMOTE_LIMIT, GroupCore
from duebus_server.engine.local.leases import find_held, is_held, renew, why_not_held
from duebus_server.engine.local.records import Entry, Lease

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from duebus_server.domain.model import Pause

LEASE_EXPIRED = "the lease expired before the delivery was settled"


class Group(GroupCore):
    """The events of one group, from dispatch to settle; ``GroupCore`` has what operators do to them."""

    # --- sessions ---------------------------------------------------------------------------------------------------

    def leave(self, session_id: str, returns_in_us: int, now_us: int) -> bool:
        """A session leaves; see ``Engine.leave``. Returns whether the group is ephemeral, and has no session left."""
        session = self.sessions.pop(session_id, None)
        if session is not None and session.ephemeral_us is not None:
            self._kept_until_us = max(self._kept_until_us, now_us + returns_in_us + session.ephemeral_us)
        return self.ephemeral and not self.sessions

    def is_over(self, now_us: int) -> bool:
        """Whether the group is ephemeral and can be removed."""
        if not self.ephemeral or self.sessions or now_us < self._kept_until_us:
            return False
        last = next(iter(self.indexes.by_state[EventState.LEASED].descending()), None)
        return last is None or last[0] <= now_us

    def restore(self, entries: Iterable[Entry], now_us: int, return_us: int) -> None:
        """Put the entries that a journal held into their indexes.

        Args:
            entries: those of the group, in order of their times.
            now_us: the time, in microseconds.
            return_us: how long sessions have to come back, unless their grace is longer. Leases last that long.
        """
        behind: list[Entry] = []
        for entry in entries:
            if entry.lease is not None:
                entry.at_us = now_us + max(return_us, entry.lease.grace_us)
                self.leases.put(entry, entry.lease)
            if entry.key and self.order.restore(entry):
                behind.append(entry)
            else:
                self.indexes.add(entry)
        for entry in behind:
            self.order.come_due(entry, entry.at_us, now_us)
        self.order.restored(now_us)
        self._kept_until_us = now_us + max(return_us, self.kept_us)

    # --- into the group ---------------------------------------------------------------------------------------------

    def put(
        self, entries: Sequence[Entry], now_us: int, hand_over: Callable[[Sequence[Entry]], int] | None = None
    ) -> None:
        """Add dispatched events: SCHEDULED, or READY or BLOCKED if they are due, or LEASED if they are handed over.

        Args:
            entries: their entries in the group, SCHEDULED or READY.
            now_us: the time, in microseconds.
            hand_over: leases the first of those that are due to a session, as far as they fit, and returns how many.
        """
        ready: list[Entry] = []
        priority, ready_state = 0, EventState.READY
        for entry in entries:
            event = entry.event
            self.entries[event.id] = entry
            if entry.state is not ready_state:
                self.indexes.add(entry)
            elif not event.arrival.key or self.order.takes_free_slot(entry, now_us):
                ready.append(entry)
                priority = priority or event.arrival.priority
            else:
                self.order.come_due(entry, now_us, now_us)
        if priority:
            ready.sort(key=attrgetter("rank"))
        if hand_over is not None:
            del ready[: hand_over(ready)]
        if priority:
            for entry in ready:
                self.indexes.add(entry)
        else:
            self.indexes.add_all(EventState.READY, ready)
        self.dispatched.mark(len(entries), now_us)

    # --- time passes ------------------------------------------------------------------------------------------------

    def promote(self, now_us: int) -> None:
        """Move what is due, up to PROMOTE_LIMIT of each: SCHEDULED -> READY or BLOCKED, and expired leases -> READY or
        DEAD.
        """
        if not (self.entries or self.order.is_revising or self.indexes.keys.opens or self.indexes.keys.idle):
            return
        for entry in self.indexes.by_state[EventState.SCHEDULED].until(now_us, PROMOTE_LIMIT):
            self.indexes.move(entry, EventState.READY, entry.at_us)
        for entry in self.indexes.by_host_clock.until(self._host.now_us, PROMOTE_LIMIT):
            self.indexes.move(entry, EventState.READY, entry.at_us - self._host.ahead_us)
        keyed = [(entry.at_us, entry.seq, entry) for entry in self.indexes.keyed.until(now_us, PROMOTE_LIMIT)]
        by_host = self.indexes.keyed_by_host_clock.until(self._host.now_us, PROMOTE_LIMIT)
        keyed += [(entry.at_us - self._host.ahead_us, entry.seq, entry) for entry in by_host]
        for at_us, _, entry in sorted(keyed) if len(keyed) > 1 else keyed:
            if entry.waits_in_key and not entry.is_blocked:
                self.order.move_due(entry, at_us, now_us)
        for entry in self.indexes.by_state[EventState.LEASED].until(now_us, PROMOTE_LIMIT):
            self._expire(entry, now_us)
        for index in (self.indexes.keys.opens, self.indexes.keys.idle):
            for key in index.until(now_us, PROMOTE_LIMIT):
                self.order.open(key, now_us)
        if self.order.is_revising:
            self.order.revise(now_us, PROMOTE_LIMIT)

    def next_sweep(self, ahead_us: int) -> int | None:
        """When ``promote`` next has something to do, or a session that waits is told what it can lease; None for never.

        Args:
            ahead_us: how long before its due time a scheduled event needs a sweep.
        """
        if self.order.is_revising or (self.sessions and self.indexes.needs_announcing()):
            return 0
        return self.indexes.next_change(ahead_us)

    def next_due(self, *, with_suspects: bool = True) -> int | None:
        """As ``StateIndexes.next_due``, and not before its limits let it lease; None while the group is paused."""
        if self.paused:
            return None
        if self.order.is_revising:
            return 0
        if not self.entries:
            return None
        opens_us = 0 if self.throttle.is_idle else self._opens_us()
        return self.indexes.next_due(with_suspects=with_suspects, opens_us=opens_us)

    def throttled_until(self, now_us: int) -> int | None:
        """When its limits and pauses let it lease, at the latest; None if they do now."""
        if self.throttle.is_idle:
            return None
        times = [self.throttle.opens_us(now_us)]
        if self.throttle.is_full(self.in_flight) and (first := self.indexes.by_state[EventState.LEASED].first()):
            times.append(first[0])
        return max(times) if max(times) > now_us else None

    @property
    def in_flight(self) -> int:
        """How many events are LEASED."""
        return len(self.indexes.by_state[EventState.LEASED])

    def ready_by(self, until_us: int) -> int:
        """How many events are READY, and how many keys with BLOCKED events open until then: each lets one begin. At
        most PROMOTE_LIMIT keys are counted.
        """
        return self.indexes.count(EventState.READY) + len(self.indexes.keys.opens.until(until_us, PROMOTE_LIMIT))

    def _opens_us(self) -> int | None:
        """When its limits let it lease, however early; None if it can't before a lease ends."""
        if self.throttle.is_full(self.in_flight):
            return None
        return self.throttle.opens_us(self._host.now_us - self._host.ahead_us)

    def _expire(self, entry: Entry, now_us: int) -> None:
        lease = self.leases.end(entry, self.unannounced.ran_out)
        was_suspect = entry.is_suspect
        if lease.stalled or not was_suspect:
            entry.note_free_attempt()
        elif entry.failures > self.max_retries(entry):
            entry.record(lease, AttemptOutcome.DEAD, LEASE_EXPIRED, now_us)
            self._die(entry, now_us)
            return
        entry.record(lease, AttemptOutcome.EXPIRED, LEASE_EXPIRED, now_us)
        self._make_ready_again(entry, now_us)
        if entry.is_suspect and not was_suspect:
            self.unannounced.suspected.append(entry.event.id)

    # --- lease ------------------------------------------------------------------------------------------------------

    def lease(self, session: SubscriberInfo, request: LeaseRequest, lease_us: int, now_us: int) -> LeaseBatch:
        """READY -> LEASED for as many events as fit, the longest due first."""
        room = self.throttle.room(self.in_flight, now_us) if not self.throttle.is_idle else None
        if self.paused or room == 0:
            return self.batch([], with_suspects=request.with_suspect)
        if room is not None:
            request = replace(request, max_events=min(request.max_events, room))
        if self.indexes.has_unmoved(now_us):
            self.order.check_heads(request.max_events, now_us)
        entries, suspect = self.indexes.take(request)
        leased = self.lease_all(entries, session, request, now_us + lease_us, now_us)
        if suspect is not None:
            leased[entries.index(suspect)].is_suspect = True
        return self.batch(leased, with_suspects=request.with_suspect and suspect is None)

    def is_open(self) -> bool:
        """Whether its limits and pauses let it lease something now."""
        if self.throttle.is_idle:
            return True
        return self.throttle.room(self.in_flight, self._host.now_us - self._host.ahead_us) != 0

    def batch(self, leased: Sequence[LeasedEvent], *, with_suspects: bool) -> LeaseBatch:
        """The answer to a session: its leases, and when it can lease more.

        Args:
            leased: the events.
            with_suspects: the session may take a suspect.
        """
        if self.paused:
            return LeaseBatch(leased, None, is_paused=True)
        left = self.indexes.has_ready(with_suspects=with_suspects) and self.is_open()
        first = None if with_suspects else self.indexes.suspects.first()
        suspect_due_us = None if first is None else first[0]
        return LeaseBatch(leased, self.next_due(with_suspects=with_suspects), left, suspect_due_us=suspect_due_us)

    def lease_all(
        self, entries: Sequence[Entry], session: SubscriberInfo, request: LeaseRequest, expires_us: int, now_us: int
    ) -> list[LeasedEvent]:
        """READY -> LEASED for events that are in no index: new ones, or ones that were just taken out."""
        session_id, consumer, grace_us = session.session_id, session.consumer, session.grace_us
        leases = [
            Lease(session_id, consumer, token, now_us, request.stalled, grace_us)
            for token in self._host.fencing_tokens(len(entries))
        ]
        if leases and self._recorder is not None:
            self._recorder.leased(self, entries, leases[0], expires_us)
        leased = self.leases.begin(entries, leases, expires_us)
        self.indexes.add_all(EventState.LEASED, entries)
        self.throttle.begun(len(entries), now_us)
        self.order.leased(entries, now_us)
        if leased:
            self.delivered.mark(len(leased), now_us)
            self.minutes.at(now_us).add_delivered(leased, now_us)
        return leased

    # --- settle -----------------------------------------------------------------------------------------------------

    def ack(self, leases: Sequence[LeaseRef], now_us: int) -> list[LeaseFailureReason | None]:
        """LEASED -> removed."""
        results, done = self._take_held(leases, now_us)
        self.leases.end_all(done, self.unannounced.ended)
        self.indexes.remove_leased(done)
        self._record_removed(done, now_us)
        for entry in done:
            if entry.event.arrival.key:
                self.order.leave(entry, now_us)
        self._holder.drop_copies([entry.event for entry in done], now_us, waited=not self.ephemeral)
        if done:
            self.acked.mark(len(done), now_us)
            self.minutes.at(now_us).acked += len(done)
        return results

    def nack(self, nacks: Sequence[NackRef], now_us: int) -> list[LeaseFailureReason | None]:
        """LEASED -> SCHEDULED, READY or DEAD, by the action of each nack."""
        results = [self._nack_one(nack, now_us) for nack in nacks]
        if nacked := results.count(None):
            self.nacked.mark(nacked, now_us)
            self.minutes.at(now_us).nacked += nacked
        return results

    def extend(self, leases: Sequence[LeaseRef], expires_us: int, now_us: int) -> list[LeaseFailureReason | None]:
        """Make leases expire at ``expires_us``."""
        return [self._extend_one(ref, expires_us, now_us) for ref in leases]

    def adopt(
        self, ref: LeaseRef, session: SubscriberInfo, expires_us: int, now_us: int
    ) -> AdoptedLease | LeaseFailureReason:
        """Move a lease to ``session`` and renew it, or return why it was not moved."""
        entry = find_held(self.entries.get(ref.event_id), ref, now_us)
        if not isinstance(entry, Entry):
            return entry
        self.leases.adopt(entry, session, self.unannounced.ended)
        renew(entry)
        self._move(entry, EventState.LEASED, expires_us)
        return AdoptedLease(ref.fencing_token, entry.event.body_size, entry.is_suspect)

    def shorten(self, session_id: str, expires_us: int) -> None:
        """Make the leases of this session expire at ``expires_us`` or earlier."""
        for entry in self.leases.held.get(session_id, {}).values():
            if entry.at_us > expires_us:
                self._move(entry, EventState.LEASED, expires_us)

    def _take_held(
        self, leases: Sequence[LeaseRef], now_us: int
    ) -> tuple[list[LeaseFailureReason | None], list[Entry]]:
        """Take the entries that these leases hold out of ``entries``. Returns a result for each lease, and those
        entries.
        """
        entries = self.entries
        results: list[LeaseFailureReason | None] = []
        held: list[Entry] = []
        for event_id, fencing_token in leases:
            entry = entries.get(event_id)
            if entry is not None and is_held(entry, fencing_token, now_us):
                del entries[event_id]
                held.append(entry)
                results.append(None)
            else:
                results.append(why_not_held(entry))
        return results, held

    def _nack_one(self, nack: NackRef, now_us: int) -> LeaseFailureReason | None:
        entry = find_held(self.entries.get(nack.lease.event_id), nack.lease, now_us)
        if not isinstance(entry, Entry):
            return entry
        if nack.pause is not None and not self._pause(entry, nack.pause, now_us):
            return LeaseFailureReason.NO_KEY
        lease = self.leases.end(entry, self.unannounced.ended)
        if nack.action is NackAction.RELEASE:
            self._release(entry, lease, now_us)
        elif nack.action is NackAction.DEAD_LETTER or entry.failures > self.max_retries(entry):
            entry.record(lease, AttemptOutcome.DEAD, nack.error, now_us)
            self._die(entry, now_us)
        else:
            entry.record(lease, AttemptOutcome.NACKED, nack.error, now_us)
            self._retry(entry, nack.delay_us, now_us)
        return None

    def _extend_one(self, ref: LeaseRef, expires_us: int, now_us: int) -> LeaseFailureReason | None:
        entry = find_held(self.entries.get(ref.event_id), ref, now_us)
        if not isinstance(entry, Entry):
            return entry
        self.unannounced.extended.add(renew(entry).session_id)
        self._move(entry, EventState.LEASED, expires_us)
        return None

    def _release(self, entry: Entry, lease: Lease, now_us: int) -> None:
        entry.record(lease, AttemptOutcome.RELEASED, "", now_us)
        entry.attempt -= 1
        self.throttle.refund(now_us)
        if entry.key:
            self.order.refund(entry, now_us)
        self._make_ready_again(entry, now_us)

    def _pause(self, entry: Entry, pause: Pause, now_us: int) -> bool:
        """Begin a pause. Returns whether there is something to pause."""
        until_us = now_us + pause.duration_us
        if pause.scope is PauseScope.GROUP:
            self.throttle.pause(until_us)
        elif not entry.key or not self.order.policy.slots:
            return False
        else:
            for moved in self.order.pause(entry, until_us, now_us):
                self._record_changed(moved)
        if self._recorder is not None:
            self._recorder.paused(self, entry.key if pause.scope is PauseScope.KEY else None)
        return True

    def _retry(self, entry: Entry, delay_us: int | None, now_us: int) -> None:
        wait_us = self.retry_policy.backoff_us(entry.failures) if delay_us is None else delay_us
        entry.deliver_at_us = now_us + wait_us
        if entry.key:
            self.order.come_back(entry, entry.deliver_at_us, now_us, retry=True)
            self._record_changed(entry)
        else:
            self._move(entry, EventState.SCHEDULED, entry.deliver_at_us)
