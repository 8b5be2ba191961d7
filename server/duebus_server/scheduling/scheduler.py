"""Fires the schedules of one engine when they are due. Nothing is polled; any number of replicas may do it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import structlog

from duebus_server.domain.clock import MILLISECOND, MINUTE, SECOND
from duebus_server.domain.errors import DueBusError
from duebus_server.domain.outage import Outage
from duebus_server.domain.schedules import ADVANCED, Firing, FiringOutcome, fills_answer
from duebus_server.scheduling.schedule import event_id, plan, retry_us, rfc3339

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from duebus_server.domain.clock import Clock, ManualClock, MovableClock, Timer
    from duebus_server.domain.model import NewEvent
    from duebus_server.domain.schedules import ScheduleRecord
    from duebus_server.engine.base import Engine
    from duebus_server.scheduling.schedule import Schedule

log = structlog.get_logger()

FIRED_AT_ONCE = 50
"""How many schedules one engine call fires. Bounded, because other calls wait meanwhile."""

BETWEEN_FIRINGS_US = 40 * MILLISECOND
"""The least time between two firings, so that many schedules that are spread over time fire together: waking up costs
more than firing.
"""

LISTED_AT_ONCE = 200

RETRY_US = SECOND
"""The pause after an engine call that failed."""

UNREADABLE_US = MINUTE
"""How long a schedule that this build can't read waits."""

NAMES_LOGGED = 10


class Codec(Protocol):
    """Reads what engines store of a schedule, and makes the events of firings."""

    def decode(self, body: bytes) -> Schedule:
        """A schedule.

        Raises:
            DueBusError: this build can't read it.
        """

    def event(self, schedule: Schedule, event_id: str, nominal_us: int) -> NewEvent:
        """The event of a nominal time."""


