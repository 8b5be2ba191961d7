"""Dispatch: stores the events of a checked request."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from duebus_server.bus.coalescing import PARTITIONS_AT_ONCE, Coalescer
from duebus_server.domain.errors import DueBusError, PartialDispatch
from duebus_server.domain.model import DispatchAnswer, DispatchRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from duebus_server.bus.engines import Engines, RunningEngine
    from duebus_server.domain.model import EngineName


@dataclass(frozen=True, slots=True)
class DispatchCommand:
    """Events for one topic, and the engines that store them; the default engine if none is named."""

    topic: str
    request: DispatchRequest
    engines: Sequence[EngineName] = ()


MAX_EVENTS_AT_ONCE = 1_000
"""How many events one engine call stores for several requests, for each partition. Bounded, because other calls wait
meanwhile.
"""


class Dispatching:
    """Stores events on one engine, or on several, one after the other.

    Requests for a topic that arrive while one is being stored are stored together by the next engine call.
    """

    def __init__(self, engines: Engines) -> None:
        self._engines = engines
        self._coalescer = Coalescer(self._store, lambda request: len(request.events), self._max_events)

    async def dispatch(self, command: DispatchCommand) -> DispatchAnswer:
        """Store the events of a request, all or none on each engine.

        Raises:
            PartialDispatch: an engine failed after others had stored the events, or has stored some of them.
            DueBusError: the first engine failed; nothing was stored.
        """
        running = self._engines.all_serving(command.engines)
        answers: list[DispatchAnswer] = []
        request = command.request
        for one in running:
            if answers:
                # The first engine may know the request, and then returns its first ids. The others use those too.
                request = _with_ids(request, answers[0].event_ids)
            try:
                answers.append(await self._dispatch_on(one, command.topic, request))
            except DueBusError as error:
                if not answers:
                    raise
                stored = [done.engine.name for done in running[: len(answers)]]
                raise _partial(error, stored, answers[0].event_ids) from error
        return _merge(answers)

    async def _dispatch_on(self, running: RunningEngine, topic: str, request: DispatchRequest) -> DispatchAnswer:
        outcome = await self._coalescer.submit((running.engine.name, topic), request)
        # Sessions that were woken run first, so that the events are sent before the request is answered.
        await asyncio.sleep(0)
        if isinstance(outcome, DispatchAnswer):
            return outcome
        try:
            raise outcome
        finally:
            del outcome  # its traceback refers to this frame: together they would wait for the garbage collector

    def _max_events(self, target: tuple[EngineName, str]) -> int:
        name, topic = target
        return MAX_EVENTS_AT_ONCE * min(self._engines.get(name).engine.partitions(topic), PARTITIONS_AT_ONCE)

    def _store(
        self, target: tuple[EngineName, str], requests: list[DispatchRequest]
    ) -> Awaitable[list[DispatchAnswer | DueBusError]]:
        name, topic = target
        return self._engines.get(name).streams.dispatch(topic, requests)


def _partial(error: DueBusError, stored: Sequence[EngineName], event_ids: Sequence[str]) -> PartialDispatch:
    """The error of an engine after others have stored the events; it may have stored some of them."""
    if isinstance(error, PartialDispatch):
        return PartialDispatch(error.cause, [*stored, *error.stored_engines], event_ids)
    return PartialDispatch(error, stored, event_ids)


def _with_ids(request: DispatchRequest, event_ids: Sequence[str]) -> DispatchRequest:
    """The request with these ids, in request order."""
    events = [
        event if event.id == event_id else replace(event, id=event_id)
        for event, event_id in zip(request.events, event_ids, strict=True)
    ]
    return replace(request, events=events)


def _merge(answers: Sequence[DispatchAnswer]) -> DispatchAnswer:
    """One answer for all engines: an event is a duplicate if it added nothing to any of them."""
    first, *others = answers
    if not others:
        return first
    everywhere = set(first.duplicate_event_ids).intersection(*(set(other.duplicate_event_ids) for other in others))
    return DispatchAnswer(first.event_ids, [one for one in first.duplicate_event_ids if one in everywhere])
