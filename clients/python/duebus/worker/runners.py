"""Tasks that run several handlers one after the other.

A task for each delivery is the naive way. It costs 10.6 us of CPU an event rather than 4.4 where handlers do not
suspend, and 14.7 rather than 11.4 where they do once (`python -m bench.naive` measures it).

One task, the runner, calls the handlers of the deliveries that wait, one after the other, as long as they do not
suspend. When one does, other runners take over what still waits, and this one ends with that handler:

runner   |handler|handler|handler......suspended......handler|
others                                 |handler|handler|

So a handler that suspends has its task for itself from then on: a timer that cancels it late hits no other handler. The
same holds for a handler that sets a context variable or cancels its own task: the runner ends with it.

A handler that does none of that may still keep its task and cancel it after it has returned, which hits whichever
handler runs in it then. The worker's documentation forbids that.
"""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, cast

__all__ = ["Runners"]

# Seconds of handlers that do not suspend, until the loop gets its turn for all else: acks, extensions, other streams.
_LONGEST_TURN = 0.001
# About as many handlers as begin in that time if they all suspend; more runners would find the turn over.
_MOST_AT_ONCE = 32
_UNSET = object()


class Runners:
    """Starts as many runners as find something to do.

    Args:
        startable: How many handlings could be started now; may be negative.
        start_next: Starts the next one, to be awaited by the runner whose task it is given; None: nothing may be
            started now. It may not suspend, and what it returns may not raise.
    """

    def __init__(
        self,
        startable: Callable[[], int],
        start_next: Callable[[asyncio.Task[Any]], Coroutine[Any, Any, None] | None],
    ) -> None:
        self._startable = startable
        self._start_next = start_next
        self._loop = asyncio.get_running_loop()
        # Every handler begins with these variables, whatever those before it have set.
        self._context = contextvars.copy_context()
        self._variables = tuple(self._context.items())
        # A turn is what happens between two looks of the loop at its other work. Runners that begin in it share it.
        self._turn = 0
        self._turn_is_on = False
        self._turn_is_long_at = 0.0
        # Runners that were made and have not begun, those of this turn that found something to do, and how many may be
        # made at once: as many as were of use in the last turn, or twice as many if all ended with their handlers.
        self._coming = 0
        self._busy = 0
        self._at_once = 1
        # One of this turn ended because the turn was long.
        self._left_off = False

    def go(self) -> None:
        """Something may have become startable."""
        for _ in range(min(self._startable(), self._at_once) - self._coming):
            self._coming += 1
            # Not its argument `context`, which not every task factory takes.
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
                self.go()
                return
            if self._is_long():
                self._left_off = True
                return
            if not self._is_as_new(task):  # ends as one whose handler is suspended: others take over
                return
            handling = self._start_next(task)

    def _is_long(self) -> bool:
        return self._loop.time() >= self._turn_is_long_at

    def _is_as_new(self, task: asyncio.Task[Any]) -> bool:
        """The handler has left nothing behind that the next one could notice."""
        # Up to Python 3.12, a task that was cancelled and uncancelled at once is cancelled nevertheless as it suspends.
        return not (task.cancelling() or getattr(task, "_must_cancel", False)) and self._is_context_as_new()

    def _is_context_as_new(self) -> bool:
        # Not `==`: it takes a variable for unchanged that was set to an equal value, a fresh {} for example.
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
        """Every runner of the turn has ended, or its handler is suspended."""
        self._turn += 1
        self._turn_is_on = False
        more = self._startable() > 0 and not self._left_off
        self._at_once = min(_MOST_AT_ONCE, max(1, 2 * self._busy if more else self._busy))
        self._busy = 0
        self._left_off = False
        self.go()
