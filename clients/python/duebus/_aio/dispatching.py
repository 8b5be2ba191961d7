"""Dispatches single events. Those that arrive while a call is running share the next one.

A lone dispatch is sent at once. Events for the same topic that arrive while its call is running go into the next call,
which stores all or none of them. If that call is refused for a reason that may lie in one event, each event is sent
alone, so that no caller gets the error of another's event; those with the same key are sent one after the other. If
some of its events were stored, every caller gets the error: an event without an id that is sent again could be stored
twice.
"""

import asyncio
import math
from collections import defaultdict, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from duebus._aio.connection import Connection
from duebus._aio.deadlines import Deadlines
from duebus._core.calls import DispatchKind, dispatch_together
from duebus._core.fields import Span
from duebus._core.model import Dispatched
from duebus._core.retry import Tries
from duebus.errors import DeadlineExceeded, InvalidArgument, MaxQueuedEventsReached, Unavailable
from duebus.v1 import event_bus_pb2

__all__ = ["Dispatcher"]

# The server accepts 1000 events and 4 MiB in one call; a quarter is left for what surrounds the events.
_MAX_EVENTS = 1_000
_MAX_BYTES = 3 << 20

# Errors that may lie in one of several events.
_FAULT_OF_ONE = (InvalidArgument, MaxQueuedEventsReached)


@dataclass(slots=True, eq=False)
class _Lane:
    """The dispatches that may share calls: one call at a time, and those that wait for the next.

    Attributes:
        tries: Of the running call.
        failure: Of the latest call; None if it succeeded.
    """

    kind: DispatchKind
    tries: Tries
    failure: Unavailable | None = None
    waiting: "deque[_Waiting]" = field(default_factory=deque)


@dataclass(slots=True, eq=False)
class _Waiting:
    """A dispatch that waits for its turn or its answer.

    Attributes:
        deadline: When it gives up, by the loop's clock; infinite for never.
    """

    event: event_bus_pb2.Event
    lane: _Lane
    deadline: float
    timeout: float | None
    result: asyncio.Future[Dispatched]

    def answer(self, answer: Dispatched) -> None:
        """Gives the caller the answer, unless it has given up."""
        if not self.result.done():
            self.result.set_result(answer)

    def fail(self, error: BaseException) -> None:
        """Gives the caller the error, unless it has given up."""
        if not self.result.done():
            self.result.set_exception(error)

    def expire(self) -> None:
        """There was no answer in time. The failure of the lane, if there is one, says more."""
        late = DeadlineExceeded(f"no answer within {self.timeout:g} s")
        self.fail(self.lane.tries.last or self.lane.failure or late)


