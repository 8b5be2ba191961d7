"""Single dispatches that wait for one another share a call.

A lone dispatch is sent at once, on its own. What comes for the same topic while a call is under way goes into the next
one, which is stored all or none; should it be refused for what may be the fault of one event, each is sent by itself,
so that nobody answers for another's event.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from duebus._aio.connection import Connection
from duebus._core.calls import dispatch_together
from duebus._core.fields import Span
from duebus._core.model import Dispatched
from duebus._core.retry import Tries
from duebus.errors import DeadlineExceeded, InvalidArgument, MaxQueuedEventsReached
from duebus.v1 import event_bus_pb2

__all__ = ["SharedDispatches"]

_Key: TypeAlias = tuple[str, tuple[event_bus_pb2.Engine, ...], bool]

# What the server takes in one call is 1000 events and 4 MiB; a quarter is left for what surrounds the events.
_MAX_EVENTS = 1_000
_MAX_BYTES = 3 << 20

# A refusal of these kinds may be the fault of one event of several.
_FAULT_OF_ONE = (InvalidArgument, MaxQueuedEventsReached)


@dataclass(slots=True, eq=False)
class _Waiting:
    """A dispatch that waits for its turn, or for its answer.

    Attributes:
        remaining: Seconds that it may still take, None for as long as it takes; counted from the loop's time `since`.
    """

    request: event_bus_pb2.DispatchRequest
    remaining: float | None
    since: float
    result: asyncio.Future[Dispatched]


@dataclass(slots=True, eq=False)
class _Lane:
    """The dispatches of one kind: one call at a time, and what waits for the next."""

    tries: Tries
    waiting: deque[_Waiting] = field(default_factory=deque)


class SharedDispatches:
    """Runs the dispatches of one client."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # A lane is here while a call of it is under way.
        self._lanes: dict[_Key, _Lane] = {}
        self._runs: set[asyncio.Task[None]] = set()

    async def run(self, request: event_bus_pb2.DispatchRequest, timeout: Span | None) -> Dispatched:
        """Carries out a dispatch of one event, on its own or with others.

        Raises:
            DueBusError: it failed.
        """
        if len(request.engines) > 1:  # an error tells which of them hold this event
            (answer,) = await self._connection.run(dispatch_together([request]), timeout)
            return answer
        key = (request.topic, tuple(request.engines), request.require_subscriber)
        lane = self._lanes.get(key)
        if lane is not None:
            return await self._wait(lane, request, timeout)
        call = dispatch_together([request])
        tries = self._connection.tries(call, timeout)
        lane = self._lanes[key] = _Lane(tries)
        try:
            (answer,) = await self._connection.carry_out(call, tries)
            return answer
        finally:
            self._go_on(key, lane)

    async def _wait(self, lane: _Lane, request: event_bus_pb2.DispatchRequest, timeout: Span | None) -> Dispatched:
        loop = asyncio.get_running_loop()
        remaining = self._connection.settings.seconds_or_default(timeout)
        waiting = _Waiting(request, remaining, loop.time(), loop.create_future())
        lane.waiting.append(waiting)
        try:
            async with asyncio.timeout(remaining):
                return await waiting.result
        except TimeoutError:
            # What keeps the call under way from being answered says more than that it was not.
            raise lane.tries.last or DeadlineExceeded(f"no answer within {remaining:g} s") from None

    def _go_on(self, key: _Key, lane: _Lane) -> None:
        """After the first call: the others, if anything has come meanwhile."""
        if not lane.waiting:
            del self._lanes[key]
            return
        run = asyncio.create_task(self._run(key, lane))
        self._runs.add(run)
        run.add_done_callback(self._runs.discard)

    async def _run(self, key: _Key, lane: _Lane) -> None:
        while batch := _next_batch(lane.waiting):
            await self._send(lane, batch)
            # Those who have their answers now may dispatch again at once: they share the next call.
            await asyncio.sleep(0)
        del self._lanes[key]

    async def _send(self, lane: _Lane, batch: Sequence[_Waiting]) -> None:
        """One call for all of them. Each hears what became of its own."""
        call = dispatch_together([waiting.request for waiting in batch])
        lane.tries = self._connection.tries(call, _longest(batch))
        try:
            answers = await self._connection.carry_out(call, lane.tries)
        except _FAULT_OF_ONE:
            await asyncio.gather(*(self._send_alone(waiting) for waiting in batch))
        except BaseException as error:  # noqa: BLE001 - whoever waits has to hear of it
            for waiting in batch:
                if not waiting.result.done():
                    waiting.result.set_exception(error)
        else:
            for waiting, answer in zip(batch, answers, strict=True):
                if not waiting.result.done():
                    waiting.result.set_result(answer)

    async def _send_alone(self, waiting: _Waiting) -> None:
        try:
            (answer,) = await self._connection.run(dispatch_together([waiting.request]), _longest([waiting]))
        except BaseException as error:  # noqa: BLE001 - as above
            if not waiting.result.done():
                waiting.result.set_exception(error)
        else:
            if not waiting.result.done():
                waiting.result.set_result(answer)


def _next_batch(waiting: deque[_Waiting]) -> list[_Waiting]:
    """As many as one call may carry; without those whose callers have given up."""
    batch: list[_Waiting] = []
    size = 0
    while waiting and len(batch) < _MAX_EVENTS:
        size += waiting[0].request.ByteSize()
        if batch and size > _MAX_BYTES:
            break
        first = waiting.popleft()
        if not first.result.done():
            batch.append(first)
    return batch


def _longest(batch: Sequence[_Waiting]) -> float | None:
    """How many seconds the most patient of them still waits; the others end their wait by themselves."""
    now = asyncio.get_running_loop().time()
    left = [None if one.remaining is None else one.remaining - (now - one.since) for one in batch]
    return None if None in left else max(1e-3, *(seconds for seconds in left if seconds is not None))
