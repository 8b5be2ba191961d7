"""One timer for all who wait for an answer: a timer for each would cost more than what it waits for."""

import asyncio
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

__all__ = ["Patience"]


class Waiting(Protocol):
    """Somebody who waits.

    Attributes:
        deadline: Until when, by the loop's clock; infinite for as long as it takes.
    """

    deadline: float


_W = TypeVar("_W", bound=Waiting)


class Patience(Generic[_W]):
    """Knows all who wait, and tells of each whose deadline has come.

    Args:
        exhausted: Called with who has waited for too long and is known no longer.
    """

    def __init__(self, exhausted: Callable[[_W], None]) -> None:
        self._exhausted = exhausted
        self._waiting: set[_W] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, waiting: _W) -> None:
        """It waits from now on."""
        self._waiting.add(waiting)
        if self._timer is None or waiting.deadline < self._timer.when():
            self._set_timer(waiting.deadline)

    def end(self, waiting: _W) -> None:
        """It waits no longer. The timer stays: most of the time, others wait as long."""
        self._waiting.discard(waiting)

    def _set_timer(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if deadline != float("inf"):
            self._timer = asyncio.get_running_loop().call_at(deadline, self._look)

    def _look(self) -> None:
        # asyncio calls timers up to its clock's resolution early; a deadline missed by that is met by the next call.
        now = asyncio.get_running_loop().time()
        for waiting in [each for each in self._waiting if each.deadline <= now]:
            self._waiting.discard(waiting)
            self._exhausted(waiting)
        self._timer = None
        self._set_timer(min((each.deadline for each in self._waiting), default=float("inf")))
