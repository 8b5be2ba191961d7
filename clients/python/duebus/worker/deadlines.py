"""Cancels handlers that run for too long.

A timer for each call would be simpler, but takes 2 to 3 us more CPU an event (`python -m bench.naive`).
"""

import asyncio

from duebus.worker.held import Cause, Held
from duebus.worker.registry import Registration

__all__ = ["Deadlines"]


class Deadlines:
    """One timer for all calls of handlers. All have the same time limit, so their deadlines are in order.

    Args:
        allowance: How many seconds a call may take. After that, all handlers of its delivery are cancelled.
    """

    def __init__(self, allowance: float) -> None:
        self._allowance = allowance
        self._loop = asyncio.get_running_loop()
        self._deadlines: dict[tuple[Held, Registration], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, held: Held, registration: Registration) -> None:
        """Record that a handler was called with a delivery."""
        deadline = self._loop.time() + self._allowance
        self._deadlines[held, registration] = deadline
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._cancel_overdue)

    def forget(self, held: Held, registration: Registration) -> None:
        """Record that the call has ended."""
        self._deadlines.pop((held, registration), None)

    def close(self) -> None:
        """Stops the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _cancel_overdue(self) -> None:
        # asyncio calls timers up to its clock's resolution early; a deadline missed by that is met by the next call.
        self._timer = None
        now = self._loop.time()
        while self._deadlines:
            call, deadline = next(iter(self._deadlines.items()))
            if deadline > now:
                self._timer = self._loop.call_at(deadline, self._cancel_overdue)
                return
            del self._deadlines[call]
            held, _ = call
            held.cancel(Cause.TIMEOUT)
