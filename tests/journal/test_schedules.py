"""Schedules that a restart brings back from the journal."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from duebus_server.domain.clock import HOUR, SECOND, ManualClock
from duebus_server.domain.schedules import FiringOutcome, ScheduleRecord
from duebus_server.domain.views import TopicConfig
from duebus_server.engine.local.journal.frames import Frame, Kind, read_frames
from journal.engines import opened
from journal.held import event
from support.cli import Cli
from support.engines import START_US, LocalHarness, journaled
from support.redis_bus import redis_bus
from support.redis_engine import shared_redis
from support.schedules import MOST, ScheduleDriver
from support.topics import TopicDriver

if TYPE_CHECKING:
    from pathlib import Path


async def test_schedules_survive_a_restart() -> None:
    """BullMQ: schedules that vanish, or stay after they were removed."""
    async with journaled(TopicConfig()) as harness:
        topic = TopicDriver(harness)
        kept, deleted = ScheduleDriver(topic), ScheduleDriver(topic)
        await kept.save(kept.new(-HOUR, key="the key"))
        await deleted.save(deleted.new(-HOUR))
        for _ in range(3):
            await kept.fire(missed=2)
        await topic.engine.delete_schedule(deleted.name)
        before = await kept.read()

        engine = await harness.restart()

        assert await engine.list_schedules("", MOST) == [before]
        assert (await engine.due_schedules(10)).records == [before]


async def test_schedules_survive_the_removal_of_old_segments() -> None:
    async with journaled(TopicConfig()) as harness:
        topic = TopicDriver(harness)
        drivers = [ScheduleDriver(topic) for _ in range(5)]
        await topic.join()
        for driver in drivers:
            await driver.save(driver.new(-10 * HOUR))
        directory = harness._data_dir / "0"  # type: ignore[operator]  # it has one
        first = min(directory.glob("*.log"), key=lambda path: path.name)
        while first.exists():
            await drivers[0].fire()
            await topic.ack(*await topic.lease())
            await topic.engine.expire_leases()
            await asyncio.sleep(0)
        before = {driver.name: await driver.read() for driver in drivers}

        engine = await harness.restart()

        assert {one.name: one for one in await engine.list_schedules("", MOST)} == before


async def test_a_firing_of_which_a_crash_kept_only_the_event_is_not_doubled(tmp_path: Path) -> None:
    harness = LocalHarness(TopicConfig(), tmp_path)
    await harness.engine.start()
    topic = TopicDriver(harness)
    schedule = ScheduleDriver(topic)
    stored = await schedule.save(schedule.new(-SECOND))
    await schedule.fire()
    await harness.engine.stop()
    cut(tmp_path / "0", Kind.SCHEDULE_ADVANCED)

    schedule.engine = topic.engine = await harness.restart()

    assert await schedule.read() == stored
    assert await schedule.fire() is FiringOutcome.FIRED
    await topic.join()
    assert len(await topic.lease()) == 1
    await schedule.engine.stop()


async def test_an_export_and_a_migration_keep_schedules(tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    async with opened(source, clock=ManualClock(START_US)) as one:
        paused, running = ScheduleDriver(one.topic), ScheduleDriver(one.topic)
        await paused.save(paused.new(paused=True, due_us=None))
        await running.save(running.new(-HOUR, key="the key"))
        await running.fire(event=event("fired", key="the key"), missed=2)
        before = {driver.name: await driver.read() for driver in (paused, running)}

    lines = Cli().run("journal", "export", str(source)).out
    (tmp_path / "lines").write_text(lines)
    assert Cli().run("journal", "import", str(tmp_path / "lines"), "--to", str(copy)).status == 0
    async with opened(copy, clock=ManualClock(START_US)) as one:
        assert {each.name: comparable(each) for each in await one.engine.list_schedules("", MOST)} == {
            name: comparable(each) for name, each in before.items()
        }

    async with redis_bus(shared_redis().url) as bus:
        to = ("--to", bus.url, "--namespace", bus.namespace)
        for _ in range(2):
            assert Cli().run("migrate", "--from", str(source), *to).status == 0
        engine = (await bus.replica()).engine
        moved = {each.name: each for each in await engine.list_schedules("", MOST)}
        assert {name: comparable(each) for name, each in moved.items()} == {
            name: comparable(each) for name, each in before.items()
        }


def comparable(record: ScheduleRecord) -> ScheduleRecord:
    """A record without what each engine has of its own."""
    return replace(record, version=0, last_event_ids=tuple(record.last_event_ids))


def cut(directory: Path, kind: Kind) -> None:
    """Cut the journal off before the last record of this kind, as a crash would."""
    segment = max(directory.glob("*.log"), key=lambda path: path.name)
    data = segment.read_bytes()
    offset = max(one.offset for one in read_frames(data) if isinstance(one, Frame) and one.kind == kind)
    segment.write_bytes(data[:offset])
