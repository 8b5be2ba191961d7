"""Cancels handlers that run for too long.

A timer for each delivery would be simpler, but takes 2 to 3 us more CPU an event (`python -m bench.naive`).
"""

import asyncio

from duebus.worker.held import Cause, Held

__all__ = ["Deadlines"]


class Deadlines:
    """One timer for all deliveries of a subscription. All have the same time limit, so their deadlines are in order.

    Args:
        allowance: How many seconds a delivery's handlers may run before they are cancelled.
    """

    def __init__(self, allowance: float) -> None:
        self._allowance = allowance
        self._loop = asyncio.get_running_loop()
        self._deadlines: dict[Held, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, held: Held) -> None:
        """Record that a delivery's handlers have started."""
        deadline = self._loop.time() + self._allowance
        self._deadlines[held] = deadline
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._cancel_overdue)

    def forget(self, held: Held) -> None:
        """Record that a delivery's handlers have ended."""
        self._deadlines.pop(held, None)

    def close(self) -> None:
        """Stops the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _cancel_overdue(self) -> None:
        # asyncio calls timers up to its clock's resolution early; a deadline missed by that is met by the next call.
        self._timer = None
        now = self._loop.time()
        while self._deadlines:
            held, deadline = next(iter(self._deadlines.items()))
            if deadline > now:
                self._timer = self._loop.call_at(deadline, self._cancel_overdue)
                return
            del self._deadlines[held]
            held.cancel(Cause.TIMEOUT)
