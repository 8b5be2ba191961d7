"""Tasks that run several handlers one after the other.

A task for each delivery would be simpler, but takes 10.6 us of CPU an event instead of 4.4 if handlers do not suspend,
and 14.7 instead of 11.4 if they suspend once (`python -m bench.naive` measures both).

One task, the runner, calls the handlers of the deliveries that wait, one after the other, as long as they do not
suspend. When one does, other runners take over what still waits, and this one ends with that handler:

runner   |handler|handler|handler......suspended......handler|
others                                 |handler|handler|

So a handler that suspends has its task to itself from then on: a timer that cancels it late hits no other handler. The
runner also ends with a handler that sets a context variable or cancels its own task.

Any other handler could still keep its task and cancel it after it has returned, which would hit the handler that runs
in it then. The worker's documentation forbids that.
"""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, cast

__all__ = ["Runners"]

# How many seconds handlers may run without suspending before the loop gets a turn for acks, extensions, other streams.
_LONGEST_TURN = 0.001
# About as many handlers as start in that time if they all suspend; more runners would find the turn over.
_MOST_AT_ONCE = 32
_UNSET = object()


class Runners:
    """Starts as many runners as there is work for.

    Args:
        startable: Returns how many deliveries could be started now; may be negative.
        start_next: Starts the next one in the given task of a runner, which awaits the result; None if nothing may
            start now. It must not suspend, and its result must not raise.
    """

    def __init__(
        self,
        startable: Callable[[], int],
        start_next: Callable[[asyncio.Task[Any]], Coroutine[Any, Any, None] | None],
    ) -> None:
        self._startable = startable
        self._start_next = start_next
        self._loop = asyncio.get_running_loop()
        # Every handler starts with these variables, regardless of what earlier handlers have set.
        self._context = contextvars.copy_context()
        self._variables = tuple(self._context.items())
        # A turn is the time between two turns of the loop's other work. Runners that start in it share it.
        self._turn = 0
        self._turn_is_on = False
        self._turn_is_long_at = 0.0
        # Runners that were created and have not started, those of this turn that found work, and how many may be
        # made at once: as many as were of use in the last turn, or twice as many if all ended with their handlers.
        self._coming = 0
        self._busy = 0
        self._at_once = 1
        # One of this turn ended because the turn was long.
        self._left_off = False

    def start_more(self) -> None:
        """Starts runners if deliveries may have become startable."""
        for _ in range(min(self._startable(), self._at_once) - self._coming):
            self._coming += 1
            # Not with the argument `context`, which not every task factory accepts.
            self._context.copy().run(self._loop.create_task, self._run())

    async def _run(self) -> None:
        self._coming -= 1
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        turn = self._join_turn()
        if self._is_long() or (handling := self._start_next(task)) is None:
            return
        self._busy += 1
        while handling is not None:
            await handling
            if self._turn != turn:  # the handler was suspended
                self.start_more()
                return
            if self._is_long():
                self._left_off = True
                return
            if not self._is_as_new(task):  # ends like one whose handler is suspended: others take over
                return
            handling = self._start_next(task)

    def _is_long(self) -> bool:
        return self._loop.time() >= self._turn_is_long_at

    def _is_as_new(self, task: asyncio.Task[Any]) -> bool:
        """Whether the handler has left nothing behind that the next one could notice."""
        # Up to Python 3.12, a task that was cancelled and uncancelled at once is still cancelled when it suspends.
        return not (task.cancelling() or getattr(task, "_must_cancel", False)) and self._is_context_as_new()

    def _is_context_as_new(self) -> bool:
        # Not `==`, which would miss a variable that was set to an equal value, for example a new {}.
        context = contextvars.copy_context()
        if len(context) != len(self._variables):
            return False
        for variable, value in self._variables:  # noqa: SIM110 - all() would take twice as long
            if context.get(variable, _UNSET) is not value:
                return False
        return True

    def _join_turn(self) -> int:
        if not self._turn_is_on:
            self._turn_is_on = True
            self._turn_is_long_at = self._loop.time() + _LONGEST_TURN
            self._loop.call_soon(self._end_turn)
        return self._turn

    def _end_turn(self) -> None:
        """Whether every runner of the turn has ended or its handler is suspended."""
        self._turn += 1
        self._turn_is_on = False
        more = self._startable() > 0 and not self._left_off
        self._at_once = min(_MOST_AT_ONCE, max(1, 2 * self._busy if more else self._busy))
        self._busy = 0
        self._left_off = False
        self.start_more()
