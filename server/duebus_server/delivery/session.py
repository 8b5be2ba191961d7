"""One stream: it leases what its window has room for. When nothing is due, it waits to be woken. While it waits, a
dispatch may reserve its room and hand events over to it. While its window is full, an ack may reserve the room that it
makes, and lease to it in the same step.

::

                               +------- took some, and there may be more ------+
                               v                                               |
    JOINING --joined--> READY_TO_LEASE --has room----------------------> LEASING
                        | ^  ^                                           | | |
                        | |  +-- more is due ------------- WAITING <-----+ | |  took all there was
                        | |  |                              |  ^           | |
                        | |  |        a dispatch reserves its |  | got all    | |
                        | |  |                    room       v  | there was  | |
                        | |  +-- there may be more ------- RESERVED        | |
                        | +----- it is gone, or room ----- TOO_LARGE <-----+ |  what is due does not fit
                        | +----- half a second later ----- RETRYING <--------+  the engine can't be reached
                        | +----- leases ended ------------ FULL --an ack reserves the room that it makes--> RESERVED
                        +--no room-------------------------^

    JOINING --limit_reported--> JOINING_LIMITED --joined--> READY_TO_LEASE, or closed if the answer knew of no limit
    between two steps: --close_soon--> CLOSING, once no room is reserved
    from every stage:  --end--> ENDED, once no room is reserved
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING

import structlog

from duebus_server.delivery.frames import (
    GROUP_DELETED,
    REBALANCE,
    REBALANCE_GRACE_US,
    TOPIC_DELETED,
    WAITED,
    Closing,
    Deliveries,
    Frame,
    Heartbeat,
)
from duebus_server.delivery.last_lease import LastLease, first
from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import DispatcherNotWorking, NotFound
from duebus_server.domain.model import AdoptedLease, LeaseRef, NackAction, NackRef, Reservation, SubscriberInfo

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Sequence

    from duebus_server.delivery.options import SessionOptions
    from duebus_server.delivery.waker import Waker
    from duebus_server.delivery.window import Window
    from duebus_server.domain.clock import Clock, Timer
    from duebus_server.domain.model import LeaseBatch, LeasedEvent, LeaseRequest, Refill
    from duebus_server.engine.base import Engine

HEARTBEAT_US = 10 * SECOND

HEARTBEAT_TICK_US = SECOND // 2
"""Heartbeats wait for the next full tick, so that those of many idle streams go out together: waking up costs more
than sending.
"""

RETRY_US = SECOND // 2
"""How long a session waits before it asks an unreachable engine again."""

log = structlog.get_logger()


class Stage(Enum):
    """What a session is doing or waiting for."""

    JOINING = auto()
    JOINING_LIMITED = auto()
    """As JOINING, and a limit of the group was reported, which the answer to ``join`` may not know yet."""
    READY_TO_LEASE = auto()
    LEASING = auto()
    """A lease call is running: its answer may bring events."""
    WAITING = auto()
    """It has leased everything that was due. Once that is sent, it waits in the waker's queue."""
    RESERVED = auto()
    """A dispatch or an ack that may lease events to it is running. Until that ends, the session neither leases nor
    leaves."""
    TOO_LARGE = auto()
    """The event that is due does not fit. The session waits for leases to end, or for another event to come first."""
    RETRYING = auto()
    FULL = auto()
    CLOSING = auto()
    """The last frame is being sent. Nothing more is leased."""
    ENDED = auto()


IDLE = (Stage.WAITING, Stage.TOO_LARGE, Stage.RETRYING, Stage.FULL)
"""The stages in which a session sends nothing but heartbeats until it is woken."""

UNANSWERED = (Stage.JOINING, Stage.JOINING_LIMITED, Stage.LEASING, Stage.RESERVED)
"""The stages in which an answer that brings leases may be under way."""


