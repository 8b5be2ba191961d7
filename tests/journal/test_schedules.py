"""Schedules that a restart brings back from the journal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from duebus_server.domain.clock import HOUR, SECOND
from duebus_server.domain.schedules import FiringOutcome
from duebus_server.domain.views import TopicConfig
from duebus_server.engine.local.journal.frames import Frame, Kind, read_frames
from support.engines import LocalHarness, journaled
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


def cut(directory: Path, kind: Kind) -> None:
    """Cut the journal off before the last record of this kind, as a crash would."""
    segment = max(directory.glob("*.log"), key=lambda path: path.name)
    data = segment.read_bytes()
    offset = max(one.offset for one in read_frames(data) if isinstance(one, Frame) and one.kind == kind)
    segment.write_bytes(data[:offset])
