"""Collects deliveries for handlers that take several at once, and gives each its own outcome.

collecting --full, or `wait` is over--> called --returns--> each has its outcome
                                          |
                                          +----raises-----> called with one delivery after the other

Each delivery waits for its outcome in a task of its own, as if it were handled alone. So leases, slots, retries and
settling are the same as for other handlers.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from duebus.worker.deadlines import Deadlines
from duebus.worker.decisions import RateLimited, Release
from duebus.worker.held import Held
from duebus.worker.registry import Batching, Registration

__all__ = ["Batches"]

_log = logging.getLogger("duebus.worker")

# Raised for a batch, they apply to all its events: they do not blame one, and cost none an attempt, or end the worker.
_FOR_ALL = (Release, RateLimited, KeyboardInterrupt)

Invoke = Callable[[Registration, tuple[Any, ...], Sequence[Held]], Coroutine[Any, Any, object]]


class Batches:
    """The batches of one subscription.

    Args:
        invoke: Calls a handler with these arguments, on behalf of these deliveries, and returns what it returned.
        deadlines: Each call has the whole time limit. There is none while a delivery waits for its call.
    """

    def __init__(self, invoke: Invoke, deadlines: Deadlines) -> None:
        self._invoke = invoke
        self._deadlines = deadlines
        self._loop = asyncio.get_running_loop()
        self._collected: dict[Registration, _Collected] = {}
        self._handling: set[asyncio.Task[None]] = set()

    async def handle(self, held: Held, registration: Registration, batching: Batching) -> None:
        """Handles a delivery together with others. Returns if it succeeded, and raises its error otherwise.

        Raises:
            CancelledError: Its handling was cancelled, and the call has ended. A call is cancelled when all its
                deliveries are: it goes on while only some of their leases are lost.
        """
        member = _Member(held, batching.read(held.delivery), self._loop.create_future())
        self._collect(member, registration, batching)
        try:
            error = await member.outcome
        except asyncio.CancelledError:
            if member.call is not None:
                member.call.cancel_if_unwanted()
                await asyncio.wait([member.call.task])
            raise
        if error is not None:
            raise error

    def flush(self) -> None:
        """Begins to handle what is collected, because no more will come."""
        for registration in list(self._collected):
            self._begin(registration)

    def _collect(self, member: "_Member", registration: Registration, batching: Batching) -> None:
        collected = self._collected.get(registration)
        if collected is None:
            timer = self._loop.call_later(batching.wait, self._begin, registration)
            collected = self._collected[registration] = _Collected(timer)
        collected.members.append(member)
        if len(collected.members) == batching.size:
            self._begin(registration)

    def _begin(self, registration: Registration) -> None:
        collected = self._collected.pop(registration)
        collected.timer.cancel()
        task = self._loop.create_task(self._handle_all(registration, collected.members))
        self._handling.add(task)
        task.add_done_callback(self._handling.discard)

    async def _handle_all(self, registration: Registration, members: Sequence["_Member"]) -> None:
        error = await self._call(registration, members)
        if error is None:
            return
        head = f"{registration.source}: {registration.name}"
        _log.warning("%s: a batch of %d failed; they are handled one by one", head, len(members), exc_info=error)
        for member in members:
            await self._call(registration, [member])

    async def _call(self, registration: Registration, members: Sequence["_Member"]) -> BaseException | None:
        """Calls the handler. Returns its error if that is not the outcome of its deliveries yet."""
        members = [member for member in members if not member.outcome.done()]
        if not members:
            return None
        call = _Call(members, self._loop.create_task(self._outcomes(registration, members)))
        for member in members:
            member.call = call
            self._deadlines.watch(member.held, registration)
        await asyncio.wait([call.task])
        for member in members:
            self._deadlines.forget(member.held, registration)
        if call.is_cancelled:
            return None
        outcomes = call.task.result()
        if isinstance(outcomes, list):
            call.end(outcomes)
        elif len(members) == 1 or issubclass(type(outcomes), _FOR_ALL):
            call.end([outcomes] * len(members))
        else:
            for member in members:
                member.call = None
            return outcomes
        return None

    async def _outcomes(
        self, registration: Registration, members: Sequence["_Member"]
    ) -> list[BaseException | None] | BaseException:
        """The outcome of each delivery, or the error that the handler has raised."""
        arguments = [member.item for member in members], [member.held.delivery for member in members]
        try:
            result = await self._invoke(registration, arguments, [member.held for member in members])
            if not isinstance(result, list | tuple):
                return [None] * len(members)
            if len(result) != len(members):
                raise ValueError(f"the handler returned {len(result)} outcomes for {len(members)} events")  # noqa: TRY301
        except BaseException as error:  # noqa: BLE001 - as in `Invoker.run`
            return error
        # Not isinstance: it reads __class__, which may raise.
        return [each if issubclass(type(each), BaseException) else None for each in result]


@dataclass(slots=True, eq=False)
class _Member:
    """A delivery in a batch.

    Attributes:
        item: What the handler gets of it.
        outcome: Its error, None if it succeeded. Cancelled if nobody wants to know anymore.
        call: The call that it is part of; None while it waits for one.
    """

    held: Held
    item: Any
    outcome: asyncio.Future[BaseException | None]
    call: "_Call | None" = None


@dataclass(slots=True)
class _Collected:
    """A batch that is not handled yet, and the timer that began with its first delivery."""

    timer: asyncio.TimerHandle
    members: list[_Member] = field(default_factory=list)


@dataclass(slots=True)
class _Call:
    """One call of a handler."""

    members: Sequence[_Member]
    task: asyncio.Task[list[BaseException | None] | BaseException]
    is_cancelled: bool = False

    def cancel_if_unwanted(self) -> None:
        """Cancels it, once, if all its deliveries were cancelled."""
        if not self.is_cancelled and all(member.outcome.done() for member in self.members):
            self.is_cancelled = True
            self.task.cancel()

    def end(self, outcomes: Sequence[BaseException | None]) -> None:
        """Tells each delivery its outcome."""
        for member, outcome in zip(self.members, outcomes, strict=True):
            if not member.outcome.done():
                member.outcome.set_result(outcome)
