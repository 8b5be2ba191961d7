"""One stream: it leases what its window has room for, and waits to be woken when there is nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog

from duebus_server.delivery.frames import GROUP_DELETED, TOPIC_DELETED, Closing, Deliveries, Frame, Heartbeat
from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import DispatcherNotWorking, NotFound
from duebus_server.domain.model import AdoptedLease, LeaseRef, NackAction, NackRef, SubscriberInfo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from duebus_server.delivery.waker import Waker
    from duebus_server.delivery.window import Window
    from duebus_server.domain.clock import Clock, Timer
    from duebus_server.domain.model import LeaseBatch
    from duebus_server.engine.base import Engine

HEARTBEAT_US = 10 * SECOND

HEARTBEAT_TICK_US = SECOND // 2
"""Heartbeats wait for the next full tick, so that those of many idle streams go out together: waking up costs more
than sending.
"""

RETRY_US = SECOND // 2
"""How soon a session looks for an engine again that is out of reach."""

log = structlog.get_logger()


def _not_waiting() -> None:
    """For a session that has no place in line: it waits for room, or to try again."""


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """What a subscriber asked for, with the defaults filled in.

    Attributes:
        lease_us: how long each delivery is leased.
        grace_us: how long leases last after the stream broke.
    """

    session_id: str
    topic: str
    group: str
    consumer: str
    lease_us: int
    grace_us: int


class Session:
    """One open stream of one group.

    Life: ``join``, then ``frames`` until the stream ends, then ``end``, whatever happened in between.
    """

    def __init__(self, engine: Engine, clock: Clock, options: SessionOptions, window: Window, waker: Waker) -> None:
        self.options = options
        self.window = window
        self._engine = engine
        self._clock = clock
        self._waker = waker
        self._closing: Closing | None = None
        self._resting = False
        self._has_taken_all = False
        self._stirred = asyncio.Event()
        self._sent_us = clock.now_us()
        self._backlog = 0
        self._ended_early: set[int] = set()
        self._heartbeat: Timer | None = None
        self._retry: Timer | None = None
        # Puts the session back where it waited, with what it knew when it last leased.
        self._wait_again: Callable[[], None] = _not_waiting

    async def join(self, held: Sequence[LeaseRef]) -> list[LeaseRef]:
        """Subscribe, taking over the leases that the worker still holds.

        Returns:
            Those that were lost.
        """
        topic, group, session_id = self.options.topic, self.options.group, self.options.session_id
        info = SubscriberInfo(session_id, self.options.consumer, self._engine.now_us())
        await self._engine.join(topic, group, info)
        if not held:
            return []
        try:
            adopted = await self._engine.adopt(topic, group, session_id, held, self.options.lease_us)
        except NotFound:  # deleted at this very moment; the first lease will find out as well
            return list(held)
        lost: list[LeaseRef] = []
        for lease, result in zip(held, adopted, strict=True):
            if isinstance(result, AdoptedLease):
                self.window.hold(lease.fencing_token, lease.event_id, result.size)
            else:
                lost.append(lease)
        return lost

    async def frames(self) -> AsyncIterator[Frame]:
        """What to send, for as long as the stream is open; the last one is Closing when the server ends it."""
        self._arm_heartbeat()
        while self._closing is None:
            frame = await self._next_frame()
            if frame is not None:
                self._sent_us = self._clock.now_us()
                yield frame
        yield self._closing

    def close_soon(self, closing: Closing) -> None:
        """End the stream with this frame, as soon as what is being sent is sent. The first such word counts."""
        self._closing = self._closing or closing
        self.wake()

    def leases_ended(self, fencing_tokens: Sequence[int]) -> None:
        """The engine's word: there may be room again."""
        self._ended_early.update(fencing_tokens)
        self.window.let_go(fencing_tokens)
        if not self._has_taken_all:
            self.wake()

    async def end(self) -> None:
        """The stream is over. Unless the server closed it, the subscriber has vanished: its leases run out soon."""
        for timer in (self._heartbeat, self._retry):
            if timer is not None:
                timer.cancel()
        self._waker.step_out(self.wake)
        # It may have been this session's turn; another can lease in its place.
        self._waker.due(self._engine.now_us())
        topic, group, session_id = self.options.topic, self.options.group, self.options.session_id
        try:
            if self._closing is None:
                await self._engine.shorten(topic, group, session_id, self.options.grace_us)
            await self._engine.leave(topic, group, session_id)
        except DispatcherNotWorking as error:  # the engine sees to it when it works again
            log.warning("session ended while the engine was away", session_id=session_id, error=str(error))

    async def release(self) -> int:
        """Give back what is still held, without counting an attempt; how many that were."""
        nacks = [NackRef(lease, NackAction.RELEASE) for lease in self.window.held()]
        results = await self._engine.nack(self.options.topic, self.options.group, nacks) if nacks else []
        return results.count(None)

    def wake(self) -> None:
        """There may be something to lease, room for it, or an end to it: look again."""
        self._resting = self._has_taken_all = False
        self._stirred.set()

    async def _next_frame(self) -> Frame | None:
        """Deliveries if there are any; else rest until woken, or until a heartbeat is due."""
        if self._resting:
            self._wait_again()
        else:
            self._resting = True
            frame = await self._try_lease()
            if frame is not None:
                self._resting = self._has_taken_all
                return frame
        await self._stirred.wait()
        self._stirred.clear()
        if self._resting:
            return await self._heartbeat_if_due()
        self._waker.step_out(self.wake)
        return None

    async def _try_lease(self) -> Deliveries | None:
        """Lease; while the engine is out of reach the stream stays open and tries again. Where there is nothing to
        lease from any more, it ends, also when the engine's word of that was lost.
        """
        try:
            return await self._lease()
        except DispatcherNotWorking as error:
            log.warning("lease failed", session_id=self.options.session_id, error=str(error))
            if self._retry is not None:
                self._retry.cancel()
            self._retry = self._clock.call_at(self._clock.now_us() + RETRY_US, self.wake)
            return None
        except NotFound as error:
            self.close_soon(GROUP_DELETED if "group" in error.metadata else TOPIC_DELETED)
            return None

    async def _lease(self) -> Deliveries | None:
        """Take what is due and fits; where nothing does, arrange to be woken."""
        self._wait_again = _not_waiting
        self._has_taken_all = False
        if not self.window.has_room():
            return None  # `leases_ended` wakes
        options = self.options
        seen_news = self._waker.news
        request = self.window.request(options.lease_us)
        self._ended_early.clear()
        batch = await self._engine.lease(options.topic, options.group, options.session_id, request)
        if batch.events:
            return self._take(batch, seen_news)
        if batch.left_for_want_of_room and batch.next_due_us is not None:
            self._wait_again = partial(self._waker.sit_out, self.wake, batch.next_due_us, seen_news)
        else:
            self._wait_for_more(batch.next_due_us, seen_news)
        self._wait_again()
        return None

    def _take(self, batch: LeaseBatch, seen_news: int) -> Deliveries | None:
        """Hold what was leased. Where that was all there is, and no word has come since, nobody need look for more."""
        is_news = self._waker.news != seen_news
        self._waker.took(batch.next_due_us)
        # The answer may come after word that some of these leases have ended; they would never be let go.
        held = [event for event in batch.events if event.fencing_token not in self._ended_early]
        self.window.hold_all(held)
        is_more_due = batch.next_due_us is not None and batch.next_due_us <= self._engine.now_us()
        if held and self.window.has_room() and not (is_news or is_more_due or batch.left_for_want_of_room):
            self._wait_for_more(batch.next_due_us, self._waker.news)
        return Deliveries(held) if held else None

    def _wait_for_more(self, next_due_us: int | None, seen_news: int) -> None:
        """There was room for all there is, so that only news matters from here on, and no lease that ends."""
        self._has_taken_all = True
        self._wait_again = partial(self._waker.line_up, self.wake, next_due_us, seen_news)

    async def _heartbeat_if_due(self) -> Heartbeat | None:
        if self._clock.now_us() < self._sent_us + HEARTBEAT_US:
            return None
        # While it is being sent, a turn would be lost on this session; afterwards it waits again, or looks if there
        # was news.
        self._waker.step_out(self.wake)
        try:
            self._backlog = await self._engine.backlog(self.options.topic, self.options.group)
        except DispatcherNotWorking as error:
            log.warning("backlog unknown", session_id=self.options.session_id, error=str(error))
        return Heartbeat(self._engine.now_us(), self._backlog)

    def _arm_heartbeat(self) -> None:
        """One timer, set anew when it fires: re-arming it with every frame would cost more than the frame."""
        next_us = max(self._sent_us + HEARTBEAT_US, self._clock.now_us() + SECOND)
        ticks = -(-next_us // HEARTBEAT_TICK_US)
        self._heartbeat = self._clock.call_at(ticks * HEARTBEAT_TICK_US, self._heartbeat_due)

    def _heartbeat_due(self) -> None:
        self._stirred.set()
        self._arm_heartbeat()