class Session:
    """One open stream of one group.

    Call ``join``, then ``frames`` until the stream ends, and always ``end``.

    Attributes:
        keeps_leases: its leases stay as they are when it ends.
        limited: from ``join`` on: whether every delivery counts for a limit of the group.
    """

    def __init__(self, engine: Engine, clock: Clock, options: SessionOptions, window: Window, waker: Waker) -> None:
        self.options = options
        self.window = window
        self.keeps_leases = False
        self.limited = False
        self._engine = engine
        self._clock = clock
        self._waker = waker
        self._stage = Stage.JOINING
        self._closing: Closing | None = None
        self._woken = asyncio.Event()
        self._sent_us = clock.now_us()
        self._backlog = 0
        # Handed over to it and not sent yet.
        self._unsent: list[LeasedEvent] = []
        self._last = LastLease(with_suspect=True, seen_changes=0)
        # Whether the last answer left something that is due.
        self._has_more = False
        self._heartbeat: Timer | None = None
        self._retry: Timer | None = None
        self._timeout: Timer | None = None

    @property
    def is_settled(self) -> bool:
        """Whether it holds no lease and expects no answer that could bring one."""
        return not len(self.window) and self._stage not in UNANSWERED

    async def join(self, held: Sequence[LeaseRef]) -> list[LeaseRef]:
        """Subscribe, and take over the leases that the worker still holds.

        Returns:
            The leases that were lost.
        """
        topic, group, session_id = self.options.topic, self.options.group, self.options.session_id
        ephemeral_us = self.options.grace_us if self.options.ephemeral else None
        info = SubscriberInfo(
            session_id,
            self.options.consumer,
            self._engine.now_us(),
            ephemeral_us=ephemeral_us,
            grace_us=self.options.lease_us if self.options.is_pull else self.options.grace_us,
            is_pull=self.options.is_pull,
        )
        self.limited = await self._engine.join(topic, group, info)
        lost = await self._adopt(held) if held else []
        was_reported = self._stage is Stage.JOINING_LIMITED
        self._stage = Stage.READY_TO_LEASE
        if was_reported:
            self.limit_reported()
        return lost

    async def frames(self) -> AsyncGenerator[Frame, None]:
        """The frames to send while the stream is open. The last one is Closing if the server ends it."""
        self._arm_heartbeat()
        while self._closing is None or self._stage is Stage.RESERVED or self._unsent:
            frame = await self._next_frame()
            if frame is not None:
                self._sent_us = self._clock.now_us()
                yield frame
        self._stage = Stage.CLOSING
        self._leave_queue()
        yield self._closing

    def reserve(self) -> Reservation | None:
        """Reserve its room for a dispatch, if it waits and has room. ``end_reservation`` must follow.

        Returns:
            The room; None if a dispatch can't have it.
        """
        if self._stage is not Stage.WAITING or self._closing is not None or not self.window.has_room():
            return None
        return Reservation(self.options.group, self.options.session_id, self._begin(Stage.RESERVED))

    def refill(self, settled: Sequence[LeaseRef]) -> Refill | None:
        """Reserve the room that these leases leave for the ack that settles them, if the window is full and something
        is left to lease. ``end_reservation`` must follow.

        Returns:
            The room; None if the ack can't have it, or makes none.
        """
        is_full = self._stage in (Stage.FULL, Stage.READY_TO_LEASE) and self._closing is None
        options = self.options
        refill = self.window.refill(settled, options.session_id, options.lease_us) if is_full else None
        if refill is not None:
            self._last = LastLease(refill.with_suspect, self._waker.changes)
            self._stage = Stage.RESERVED
        return refill

    def leased(self, batch: LeaseBatch) -> None:
        """The dispatch or the ack that reserved its room has leased these events to it, possibly none."""
        self._unsent += self._take(batch)
        self._woken.set()

    def end_reservation(self) -> None:
        """The dispatch or the ack has ended. If ``leased`` was not called, it may have leased events all the same: the
        next lease returns them.
        """
        next_due_us = self._last.next_due_us
        is_more_due = next_due_us is not None and next_due_us <= self._engine.now_us()
        self._wait_or_lease(Stage.WAITING, lease_again=is_more_due or not self._last.is_answered)
        self._woken.set()

    def close_after(self, wait_us: int) -> None:
        """End the stream after this time. What is leased first, or is being leased then, is still sent."""
        self._timeout = self._clock.call_at(self._clock.now_us() + wait_us, partial(self.close_soon, WAITED))

    def close_soon(self, closing: Closing) -> None:
        """End the stream with this frame, after the one that is being sent. Only the first call counts."""
        self._closing = self._closing or closing
        self.wake()

    def limit_reported(self) -> None:
        """The group has a limit now. Ask a subscriber that does not know it to subscribe again: what it
        prefetches would count for the limit.
        """
        if self._stage in (Stage.JOINING, Stage.JOINING_LIMITED):
            self._stage = Stage.JOINING_LIMITED
        elif not self.limited:
            self.close_soon(REBALANCE)

    def leases_ended(self, fencing_tokens: Sequence[int]) -> None:
        """Drop leases that were settled: there may be room again."""
        self.window.stalled = False
        self._drop_leases(fencing_tokens)

    def leases_ran_out(self, fencing_tokens: Sequence[int]) -> None:
        """Drop leases that have run out. The worker may be stalled and hold events that others could handle, so it gets
        one event at a time until it settles or extends a lease.
        """
        if self._drop_leases(fencing_tokens) and not self.window.stalled and self._closing is None:
            self.window.stalled = True
            log.warning(
                "leases ran out, so the stream gets one event at a time until it settles or extends something",
                topic=self.options.topic,
                group=self.options.group,
                consumer=self.options.consumer,
                session_id=self.options.session_id,
                count=len(fencing_tokens),
            )

    def leases_extended(self) -> None:
        """The worker has extended leases, so it is not stalled."""
        if self.window.stalled:
            self.window.stalled = False
            self.wake()

    async def end(self) -> None:
        """End the session. If the server did not close the stream, the subscriber is gone: its leases run out soon.

        Those of a pull that failed run out too, and those of a subscriber that was asked to subscribe again and does
        not.
        """
        for timer in (self._heartbeat, self._retry, self._timeout):
            if timer is not None:
                timer.cancel()
        while self._stage is Stage.RESERVED:
            self._woken.clear()
            await self._woken.wait()
        if self._stage is not Stage.CLOSING:
            self._leave_queue()
        topic, group, session_id = self.options.topic, self.options.group, self.options.session_id
        try:
            # It leaves first, so that no late command leases or adopts anything after its leases were shortened.
            await self._if_reachable(self._engine.leave(topic, group, session_id, self._returns_in_us()))
            await self._release_unsent()
        finally:
            grace_us = self._grace_us()
            if grace_us is not None:
                await self._if_reachable(self._engine.shorten(topic, group, session_id, grace_us))
            self._stage = Stage.ENDED

    def _returns_in_us(self) -> int:
        """How much later than after a broken stream its subscriber may return."""
        if self._closing is REBALANCE:
            return REBALANCE_GRACE_US
        return self._closing.reconnect_after_us if self._closing else 0

    def _grace_us(self) -> int | None:
        """How long its leases last at most, now that it has ended; None: they stay as they are."""
        if self.keeps_leases:
            return None
        if self._closing is None or self.options.is_pull:
            return self.options.grace_us
        return max(self.options.grace_us, REBALANCE_GRACE_US) if self._closing is REBALANCE else None

    async def release(self) -> int:
        """Release the leases that it still holds; the attempts do not count.

        Returns:
            How many leases it released; 0 if the engine can't be reached.
        """
        return await self._release(self.window.held())

    async def _release(self, leases: Sequence[LeaseRef]) -> int:
        nacks = [NackRef(lease, NackAction.RELEASE) for lease in leases]
        try:
            results = await self._engine.nack(self.options.topic, self.options.group, nacks) if nacks else []
        except DispatcherNotWorking as error:
            log.warning("leases not released", session_id=self.options.session_id, error=str(error))
            return 0
        return results.count(None)

    def _drop_leases(self, fencing_tokens: Sequence[int]) -> int:
        """Drop leases from the window, and lease again if that made room. Returns how many it held."""
        had_suspect = self.window.has_suspect()
        count = self.window.drop(fencing_tokens)
        if self._stage in UNANSWERED:
            self._last.ended_early.update(fencing_tokens)
        elif self._stage is not Stage.WAITING or (had_suspect and not self.window.has_suspect()):
            self.wake()
        return count

    def wake(self) -> None:
        """Wake the session: there may be something to lease, or room, or the stream is to end."""
        if self._stage in IDLE:
            self._stage = Stage.READY_TO_LEASE
            self._waker.stop_waiting(self)
        self._woken.set()

    async def _adopt(self, held: Sequence[LeaseRef]) -> list[LeaseRef]:
        """Take over leases. Returns those that were lost or have ended meanwhile."""
        options = self.options
        try:
            adopted = await self._engine.adopt(options.topic, options.group, options.session_id, held, options.lease_us)
        except NotFound:  # the group was just deleted; the first lease fails too
            return list(held)
        lost: list[LeaseRef] = []
        for lease, result in zip(held, adopted, strict=True):
            if isinstance(result, AdoptedLease) and lease.fencing_token not in self._last.ended_early:
                self.window.hold(lease.fencing_token, lease.event_id, result.size, is_suspect=result.is_suspect)
            else:
                lost.append(lease)
        return lost

    async def _next_frame(self) -> Frame | None:
        """Take one step: send what was handed over, lease, or wait until the session is woken or a heartbeat is due."""
        if self._unsent:
            unsent, self._unsent = self._unsent, []
            held = [event for event in unsent if self.window.holds(event.fencing_token)]
            return Deliveries(held) if held else None
        if self._stage is Stage.READY_TO_LEASE:
            return await self._try_lease()
        self._join_queue()
        await self._woken.wait()
        self._woken.clear()
        if self._stage in IDLE and not self._unsent:
            return await self._heartbeat_if_due()
        return None

    async def _try_lease(self) -> Deliveries | None:
        """Lease. An unreachable engine is asked again. A group that is gone ends the stream, even if the engine's
        notification was lost.
        """
        try:
            return await self._lease()
        except DispatcherNotWorking as error:
            log.warning("lease failed", session_id=self.options.session_id, error=str(error))
            if self._retry is not None:
                self._retry.cancel()
            self._stage = Stage.RETRYING
            self._retry = self._clock.call_at(self._clock.now_us() + RETRY_US, self.wake)
        except NotFound as error:
            self.close_soon(GROUP_DELETED if "group" in error.metadata else TOPIC_DELETED)
        return None

    async def _lease(self) -> Deliveries | None:
        """Lease what is due and fits."""
        if not self.window.has_room():
            self._stage = Stage.FULL
            self._wait_for_room()
            return None
        options = self.options
        self._waker.stop_waiting(self)
        request = self._begin(Stage.LEASING)
        expects_all = not self._has_more
        if expects_all:
            self._waker.lease_began()
        try:
            batch = await self._engine.lease(options.topic, options.group, options.session_id, request)
            held = self._take(batch)
            is_too_large = not batch.events and batch.has_more and batch.next_due_us is not None
            has_more_room = bool(self._last.ended_early)
            stage = Stage.TOO_LARGE if is_too_large else Stage.WAITING
            self._wait_or_lease(stage, lease_again=is_too_large and has_more_room)
        finally:
            if expects_all:
                self._waker.lease_answered()
        return Deliveries(held) if held else None

    def _begin(self, stage: Stage) -> LeaseRequest:
        """Begin a lease or a reservation. Returns what there is room for."""
        request = self.window.request(self.options.lease_us)
        self._last = LastLease(request.with_suspect, self._waker.changes)
        self._stage = stage
        return request

    def _take(self, batch: LeaseBatch) -> list[LeasedEvent]:
        """Record an answer. Returns the events that it brings, without those whose leases have ended."""
        self._waker.is_paused, self._has_more = batch.is_paused, batch.has_more
        group_due_us = self._group_due(batch)
        held = self._last.answer(batch, group_due_us, self._engine.now_us(), self._waker.changes)
        if batch.events:
            self._waker.leased(group_due_us)
            self._last.seen_changes = self._waker.changes
            self.window.hold_all(held)
        return held

    def _wait_or_lease(self, stage: Stage, *, lease_again: bool) -> None:
        """Choose the next stage after a lease or a reservation.

        Args:
            stage: the stage to wait in, if there is nothing more to lease.
            lease_again: lease again in any case.
        """
        # If a suspect's lease has ended meanwhile, another suspect may follow.
        may_take_suspect = not (self._last.with_suspect or self.window.has_suspect())
        if lease_again or self._last.may_be_more or may_take_suspect or not self.window.has_room():
            self._stage = Stage.READY_TO_LEASE
            self._wait_for_room()
            return
        self._stage = stage
        if stage is Stage.WAITING:
            self._waker.wait_after_sending(self)

    def _wait_for_room(self) -> None:
        """Let an ack refill the window, if it is full and something is left to lease."""
        if self._has_more and not self.window.has_room():
            self._waker.wait_for_room(self)

    def _group_due(self, batch: LeaseBatch) -> int | None:
        """When the group next has something to lease, for any session. A suspect that is due, which this session can't
        take, is offered to another session now, and doesn't count.
        """
        times_us = [batch.next_due_us, batch.suspect_due_us]
        if batch.suspect_due_us is not None and batch.suspect_due_us <= self._engine.now_us():
            self._waker.suspect_due()
            times_us.pop()
        return first(times_us)

    def _join_queue(self) -> None:
        """Join the waker's queue, in the stages that wait for it; harmless if already queued."""
        last = self._last
        if self._stage is Stage.WAITING:
            takes_suspects = not self.window.has_suspect()
            self._waker.wait(self, last.next_due_us, last.seen_changes, takes_suspects=takes_suspects)
        elif self._stage is Stage.TOO_LARGE and last.next_due_us is not None:
            self._waker.wait_for_another(self, last.next_due_us, last.seen_changes)

    def _leave_queue(self) -> None:
        """Leave the waker's queue. If the session was woken, another one leases in its place."""
        self._waker.stop_waiting(self)
        self._waker.due(self._engine.now_us())

    async def _heartbeat_if_due(self) -> Heartbeat | None:
        if self._clock.now_us() < self._sent_us + HEARTBEAT_US:
            return None
        # If it were woken while the heartbeat is being sent, nobody would lease. It joins the queue again afterwards.
        self._waker.stop_waiting(self)
        return Heartbeat(self._engine.now_us(), await self._count_backlog())

    async def _release_unsent(self) -> None:
        """Release what was handed over to it and never sent; the attempts do not count."""
        unsent, self._unsent = self._unsent, []
        await self._release(
            [
                LeaseRef(event.event_id, event.fencing_token)
                for event in unsent
                if self.window.holds(event.fencing_token)
            ]
        )

    async def _count_backlog(self) -> int:
        """The events that are ready, or the last known number if the engine can't be reached.

        A session that waits for something to become due need not ask: an idle stream costs the engine nothing.
        """
        if self._stage is Stage.WAITING and not (self._waker.is_paused or self.window.has_suspect()):
            self._backlog = 0
            return 0
        try:
            self._backlog = await self._engine.backlog(self.options.topic, self.options.group)
        except DispatcherNotWorking as error:
            log.warning("backlog unknown", session_id=self.options.session_id, error=str(error))
        return self._backlog

    def _arm_heartbeat(self) -> None:
        """One timer, restarted when it fires: restarting it with every frame would cost more than the frame."""
        next_us = max(self._sent_us + HEARTBEAT_US, self._clock.now_us() + SECOND)
        ticks = -(-next_us // HEARTBEAT_TICK_US)
        self._heartbeat = self._clock.call_at(ticks * HEARTBEAT_TICK_US, self._heartbeat_due)

    def _heartbeat_due(self) -> None:
        self._woken.set()
        self._arm_heartbeat()

    async def _if_reachable(self, call: Awaitable[None]) -> None:
        """Report something to the engine. If it is unreachable, it has noted the report, and acts on it later."""
        try:
            await call
        except DispatcherNotWorking as error:
            log.warning("session ended without the engine", session_id=self.options.session_id, error=str(error))
