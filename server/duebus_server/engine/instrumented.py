"""Wraps an engine: counts and times each call once, however many events are in it."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar

from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.domain.model import DispatchAnswer, NackAction

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from duebus_server.domain.administration import CancelAnswer, NewDueTime
    from duebus_server.domain.errors import DueBusError
    from duebus_server.domain.model import (
        AdoptedLease,
        DispatchRequest,
        EngineName,
        LeaseBatch,
        LeaseFailureReason,
        LeaseRef,
        LeaseRequest,
        NackRef,
        Refill,
        Reservation,
    )
    from duebus_server.domain.schedules import Firing, FiringOutcome
    from duebus_server.engine.base import Engine
    from duebus_server.engine.watcher import Watcher

    Results = list[LeaseFailureReason | None]

P = ParamSpec("P")
T = TypeVar("T")

NO_BATCH = 0
"""The size of a call that has no number of events."""


class EngineRecorder(Protocol):
    """Receives the figures. Called on the event loop, once for each engine call; must not raise."""

    def called(self, engine: EngineName, verb: str, seconds: float, batch: int) -> None:
        """A verb ended: how long it took, and for how many events; NO_BATCH if it has no number of events."""

    def failed(self, engine: EngineName, error: DispatcherNotWorking) -> None:
        """A verb failed because the engine is not working."""

    def dispatched(self, engine: EngineName, topic: str, count: int) -> None:
        """Events were stored."""

    def delivered(self, engine: EngineName, topic: str, group: str, batch: LeaseBatch, now_us: int) -> None:
        """Events were leased to a session."""

    def acked(self, engine: EngineName, topic: str, group: str, count: int) -> None:
        """Events are done."""

    def streams(self, engine: EngineName, count: int) -> None:
        """This server has so many streams now."""

    def nacked(self, engine: EngineName, topic: str, group: str, action: NackAction, count: int) -> None:
        """Events were given back."""

    def died(self, engine: EngineName, topic: str, group: str, count: int) -> None:
        """Events became dead letters."""

    def suspected(self, engine: EngineName, topic: str, group: str, count: int) -> None:
        """Events became suspects."""

    def fired(self, engine: EngineName, firing: Firing, outcome: FiringOutcome, now_us: int) -> None:
        """A schedule was fired, or was not; ``now_us`` is the engine's wall clock."""

    def stored(self, engine: EngineName, operation: str, seconds: float) -> None:
        """The journal was written or synced, or a script has run in Redis."""