class Scheduler:
    """Sleeps until the first schedule of an engine is due, fires what is due, and so on.

    Args:
        engine: where the schedules are.
        clock: for timers.
        codec: reads schedules and makes events.
    """

    def __init__(self, engine: Engine, clock: Clock, codec: Codec) -> None:
        self._engine = engine
        self._clock = clock
        self._codec = codec
        self._wake = asyncio.Event()
        self._wakes_us: int | None = None
        self._next_firing_us = 0
        self._timer: Timer | None = None

    def due(self, at_us: int) -> None:
        """See ``Watcher.schedules_due``."""
        wait_us = max(at_us - self._engine.wall_us(), self._next_firing_us - self._clock.now_us())
        # What is due now does not wait for a timer, which is late if the host's clock was set.
        if wait_us > 0 and self._wakes_us is not None and self._wakes_us <= at_us:
            return
        if self._timer is not None:
            self._timer.cancel()
        if wait_us <= 0:
            self._wake_up()
        else:
            self._wakes_us = at_us
            self._timer = self._clock.call_at(self._clock.now_us() + wait_us, self._wake_up)

    def _wake_up(self) -> None:
        self._wakes_us = self._timer = None
        self._wake.set()

    async def run(self) -> None:
        """Fire schedules until cancelled."""
        outage = Outage()
        is_current = False
        try:
            while True:
                next_us: int | None = self._engine.wall_us() + RETRY_US
                try:
                    if not is_current:
                        await self._compute_again()
                        is_current = True
                    next_us = await self._fire_due()
                except DueBusError as error:
                    if outage.begins():
                        log.warning("schedules can't be fired", engine=self._engine.name, error=str(error))
                except Exception:  # one failure must not end the schedules
                    log.exception("unexpected error", engine=self._engine.name)
                else:
                    if outage.ends():
                        log.info("schedules are fired again", engine=self._engine.name)
                if next_us is not None:
                    self.due(next_us)
                await self._wake.wait()
                self._wake.clear()
        finally:
            if self._timer is not None:
                self._timer.cancel()

    async def advance(
        self, clock: ManualClock | MovableClock, by_us: int, handled: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Move the clock, and let each nominal time on the way fire at its own time.

        Args:
            clock: the engine's.
            by_us: by how much.
            handled: waited for after each firing, before the clock is moved further.
        """
        end_us = clock.now_us() + by_us
        at_us = await self._fire_due()
        while at_us is not None and at_us - self._engine.wall_us() <= end_us - clock.now_us():
            clock.advance(max(0, at_us - self._engine.wall_us()))
            at_us = await self._fire_due()
            if handled is not None:
                await handled()
        clock.advance(max(0, end_us - clock.now_us()))
        await self._fire_due()

    async def _fire_due(self) -> int | None:
        """Fire what is due. Returns when to look for the next; None if there is none."""
        while True:
            self._wake.clear()
            began_us = self._clock.now_us()
            due = await self._engine.due_schedules(FIRED_AT_ONCE)
            if not due.records:
                return due.next_due_us
            self._next_firing_us = began_us + BETWEEN_FIRINGS_US
            again_us = await self._fire(due.records)
            if again_us is not None:
                return again_us
            await asyncio.sleep(0)  # other calls come first

    async def _fire(self, records: Sequence[ScheduleRecord]) -> int | None:
        """Fire these schedules. Returns when to look for the next; None for at once, because others are late."""
        now_us = self._engine.wall_us()
        schedules: dict[str, Schedule] = {}
        firings: list[Firing] = []
        for record in records:
            try:
                schedules[record.name] = self._codec.decode(record.body)
            except DueBusError as error:
                log.error("a schedule can't be read, and waits", schedule=record.name, error=str(error))  # noqa: TRY400
                await self._postpone(record, now_us + UNREADABLE_US)
            else:
                firings.append(self._firing(schedules[record.name], record, now_us))
        outcomes = await self._engine.fire_schedules(firings)
        full = [firing for firing, outcome in zip(firings, outcomes, strict=True) if outcome is FiringOutcome.FULL]
        if full:
            await self._engine.fire_schedules([self._again(schedules[one.record.name], one) for one in full])
        advanced = [firing for firing, outcome in zip(firings, outcomes, strict=True) if outcome in ADVANCED]
        self._log_missed([firing for firing in (*advanced, *full) if firing.missed])
        now_us = self._engine.wall_us()
        if outcomes and all(outcome is FiringOutcome.EARLY for outcome in outcomes):
            return now_us + MILLISECOND
        is_late = any(firing.due_us is not None and firing.due_us <= now_us for firing in advanced)
        return None if is_late or fills_answer(records, FIRED_AT_ONCE) else now_us

    def _firing(self, schedule: Schedule, record: ScheduleRecord, now_us: int) -> Firing:
        """What a schedule that is due does next."""
        nominal_us, fires, missed = plan(schedule, record, now_us)
        next_us = schedule.rule.next_after(nominal_us)
        event = self._codec.event(schedule, event_id(record.name, nominal_us), nominal_us) if fires else None
        return Firing(
            record,
            nominal_us,
            event,
            schedule.overlap,
            missed,
            next_us,
            schedule.due_us(next_us),
            ends=schedule.is_over(record.runs + 1),
        )

    def _again(self, schedule: Schedule, firing: Firing) -> Firing:
        """Try a nominal time again later, because the topic is full. Those before it are missed."""
        record = firing.record
        if firing.missed or record.due_us == schedule.due_us(record.next_us):
            log.warning("a schedule waits: its topic is full", schedule=record.name, topic=record.topic)
        again_us = retry_us(schedule, firing.nominal_us, self._engine.wall_us())
        return replace(firing, event=None, next_us=firing.nominal_us, due_us=again_us)

    async def _postpone(self, record: ScheduleRecord, due_us: int) -> None:
        """Fire a schedule later, unless it has changed meanwhile."""
        await self._engine.save_schedule(replace(record, due_us=due_us), record.version, 0)

    def _log_missed(self, firings: Sequence[Firing]) -> None:
        if firings:
            log.warning(
                "schedules have missed nominal times",
                engine=self._engine.name,
                missed=sum(firing.missed for firing in firings),
                schedules=[firing.record.name for firing in firings[:NAMES_LOGGED]],
            )

    async def _compute_again(self) -> None:
        """Compute the next times again: the time zones of this build may have other rules."""
        after = ""
        while records := await self._engine.list_schedules(after, LISTED_AT_ONCE):
            after = records[-1].name
            for record in records:
                await self._compute_one_again(record)
            await asyncio.sleep(0)

    async def _compute_one_again(self, record: ScheduleRecord) -> None:
        now_us = self._engine.wall_us()
        if record.due_us is None or record.next_us is None or record.next_us <= now_us:
            return
        try:
            schedule = self._codec.decode(record.body)
        except DueBusError as error:
            log.error("a schedule can't be read", schedule=record.name, error=str(error))  # noqa: TRY400
            return
        next_us = schedule.rule.next_after(max(now_us, record.last_fired_us or 0))
        if next_us == record.next_us:
            return
        changed = replace(record, next_us=next_us, due_us=schedule.due_us(next_us))
        if await self._engine.save_schedule(changed, record.version, 0):
            log.warning(
                "the next time of a schedule has changed with the rules of its time zone",
                schedule=record.name,
                was=rfc3339(record.next_us),
                now=None if next_us is None else rfc3339(next_us),
            )
