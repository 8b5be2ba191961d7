"""Wakes the sessions of one group when there is something to lease. Nothing is polled."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from duebus_server.domain.clock import SECOND

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from duebus_server.domain.clock import Clock, Timer
    from duebus_server.domain.model import LeaseRef, Refill, Reservation

RECHECK_US = SECOND
"""The longest that a session waits whose next event does not fit. A released event returns to its old place, which may
be before that event at the same due time, and no notification says so.
"""


FULL_ASKED = 16
"""How many sessions with full windows an ack tries to lease to. Bounded, because there may be thousands."""


class Waiter(Protocol):
    """A session, for its waker."""

    def wake(self) -> None:
        """Something is due, or something has changed. Called on the event loop."""

    def reserve(self) -> Reservation | None:
        """Reserve its room for a dispatch, unless it has none or has something else to do."""

    def refill(self, settled: Sequence[LeaseRef]) -> Refill | None:
        """Reserve the room that an ack of these leases makes, unless it makes none or the session is busy."""


class Waker:
    """Sleeps until the next due time of one group, and then wakes the session that has waited longest.

    One session is woken at a time. It leases what it has room for and reports when more is due, which wakes the
    next one. So an event wakes one session, and a burst wakes as many as it needs.

    A dispatch wakes nobody for what it hands over: it reserves the room of a session instead.

    Attributes:
        changes: grows with every ``due`` and ``leased``. A lease from before a change may have missed something.
        is_paused: whether the last lease found the group paused.

    Args:
        clock: for timers.
        engine_now_us: the engine's clock, which due times refer to; it may be another host's.
    """

    def __init__(self, clock: Clock, engine_now_us: Callable[[], int]) -> None:
        self.changes = 0
        self.is_paused = False
        self._clock = clock
        self._engine_now_us = engine_now_us
        # The queue: whether each session takes suspects.
        self._waiting: dict[Waiter, bool] = {}
        # Sessions for which the first event is too large: when that event is due.
        self._waiting_for_another: dict[Waiter, int] = {}
        # Sessions that will join the queue once they have sent what they leased.
        self._sending: dict[Waiter, None] = {}
        # Sessions whose windows are full, and that left something that is due.
        self._full: dict[Waiter, None] = {}
        self._due_us: int | None = None
        self._leasing = 0
        self._answered = asyncio.Event()
        self._timer: Timer | None = None
        self._recheck_timer: Timer | None = None

    def due(self, at_us: int) -> None:
        """Something can be leased at ``at_us``, or now if that has passed."""
        self.changes += 1
        self._requeue(lambda too_large_us: at_us < too_large_us)
        self._arm(at_us)

    def leased(self, next_due_us: int | None) -> None:
        """A session has leased events. Any waiting session may lease what is due next."""
        self.changes += 1
        self._requeue(lambda _: True)
        if next_due_us is not None:
            self._arm(next_due_us)

    def suspect_due(self) -> None:
        """A suspect is due that the session which has leased can't take. Wake the first session that can."""
        waiter = next((waiter for waiter, takes_suspects in self._waiting.items() if takes_suspects), None)
        if waiter is not None:
            del self._waiting[waiter]
            waiter.wake()

    def reserve(self) -> Reservation | None:
        """Reserve the room of one session that has leased everything that was due, and take it out of the queue.

        The first in the queue that has room comes first, and then one that is still sending: the window limits what a
        slow reader gets.
        """
        for queue in (self._waiting, self._sending):
            for waiter in queue:
                reservation = waiter.reserve()
                if reservation is not None:
                    self.stop_waiting(waiter)
                    return reservation
        return None

    def refill(self, settled: Sequence[LeaseRef]) -> Refill | None:
        """Reserve the room that an ack of these leases is about to make in the window of one session, if that is full
        and there is more to lease. Only the sessions that have been full for longest are asked.
        """
        for waiter in islice(self._full, FULL_ASKED):
            refill = waiter.refill(settled)
            if refill is not None:
                self.stop_waiting(waiter)
                return refill
        return None

    def wait_for_room(self, waiter: Waiter) -> None:
        """The session's window is full, and something is due. An ack may refill it, until ``stop_waiting``."""
        self._full[waiter] = None

    def lease_began(self) -> None:
        """A session begins to lease, and expects to take everything that is due. ``lease_answered`` must follow."""
        self._leasing += 1
        self._answered.clear()

    def lease_answered(self) -> None:
        """That session has its answer, or the lease failed."""
        self._leasing -= 1
        self._answered.set()

    @property
    def may_get_room(self) -> bool:
        """Whether the only sessions that may have room are leasing, so that ``reserve`` finds none until one knows."""
        return bool(self._leasing) and not (self._waiting or self._sending)

    async def room(self) -> None:
        """Return when ``reserve`` may find room."""
        if self.may_get_room:
            await self._answered.wait()

    def wait_after_sending(self, waiter: Waiter) -> None:
        """A session has leased everything that was due, and joins the queue once it has sent that."""
        self._sending[waiter] = None

    def wait(self, waiter: Waiter, next_due_us: int | None, seen_changes: int, *, takes_suspects: bool = True) -> None:
        """Join the queue. The session is woken once: when something is due, or at once if something has changed.

        Args:
            waiter: the session.
            next_due_us: the next due time that the session's last lease returned.
            seen_changes: ``changes`` as it was before that lease.
            takes_suspects: whether the session holds no suspect.
        """
        self._sending.pop(waiter, None)
        if self.changes != seen_changes:
            waiter.wake()
            return
        self._waiting[waiter] = takes_suspects
        if next_due_us is not None:
            self._arm(next_due_us)

    def wait_for_another(self, waiter: Waiter, too_large_us: int, seen_changes: int) -> None:
        """Join the queue once another event may be the first one.

        Args:
            waiter: as in ``wait``.
            too_large_us: the due time of the event that does not fit.
            seen_changes: as in ``wait``.
        """
        if self.changes != seen_changes:
            waiter.wake()
            return
        self._waiting_for_another[waiter] = too_large_us
        if self._recheck_timer is None:
            self._recheck_timer = self._clock.call_at(self._clock.now_us() + RECHECK_US, self._recheck)
        self._arm(too_large_us)

    def stop_waiting(self, waiter: Waiter) -> None:
        """Leave the queue; harmless if the session is not in it."""
        self._waiting.pop(waiter, None)
        self._waiting_for_another.pop(waiter, None)
        self._sending.pop(waiter, None)
        self._full.pop(waiter, None)

    def close(self) -> None:
        """Cancel the timers."""
        for timer in (self._timer, self._recheck_timer):
            if timer is not None:
                timer.cancel()

    def _requeue(self, concerns: Callable[[int], bool]) -> None:
        """Queue the sessions that wait for another event, if the first event may no longer be the one that is too large
        for them.
        """
        for waiter in [waiter for waiter, too_large_us in self._waiting_for_another.items() if concerns(too_large_us)]:
            del self._waiting_for_another[waiter]
            self._waiting[waiter] = True

    def _recheck(self) -> None:
        self._recheck_timer = None
        self._requeue(lambda _: True)
        self._arm(self._engine_now_us())

    def _arm(self, at_us: int) -> None:
        if not self._waiting:
            return
        wait_us = at_us - self._engine_now_us()
        # What is due now does not wait for a timer, which is late if the host was suspended.
        if wait_us > 0 and self._due_us is not None and self._due_us <= at_us:
            return
        if self._timer is not None:
            self._timer.cancel()
        if wait_us <= 0:
            self._fire()
        else:
            self._due_us = at_us
            self._timer = self._clock.call_at(self._clock.now_us() + wait_us, self._fire)

    def _fire(self) -> None:
        """Wake the session that has waited longest."""
        self._due_us = self._timer = None
        if self._waiting:
            waiter = next(iter(self._waiting))
            del self._waiting[waiter]
            waiter.wake()