class Dispatcher:
    """Dispatches the single events of one client."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # A lane is here while one of its calls is running.
        self._lanes: dict[DispatchKind, _Lane] = {}
        self._runs: set[asyncio.Task[None]] = set()
        self._deadlines = Deadlines[_Waiting](_Waiting.expire)

    async def run(
        self, kind: DispatchKind, event: event_bus_pb2.Event, timeout: Span | None, request_id: str | None
    ) -> Dispatched:
        """Dispatches an event, alone or with others.

        Args:
            kind: The arguments that it has in common with those that may share its call.
            event: The event.
            timeout: How long it may take; None: the client's.
            request_id: The caller's own, which belongs to this event alone.

        Raises:
            DueBusError: it failed.
        """
        if not request_id and (lane := self._lanes.get(kind)) is not None:
            return await self._wait(lane, event, timeout)
        call = dispatch_together(kind, [event], request_id)
        if request_id or len(kind.engines) > 1:  # an error names the engines that hold this event
            (answer,) = await self._connection.run(call, timeout)
            return answer
        tries = self._connection.tries(call, timeout)
        lane = self._lanes[kind] = _Lane(kind, tries)
        try:
            (answer,) = await self._connection.carry_out(call, tries)
        except Unavailable as error:
            lane.failure = error
            raise
        else:
            return answer
        finally:
            self._send_waiting(lane)

    async def _wait(self, lane: _Lane, event: event_bus_pb2.Event, timeout: Span | None) -> Dispatched:
        loop = asyncio.get_running_loop()
        seconds = self._connection.settings.seconds_or_default(timeout)
        deadline = math.inf if seconds is None else loop.time() + seconds
        waiting = _Waiting(event, lane, deadline, seconds, loop.create_future())
        lane.waiting.append(waiting)
        self._deadlines.add(waiting)
        try:
            return await waiting.result
        finally:
            self._deadlines.remove(waiting)
            del waiting  # the traceback of an error refers to this frame, and `waiting` to the error

    def _send_waiting(self, lane: _Lane) -> None:
        """Sends, after the first call, the dispatches that arrived meanwhile."""
        if not lane.waiting:
            self._end(lane)
            return
        run = asyncio.create_task(self._run(lane))
        self._runs.add(run)
        run.add_done_callback(self._runs.discard)

    async def _run(self, lane: _Lane) -> None:
        while batch := _next_batch(lane.waiting):
            await self._send(lane, batch)
            # Callers that just got their answers may dispatch again at once: they share the next call.
            await asyncio.sleep(0)
        self._end(lane)

    def _end(self, lane: _Lane) -> None:
        del self._lanes[lane.kind]
        lane.failure = None  # its traceback refers to frames, and they to the lane

    async def _send(self, lane: _Lane, batch: Sequence[_Waiting]) -> None:
        """One call for all of them. Each caller gets the result of its own event."""
        call = dispatch_together(lane.kind, [waiting.event for waiting in batch])
        lane.tries = self._connection.tries(call, _longest(batch))
        try:
            answers = await self._connection.carry_out(call, lane.tries)
        except BaseException as error:  # noqa: BLE001 - the callers that wait must get it
            if isinstance(error, _FAULT_OF_ONE) and not error.stored_engines:
                await asyncio.gather(*map(self._send_in_turn, _by_key(batch)))
                return
            if isinstance(error, Unavailable):
                lane.failure = error
            _fail(batch, lane.failure if lane.failure and isinstance(error, DeadlineExceeded) else error)
            del batch  # as in `_wait`
        else:
            lane.failure = None
            for waiting, answer in zip(batch, answers, strict=True):
                waiting.answer(answer)

    async def _send_in_turn(self, batch: Sequence[_Waiting]) -> None:
        for waiting in batch:
            if not waiting.result.done():
                await self._send_alone(waiting)

    async def _send_alone(self, waiting: _Waiting) -> None:
        call = dispatch_together(waiting.lane.kind, [waiting.event])
        try:
            (answer,) = await self._connection.run(call, _longest([waiting]))
        except BaseException as error:  # noqa: BLE001 - as above
            waiting.fail(error)
            del waiting  # as in `_wait`
        else:
            waiting.answer(answer)


def _next_batch(waiting: deque[_Waiting]) -> list[_Waiting]:
    """As many as fit into one call, without those whose callers have given up."""
    batch: list[_Waiting] = []
    size = 0
    while waiting and len(batch) < _MAX_EVENTS:
        size += waiting[0].event.ByteSize()
        if batch and size > _MAX_BYTES:
            break
        first = waiting.popleft()
        if not first.result.done():
            batch.append(first)
    return batch


def _by_key(batch: Sequence[_Waiting]) -> Collection[list[_Waiting]]:
    """Those with the same key together, in order; one without a key alone."""
    together = defaultdict[str | _Waiting, list[_Waiting]](list)
    for waiting in batch:
        together[waiting.event.key or waiting].append(waiting)
    return together.values()


def _fail(batch: Sequence[_Waiting], error: BaseException) -> None:
    for waiting in batch:
        waiting.fail(error)


def _longest(batch: Sequence[_Waiting]) -> float | None:
    """Seconds until the last of their deadlines; the others stop waiting on their own."""
    left = max(waiting.deadline for waiting in batch) - asyncio.get_running_loop().time()
    return None if left == math.inf else max(1e-3, left)