class InstrumentedEngine:
    """Forwards every call to the wrapped engine, and records it.

    The verbs on batches are written out below; the others are only timed.
    """

    def __init__(self, engine: Engine, recorder: EngineRecorder) -> None:
        self._engine = engine
        self._recorder = recorder
        self.name = engine.name
        self.now_us = engine.now_us
        self.wall_us = engine.wall_us
        self.partitions = engine.partitions
        self.time_storage = engine.time_storage
        engine.time_storage(partial(recorder.stored, engine.name))
        self.start = self._timed("start", engine.start)
        self.stop = self._timed("stop", engine.stop)
        self.check = self._timed("check", engine.check)
        self.shorten = self._timed("shorten", engine.shorten)
        self.expire_leases = self._timed("expire_leases", engine.expire_leases)
        self.backlog = self._timed("backlog", engine.backlog)
        self.work = self._timed("work", engine.work)
        self.join = self._timed("join", engine.join)
        self.leave = self._timed("leave", engine.leave)
        self.queued = self._timed("queued", engine.queued)
        self.config_of = self._timed("config_of", engine.config_of)
        self.list_topics = self._timed("list_topics", engine.list_topics)
        self.get_topic = self._timed("get_topic", engine.get_topic)
        self.describe = self._timed("describe", engine.describe)
        self.keep_action = self._timed("keep_action", engine.keep_action)
        self.actions = self._timed("actions", engine.actions)
        self.minutes = self._timed("minutes", engine.minutes)
        self.list_events = self._timed("list_events", engine.list_events)
        self.list_keys = self._timed("list_keys", engine.list_keys)
        self.get_event = self._timed("get_event", engine.get_event)
        self.configure_topic = self._timed("configure_topic", engine.configure_topic)
        self.configure_group = self._timed("configure_group", engine.configure_group)
        self.delete_topic = self._timed("delete_topic", engine.delete_topic)
        self.delete_group = self._timed("delete_group", engine.delete_group)
        self.pause_group = self._timed("pause_group", engine.pause_group)
        self.resume_group = self._timed("resume_group", engine.resume_group)
        self.redrive = self._timed("redrive", engine.redrive)
        self.purge = self._timed("purge", engine.purge)
        self.save_schedule = self._timed("save_schedule", engine.save_schedule)
        self.get_schedule = self._timed("get_schedule", engine.get_schedule)
        self.list_schedules = self._timed("list_schedules", engine.list_schedules)
        self.delete_schedule = self._timed("delete_schedule", engine.delete_schedule)
        self.due_schedules = self._timed("due_schedules", engine.due_schedules)

    @property
    def lease_token_key(self) -> bytes:
        """See ``Engine.lease_token_key``: known once the engine is started."""
        return self._engine.lease_token_key

    def fair_share(self, streams: int | None) -> int:
        """See ``Engine.fair_share``."""
        self._recorder.streams(self.name, streams or 0)
        return self._engine.fair_share(streams)

    def watch(self, watcher: Watcher) -> None:
        """See ``Engine.watch``."""
        self._engine.watch(_InstrumentedWatcher(watcher, self._engine, self._recorder))

    async def dispatch(
        self, topic: str, requests: Sequence[DispatchRequest], reservations: Sequence[Reservation] = ()
    ) -> list[DispatchAnswer | DueBusError]:
        """See ``Engine.dispatch``."""
        size = sum([len(request.events) for request in requests])
        answers = await self._record("dispatch", size, self._engine.dispatch(topic, requests, reservations))
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
        # A lease that finds nothing is not recorded: there may be many, and they would drown out the others.
        if batch.events:
            self._recorder.called(self._engine.name, "lease", time.perf_counter() - begun, len(batch.events))
            self._recorder.delivered(self._engine.name, topic, group, batch, self._engine.now_us())
        return batch

    async def ack(self, topic: str, group: str, leases: Sequence[LeaseRef], refill: Refill | None = None) -> Results:
        """See ``Engine.ack``."""
        results = await self._record("ack", len(leases), self._engine.ack(topic, group, leases, refill))
        self._recorder.acked(self._engine.name, topic, group, results.count(None))
        return results

    async def nack(self, topic: str, group: str, nacks: Sequence[NackRef]) -> Results:
        """See ``Engine.nack``."""
        results = await self._record("nack", len(nacks), self._engine.nack(topic, group, nacks))
        done = [nack.action for nack, result in zip(nacks, results, strict=True) if result is None]
        for action in NackAction:
            if action in done:
                self._recorder.nacked(self._engine.name, topic, group, action, done.count(action))
        return results

    async def extend(self, topic: str, group: str, leases: Sequence[LeaseRef], lease_us: int | None) -> Results:
        """See ``Engine.extend``."""
        return await self._record("extend", len(leases), self._engine.extend(topic, group, leases, lease_us))

    async def adopt(
        self, topic: str, group: str, session_id: str, leases: Sequence[LeaseRef], lease_us: int | None
    ) -> list[AdoptedLease | LeaseFailureReason]:
        """See ``Engine.adopt``."""
        adopting = self._engine.adopt(topic, group, session_id, leases, lease_us)
        return await self._record("adopt", len(leases), adopting)

    async def cancel(self, topic: str, event_ids: Sequence[str], group: str | None) -> CancelAnswer:
        """See ``Engine.cancel``."""
        return await self._record("cancel", len(event_ids), self._engine.cancel(topic, event_ids, group))

    async def reschedule(self, topic: str, event_ids: Sequence[str], group: str | None, due: NewDueTime) -> int:
        """See ``Engine.reschedule``."""
        return await self._record("reschedule", len(event_ids), self._engine.reschedule(topic, event_ids, group, due))

    async def fire_schedules(self, firings: Sequence[Firing]) -> list[FiringOutcome]:
        """See ``Engine.fire_schedules``."""
        outcomes = await self._record("fire_schedules", len(firings), self._engine.fire_schedules(firings))
        now_us = self._engine.wall_us()
        for firing, outcome in zip(firings, outcomes, strict=True):
            self._recorder.fired(self._engine.name, firing, outcome, now_us)
        return outcomes

    def _timed(self, verb: str, call: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[None, None, T]]:
        """Time a verb that has no number of events."""

        async def timed(*arguments: P.args, **named: P.kwargs) -> T:
            return await self._record(verb, NO_BATCH, call(*arguments, **named))

        return timed

    async def _record(self, verb: str, batch: int, call: Awaitable[T]) -> T:
        begun = time.perf_counter()
        try:
            return await call
        except DispatcherNotWorking as error:
            self._recorder.failed(self._engine.name, error)
            raise
        finally:
            self._recorder.called(self._engine.name, verb, time.perf_counter() - begun, batch)


class _InstrumentedWatcher:
    """Forwards every call to the wrapped watcher, and counts what only the engine knows: what a dispatch or an ack
    has leased, deaths and suspects.
    """

    def __init__(self, watcher: Watcher, engine: Engine, recorder: EngineRecorder) -> None:
        self._watcher = watcher
        self._engine = engine
        self._recorder = recorder
        self.due = watcher.due
        self.leases_ended = watcher.leases_ended
        self.leases_ran_out = watcher.leases_ran_out
        self.leases_extended = watcher.leases_extended
        self.deleted = watcher.deleted
        self.limited = watcher.limited
        self.schedules_due = watcher.schedules_due

    def leased(self, topic: str, group: str, session_id: str, batch: LeaseBatch) -> None:
        """See ``Watcher.leased``."""
        if batch.events:
            self._recorder.delivered(self._engine.name, topic, group, batch, self._engine.now_us())
        self._watcher.leased(topic, group, session_id, batch)

    def died(self, topic: str, group: str, count: int, first_ids: Sequence[str]) -> None:
        """See ``Watcher.died``."""
        self._recorder.died(self._engine.name, topic, group, count)
        self._watcher.died(topic, group, count, first_ids)

    def suspected(self, topic: str, group: str, count: int, first_ids: Sequence[str]) -> None:
        """See ``Watcher.suspected``."""
        self._recorder.suspected(self._engine.name, topic, group, count)
        self._watcher.suspected(topic, group, count, first_ids)
