"""All streams of one engine on this replica: opens them, reserves their room for dispatches and acks, forwards the
engine's reports, drains them.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from duebus_server.delivery.ages import StreamAges
from duebus_server.delivery.frames import DRAINING, GROUP_DELETED, TOPIC_DELETED
from duebus_server.delivery.session import Session
from duebus_server.delivery.waker import Waker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from duebus_server.delivery.options import SessionOptions
    from duebus_server.delivery.window import Window
    from duebus_server.domain.clock import Clock
    from duebus_server.domain.errors import DueBusError
    from duebus_server.domain.model import (
        DispatchAnswer,
        DispatchRequest,
        LeaseBatch,
        LeaseFailureReason,
        LeaseRef,
        Reservation,
    )
    from duebus_server.engine.base import Engine

log = structlog.get_logger()

LEASE_ANSWER_TIMEOUT_S = 0.02
"""The longest that a dispatch waits for running lease calls."""


class Streams:
    """The open streams, and those closed by a drain whose leases are still held.

    The engine reports to it, as its watcher.

    Args:
        engine: the engine.
        clock: for timers.
        schedules_due: see ``Watcher.schedules_due``.
        max_age_us: the greatest age of a stream, in microseconds; 0: unlimited.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        schedules_due: Callable[[int], None] = lambda _at_us: None,
        max_age_us: int = 0,
    ) -> None:
        self.schedules_due = schedules_due
        self._engine = engine
        self._clock = clock
        self._sessions: dict[str, Session] = {}
        # By topic and group.
        self._wakers: dict[str, dict[str, Waker]] = {}
        self._open_in: dict[tuple[str, str], int] = {}
        self._ages = StreamAges(engine, clock, max_age_us)
        self._draining = False
        self._settled = asyncio.Event()
        engine.watch(self)

    def open(self, options: SessionOptions, window: Window) -> Session:
        """Open a session. Whoever opens one must close it."""
        group = (options.topic, options.group)
        wakers = self._wakers.setdefault(options.topic, {})
        if options.group not in wakers:
            wakers[options.group] = Waker(self._clock, self._engine.now_us)
        session = Session(self._engine, self._clock, options, window, wakers[options.group])
        self._sessions[options.session_id] = session
        self._open_in[group] = self._open_in.get(group, 0) + 1
        if self._draining:
            session.close_soon(DRAINING)
        if not options.is_pull:
            self._ages.opened(session)
        return session

    async def close(self, session: Session) -> None:
        """Close a session. During a drain it is kept until its leases are settled, unless they outlast it."""
        self._close_waker(session.options.topic, session.options.group)
        if not session.options.is_pull:
            self._ages.closed(session)
        try:
            await session.end()
        finally:
            if not self._draining or session.keeps_leases:
                del self._sessions[session.options.session_id]
            self._check_settled()

    # --- dispatches and acks that lease in the same step --------------------------------------------------------------

    async def dispatch(self, topic: str, requests: Sequence[DispatchRequest]) -> list[DispatchAnswer | DueBusError]:
        """Dispatch events. One waiting session of each group, if there is one, reserves its room, so that the engine
        may hand events over to it in the same step. Returns and raises as ``Engine.dispatch``.
        """
        reservations = await self._reserve(topic, requests)
        try:
            return await self._engine.dispatch(topic, requests, reservations)
        finally:
            for reservation in reservations:
                session = self._sessions.get(reservation.session_id)
                if session is not None:
                    session.end_reservation()

    async def ack(self, topic: str, group: str, leases: Sequence[LeaseRef]) -> list[LeaseFailureReason | None]:
        """Ack. If that makes room in the full window of a session, the engine leases to it in the same step. Returns
        and raises as ``Engine.ack``.
        """
        waker = self._wakers.get(topic, {}).get(group)
        refill = waker.refill(leases) if waker is not None else None
        try:
            return await self._engine.ack(topic, group, leases, refill)
        finally:
            session = self._sessions.get(refill.session_id) if refill is not None else None
            if session is not None:
                session.end_reservation()

    async def _reserve(self, topic: str, requests: Sequence[DispatchRequest]) -> list[Reservation]:
        """Room for what is due at once; none if nothing is.

        A session that is leasing is about to know whether it has room, so a dispatch waits a moment for its answer.
        Otherwise the two would keep missing each other, and nothing would be handed over.
        """
        wakers = self._wakers.get(topic)
        if wakers is None or not any(event.is_due_at_once for one in requests for event in one.events):
            return []
        if any(waker.may_get_room for waker in wakers.values()):
            with suppress(TimeoutError):
                async with asyncio.timeout(LEASE_ANSWER_TIMEOUT_S):
                    for waker in list(wakers.values()):
                        await waker.room()
        found = [waker.reserve() for waker in self._wakers.get(topic, {}).values()]
        return [reservation for reservation in found if reservation is not None]

    # --- the engine's watcher ---------------------------------------------------------------------------------------

    def due(self, topic: str, group: str, at_us: int) -> None:
        """See ``Watcher.due``."""
        waker = self._wakers.get(topic, {}).get(group)
        if waker is not None:
            waker.due(at_us)

    def leased(self, topic: str, group: str, session_id: str, batch: LeaseBatch) -> None:  # noqa: ARG002  # for others
        """See ``Watcher.leased``."""
        session = self._sessions.get(session_id)
        if session is not None:
            session.leased(batch)

    def leases_ended(self, session_id: str, fencing_tokens: Sequence[int]) -> None:
        """See ``Watcher.leases_ended``."""
        session = self._sessions.get(session_id)
        if session is not None:
            session.leases_ended(fencing_tokens)
            self._check_settled()

    def leases_ran_out(self, session_id: str, fencing_tokens: Sequence[int]) -> None:
        """See ``Watcher.leases_ran_out``."""
        session = self._sessions.get(session_id)
        if session is not None:
            session.leases_ran_out(fencing_tokens)
            self._check_settled()

    def leases_extended(self, session_id: str) -> None:
        """See ``Watcher.leases_extended``."""
        session = self._sessions.get(session_id)
        if session is not None:
            session.leases_extended()

    def died(self, topic: str, group: str, count: int, first_ids: Sequence[str]) -> None:
        """See ``Watcher.died``. One log line per step, with event ids for the operator."""
        log.warning(
            "events are dead", engine=self._engine.name, topic=topic, group=group, count=count, event_ids=first_ids
        )

    def suspected(self, topic: str, group: str, count: int, first_ids: Sequence[str]) -> None:
        """See ``Watcher.suspected``. One log line per step, as in ``died``."""
        log.warning(
            "events are suspects: their leases ran out twice, so a stream gets one of them at a time",
            engine=self._engine.name,
            topic=topic,
            group=group,
            count=count,
            event_ids=first_ids,
        )

    def deleted(self, topic: str, group: str | None) -> None:
        """See ``Watcher.deleted``. Closes the streams of the group, or of the whole topic."""
        closing = TOPIC_DELETED if group is None else GROUP_DELETED
        for session in self._sessions.values():
            if session.options.topic == topic and group in (None, session.options.group):
                session.close_soon(closing)

    def limited(self, topic: str, group: str) -> None:
        """See ``Watcher.limited``."""
        if group not in self._wakers.get(topic, {}):
            return
        for session in self._sessions.values():
            options = session.options
            if (options.topic, options.group) == (topic, group) and not options.is_pull:
                session.limit_reported()

    # --- drain ------------------------------------------------------------------------------------------------------

    async def drain(self, timeout_us: int) -> int:
        """Close all streams, wait until their leases are settled, and release those that are not settled in time.

        Args:
            timeout_us: how long to wait, in microseconds.

        Returns:
            How many leases were released.
        """
        self._draining = True
        self._ages.drain()
        for session in self._sessions.values():
            session.close_soon(DRAINING)
        self._check_settled()
        if timeout_us:
            timer = self._clock.call_at(self._clock.now_us() + timeout_us, self._settled.set)
            await self._settled.wait()
            timer.cancel()
        return sum(await asyncio.gather(*[session.release() for session in self._sessions.values()]))

    def _check_settled(self) -> None:
        """End the wait of a drain once no lease is held and no lease call is running."""
        if self._draining and all(session.is_settled for session in self._sessions.values()):
            self._settled.set()

    def _close_waker(self, topic: str, group: str) -> None:
        """Remove the waker with the last session of its group."""
        self._open_in[topic, group] -= 1
        if not self._open_in[topic, group]:
            del self._open_in[topic, group]
            self._wakers[topic].pop(group).close()
            if not self._wakers[topic]:
                del self._wakers[topic]
