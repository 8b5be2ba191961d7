"""Any engine, with what it does counted and timed: once for each call, whatever the number of events in it."""

from __future__ import annotations

import time
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.domain.model import DispatchAnswer, NackAction

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from duebus_server.domain.errors import DueBusError
    from duebus_server.domain.model import (
        DispatchRequest,
        EngineName,
        LeaseBatch,
        LeaseFailureReason,
        LeaseRef,
        LeaseRequest,
        NackRef,
    )
    from duebus_server.engine.base import Engine, Watcher

    Results = list[LeaseFailureReason | None]

T = TypeVar("T")

NO_BATCH = 0
"""The size of a call that is not about so many events."""


class EngineRecorder(Protocol):
    """Where the figures go. Called on the event loop, once for each call of an engine; must not raise."""

    def called(self, engine: EngineName, verb: str, seconds: float, batch: int) -> None:
        """A verb took so long, on so many events; NO_BATCH where that has no meaning."""

    def failed(self, engine: EngineName, error: DispatcherNotWorking) -> None:
        """The engine does not work."""

    def dispatched(self, engine: EngineName, topic: str, count: int) -> None:
        """Events were stored."""

    def delivered(self, engine: EngineName, topic: str, group: str, batch: LeaseBatch, now_us: int) -> None:
        """Events were leased to a session."""

    def acked(self, engine: EngineName, topic: str, group: str, count: int) -> None:
        """Events are done."""

    def nacked(self, engine: EngineName, topic: str, group: str, action: NackAction, count: int) -> None:
        """Events were given back."""

    def died(self, engine: EngineName, topic: str, group: str, count: int) -> None:
        """Events became dead letters."""


def instrument(engine: Engine, recorder: EngineRecorder) -> Engine:
    """The same engine, with what it does recorded."""
    return cast("Engine", _InstrumentedEngine(engine, recorder))


class _InstrumentedEngine:
    """Passes all on to the engine inside it.

    Every verb is timed, one that is new too; those that move events, and so have counters of their own, stand below.
    """

    def __init__(self, engine: Engine, recorder: EngineRecorder) -> None:
        self._engine = engine
        self._recorder = recorder

    def __getattr__(self, name: str) -> Any:
        """A verb of the engine, timed; anything else as it is."""
        found = getattr(self._engine, name)
        if not iscoroutinefunction(found):
            return found

        async def timed(*arguments: Any, **named: Any) -> Any:
            size = next((len(one) for one in (*arguments, *named.values()) if isinstance(one, list | tuple)), NO_BATCH)
            return await self._timed(name, size, found(*arguments, **named))

        setattr(self, name, timed)  # the next time it is found at once
        return timed

    def watch(self, watcher: Watcher) -> None:
        """See ``Engine.watch``."""
        self._engine.watch(cast("Watcher", _InstrumentedWatcher(watcher, self._engine.name, self._recorder)))

    async def dispatch(self, topic: str, requests: Sequence[DispatchRequest]) -> list[DispatchAnswer | DueBusError]:
        """See ``Engine.dispatch``."""
        size = sum([len(request.events) for request in requests])
        answers = await self._timed("dispatch", size, self._engine.dispatch(topic, requests))
        done = [answer for answer in answers if isinstance(answer, DispatchAnswer)]
        stored = sum([len(answer.event_ids) - len(answer.duplicate_event_ids) for answer in done])
        self._recorder.dispatched(self._engine.name, topic, stored)
        return answers

    async def lease(self, topic: str, group: str, session_id: str, request: LeaseRequest) -> LeaseBatch:
        """See ``Engine.lease``."""
        begun = time.perf_counter()
        try:
            batch = await self._engine.lease(topic, group, session_id, request)
        except DispatcherNotWorking as error:
            self._recorder.failed(self._engine.name, error)
            raise
        # One that finds nothing is no delivery; there may be many of them, and they would hide the others.
        if batch.events:
            self._recorder.called(self._engine.name, "lease", time.perf_counter() - begun, len(batch.events))
            self._recorder.delivered(self._engine.name, topic, group, batch, self._engine.now_us())
        return batch

    async def ack(self, topic: str, group: str, leases: Sequence[LeaseRef]) -> Results:
        """See ``Engine.ack``."""
        results = await self._timed("ack", len(leases), self._engine.ack(topic, group, leases))
        self._recorder.acked(self._engine.name, topic, group, results.count(None))
        return results

    async def nack(self, topic: str, group: str, nacks: Sequence[NackRef]) -> Results:
        """See ``Engine.nack``."""
        results = await self._timed("nack", len(nacks), self._engine.nack(topic, group, nacks))
        done = [nack.action for nack, result in zip(nacks, results, strict=True) if result is None]
        for action in NackAction:
            if action in done:
                self._recorder.nacked(self._engine.name, topic, group, action, done.count(action))
        return results

    async def _timed(self, verb: str, batch: int, call: Awaitable[T]) -> T:
        begun = time.perf_counter()
        try:
            return await call
        except DispatcherNotWorking as error:
            self._recorder.failed(self._engine.name, error)
            raise
        finally:
            self._recorder.called(self._engine.name, verb, time.perf_counter() - begun, batch)


class _InstrumentedWatcher:
    """Passes all on to the watcher inside it, and counts deaths: only the engine knows of them all."""

    def __init__(self, watcher: Watcher, engine: EngineName, recorder: EngineRecorder) -> None:
        self._watcher = watcher
        self._engine = engine
        self._recorder = recorder
        self.due = watcher.due
        self.leases_ended = watcher.leases_ended
        self.deleted = watcher.deleted

    def died(self, topic: str, group: str, count: int, first_ids: Sequence[str]) -> None:
        """See ``Watcher.died``."""
        self._recorder.died(self._engine, topic, group, count)
        self._watcher.died(topic, group, count, first_ids)
