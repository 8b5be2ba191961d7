"""A history of one engine with a journal that has every kind of record in it, and what each verb has guaranteed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from duebus_server.domain.clock import HOUR, SECOND, ManualClock
from duebus_server.domain.schedules import FiringOutcome
from duebus_server.domain.views import TopicConfig
from duebus_server.engine.local import LocalEngine
from duebus_server.engine.local.journal import Fsync, Journal
from duebus_server.engine.local.journal.frames import Kind
from journal.disks import LoggingDisk
from support.builders import new_event
from support.engines import START_US, LocalHarness
from support.schedules import MOST, ScheduleDriver
from support.topics import TopicDriver

if TYPE_CHECKING:
    from pathlib import Path

    from duebus_server.domain.model import LeasedEvent
    from duebus_server.domain.schedules import ScheduleRecord

SEGMENT_BYTES = 1_200


class Outcome(StrEnum):
    """Whether an event is still held or gone."""

    HELD = "held"
    GONE = "gone"


@dataclass
class Checkpoint:
    """What a crash must preserve from here on: the state when a verb was answered.

    Attributes:
        position: the position in the disk's log.
        outcomes: the outcome of each event so far.
        schedules: the schedules, by name.
        pauses: until when keys of the default group are paused, by key.
    """

    position: int
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    schedules: dict[str, ScheduleRecord] = field(default_factory=dict)
    pauses: dict[str, int] = field(default_factory=dict)


class History:
    """The engine, and a checkpoint for each answer."""

    def __init__(self, path: Path) -> None:
        self.disk = LoggingDisk()
        self.clock = ManualClock(START_US)
        self.engine = LocalEngine(self.clock, TopicConfig(), make_journal(path, self.disk))
        harness = LocalHarness(TopicConfig())
        harness.clock, harness.engine = self.clock, self.engine
        self.topic = TopicDriver(harness)
        self.schedule = ScheduleDriver(self.topic, "kept")
        self.checkpoints = [Checkpoint(0)]

    def checkpoint(self, outcome: Outcome, *event_ids: str) -> None:
        """Add a checkpoint: a verb was answered, with this outcome for these events."""
        last = self.checkpoints[-1]
        outcomes = last.outcomes | dict.fromkeys(event_ids, outcome)
        self.checkpoints.append(replace(last, position=self.disk.position, outcomes=outcomes))

    async def schedules_checkpoint(self) -> None:
        """Add a checkpoint: a verb on schedules was answered."""
        schedules = {record.name: record for record in await self.engine.list_schedules("", MOST)}
        self.checkpoints.append(replace(self.checkpoints[-1], position=self.disk.position, schedules=schedules))

    async def dispatch(self, *event_ids: str, delay_us: int | None = None, key: str = "", request_id: str = "") -> None:
        """Dispatch events with chosen ids."""
        events = [new_event(event_id, delay_us=delay_us, key=key) for event_id in event_ids]
        await self.topic.dispatch(*events, request_id=request_id)
        self.checkpoint(Outcome.HELD, *event_ids)

    async def ack(self, *events: LeasedEvent, group: str = "default") -> None:
        """Ack events that no other group holds."""
        await self.topic.ack(*events, group=group)
        self.checkpoint(Outcome.GONE, *[event.event_id for event in events])

    async def save(self, schedule: ScheduleDriver) -> None:
        """Store a schedule that is long due."""
        await schedule.save(schedule.new(-HOUR))
        await self.schedules_checkpoint()

    async def fire(self) -> str:
        """Fire the schedule. Returns the id of its event."""
        assert await self.schedule.fire() is FiringOutcome.FIRED
        await self.schedules_checkpoint()
        event_id = self.checkpoints[-1].schedules[self.schedule.name].last_event_ids[-1]
        self.checkpoint(Outcome.HELD, event_id)
        return event_id

    async def pause_key(self, event: LeasedEvent, key: str) -> None:
        """Release an event and pause its key."""
        await self.topic.pause_key(event, for_us=HOUR)
        last = self.checkpoints[-1]
        pauses = last.pauses | {key: self.engine.now_us() + HOUR}
        self.checkpoints.append(replace(last, position=self.disk.position, pauses=pauses))

    async def run(self) -> None:
        """Everything that the journal records, three times over, so that segments are removed meanwhile."""
        await self.engine.start()
        await self.dispatch("unclaimed")
        await self.topic.configure(lease_us=HOUR, max_retries=1)
        await self.topic.join(grace_us=SECOND)
        await self.topic.join("viewer", "instance", ephemeral_us=SECOND)
        await self.topic.leave("viewer", "instance")
        await self.save(self.schedule)
        for turn in ("a", "b", "c"):
            await self.turn(turn)
        await self.engine.expire_leases()
        await self.fire()
        await self.dispatch("last")
        await self.engine.stop()

    async def turn(self, turn: str) -> None:
        """One event for each thing that can become of it."""
        names = [f"{turn}-{what}" for what in ("acked", "nacked", "dead", "lost", "purged", "redriven", "released")]
        await self.dispatch(*names, request_id=turn)
        await self.dispatch(f"{turn}-cancelled", f"{turn}-later", delay_us=HOUR)
        await self.dispatch(f"{turn}-paused", key=f"{turn}-key")
        fired = await self.fire()
        leased = {event.event_id: event for event in await self.topic.lease()}
        if turn == "a":
            await self.ack(leased["unclaimed"])
        acked, nacked, dead, lost, purged, redriven, released = (leased[name] for name in names)
        await self.topic.extend(acked)
        await self.ack(acked, leased[fired])
        await self.pause_key(leased[f"{turn}-paused"], f"{turn}-key")
        await self.topic.nack(nacked, error="failed", delay_us=HOUR)
        await self.topic.dead_letter(dead, purged, redriven, error="hopeless")
        await self.topic.release(released)
        await self.topic.redrive_named(redriven.event_id)
        await self.topic.purge_named(purged.event_id)
        self.checkpoint(Outcome.GONE, purged.event_id)
        await self.topic.cancel(f"{turn}-cancelled")
        self.checkpoint(Outcome.GONE, f"{turn}-cancelled")
        await self.topic.reschedule(f"{turn}-later", delay_us=2 * HOUR)
        await self.topic.pause()
        await self.topic.resume()
        await self.topic.join("other", "other", grace_us=SECOND)
        await self.topic.delete_group("other")
        await self.engine.expire_leases()
        await self.topic.shorten(SECOND)
        self.clock.advance(2 * SECOND)
        await self.topic.counts()  # the engine notices what ran out
        assert lost.event_id in leased
        deleted = ScheduleDriver(self.topic, f"{turn}-deleted")
        await self.save(deleted)
        await self.engine.delete_schedule(deleted.name)
        await self.schedules_checkpoint()
        other = TopicDriver(self.topic.harness)
        await other.dispatch(f"{turn}-elsewhere")
        await other.delete()


def make_journal(path: Path, disk: LoggingDisk) -> Journal:
    """A journal with small segments."""
    return Journal(path, Fsync.ALWAYS, disk=disk, segment_bytes=SEGMENT_BYTES)


KINDS = set(Kind) - {Kind.SKIPPED}
"""What a history must have in it: all that an engine records."""
