"""The deliveries whose leases one subscription of this worker holds.

WAITING --start--> RUNNING --all handlers have ended--> SETTLING --settled--> GONE
   |                  |--cancelled--> CANCELLED ----------^  |
   |--released--------|--------------------------------------|
From every stage: --lease lost--> GONE
"""

import asyncio
import enum
import inspect
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from duebus._core.delivery import Delivery

if TYPE_CHECKING:
    from duebus.worker.outcome import Failure
    from duebus.worker.registry import Registration

__all__ = ["Cause", "Held", "HeldLeases", "Stage"]


class Stage(enum.Enum):
    """Where a delivery stands in this worker."""

    WAITING = enum.auto()
    """Its handlers have not been started."""
    RUNNING = enum.auto()
    CANCELLED = enum.auto()
    """Its handlers were cancelled and have not all ended. Its lease is not extended any more, so that a handler that
    will not end does not hold the event forever."""
    SETTLING = enum.auto()
    """To be acked, nacked or released; the server has not confirmed it yet."""
    GONE = enum.auto()
    """Settled, or the lease was lost. Nothing may be settled for it."""


class Cause(enum.Enum):
    """Why handlers are cancelled."""

    TIMEOUT = enum.auto()
    """They ran for longer than `max_execution`."""
    STOPPED = enum.auto()
    """The worker stops and does not wait any longer."""
    LOST = enum.auto()
    """The lease was lost: somebody else may have the event."""


class Held:
    """One delivery and the state of its handling."""

    __slots__ = (
        "abandoned",
        "cause",
        "delivery",
        "failures",
        "fresh_until",
        "running",
        "stage",
        "succeeded",
        "tasks",
        "token",
    )

    def __init__(self, delivery: Delivery, fresh_until: float = math.inf) -> None:
        self.delivery = delivery
        # By the clock of `freshness`; later than that, the lease may have run out.
        self.fresh_until = fresh_until
        self.token = delivery.lease_token
        self.stage = Stage.WAITING
        self.cause: Cause | None = None
        # Empty tuples where most deliveries put nothing: each list would be one more object for the garbage collector.
        self.tasks: Sequence[asyncio.Task[None]] = ()
        # Handlers that have not ended, and calls on threads that go on though their handler was cancelled.
        self.running = 0
        self.abandoned = 0
        self.succeeded: tuple[Registration, ...] = ()
        self.failures: tuple[Failure, ...] = ()

    def cancel(self, cause: Cause) -> None:
        """Cancels the handlers that have not ended; nothing happens when it is not running, or the second time."""
        if self.stage is not Stage.RUNNING:
            return
        self.stage, self.cause = Stage.CANCELLED, cause
        for task in self.tasks:
            if _has_begun(task):
                task.cancel()


def _has_begun(task: asyncio.Task[None]) -> bool:
    """A task that is cancelled before its first step never runs, and nobody hears of its end."""
    coroutine = task.get_coro()
    return not inspect.iscoroutine(coroutine) or inspect.getcoroutinestate(coroutine) != inspect.CORO_CREATED


class HeldLeases:
    """The deliveries of one subscription by lease token, in the order they came."""

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}
        self._empty = asyncio.Event()

    def __len__(self) -> int:
        return len(self._held)

    def add(self, delivery: Delivery, fresh_until: float = math.inf) -> Held:
        """A new delivery, WAITING."""
        held = Held(delivery, fresh_until)
        self._held[held.token] = held
        return held

    def discard(self, held: Held) -> None:
        """The lease is over: settled, or given up."""
        held.stage = Stage.GONE
        self._held.pop(held.token, None)
        if not self._held:
            self._empty.set()

    def lose(self, tokens: Iterable[str]) -> int:
        """The server says these leases are lost: cancels their handlers.

        Returns:
            How many were not being settled already: a settle that overtook the question is no loss.
        """
        lost = [self._held[token] for token in tokens if token in self._held]
        unsettled = sum(held.stage is not Stage.SETTLING for held in lost)
        for held in lost:
            held.cancel(Cause.LOST)
            self.discard(held)
        return unsettled

    def renew(self, tokens: Iterable[str], fresh_until: float) -> None:
        """The server has extended these leases."""
        for token in tokens:
            if (held := self._held.get(token)) is not None:
                held.fresh_until = fresh_until

    def tokens(self) -> list[str]:
        """All leases held, settled but not yet confirmed ones included."""
        return list(self._held)

    def extendable(self) -> list[str]:
        """The leases to keep alive: all but those whose handlers were cancelled."""
        return [token for token, held in self._held.items() if held.stage is not Stage.CANCELLED]

    async def emptied(self) -> None:
        """Waits until no lease is held."""
        while self._held:
            self._empty.clear()
            await self._empty.wait()
