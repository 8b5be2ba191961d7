"""One timer for many deadlines.

A timer for each waiting dispatch would be simpler, but takes 13 us of CPU a wait instead of 8 (see
`python -m bench.naive`).
"""

import asyncio
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

__all__ = ["Deadlines"]


class Waiting(Protocol):
    """Something that has a deadline.

    Attributes:
        deadline: By the loop's clock; infinite for none.
    """

    deadline: float


_W = TypeVar("_W", bound=Waiting)


class Deadlines(Generic[_W]):
    """Reports each waiting item whose deadline has passed.

    Args:
        expired: Called with an item that has waited too long, which is then forgotten.
    """

    def __init__(self, expired: Callable[[_W], None]) -> None:
        self._expired = expired
        self._waiting: set[_W] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, waiting: _W) -> None:
        """Add an item."""
        self._waiting.add(waiting)
        if self._timer is None or waiting.deadline < self._timer.when():
            self._set_timer(waiting.deadline)

    def remove(self, waiting: _W) -> None:
        """Remove an item. The timer stays: usually, other items have the same deadline."""
        self._waiting.discard(waiting)

    def _set_timer(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if deadline != float("inf"):
            self._timer = asyncio.get_running_loop().call_at(deadline, self._expire)

    def _expire(self) -> None:
        # asyncio calls timers up to its clock's resolution early; a deadline missed by that is met by the next call.
        now = asyncio.get_running_loop().time()
        for waiting in [each for each in self._waiting if each.deadline <= now]:
            self._waiting.discard(waiting)
            self._expired(waiting)
        self._timer = None
        self._set_timer(min((each.deadline for each in self._waiting), default=float("inf")))
