"""Schedules as the bus stores them and as the scheduler fires them, on a clock that the test moves."""

from __future__ import annotations

import asyncio
import tracemalloc
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from duebus.v1 import event_bus_pb2, schedules_pb2
from duebus_server.bus.dispatching import Dispatching
from duebus_server.bus.engines import Engines, EngineStatus, RunningEngine
from duebus_server.bus.scheduling import PutCommand, Scheduling
from duebus_server.domain.clock import DAY, HOUR, MILLISECOND, MINUTE, SECOND, ManualClock
from duebus_server.domain.errors import InvalidArgument, TopicHasSchedules
from duebus_server.domain.model import LeaseRef, LeaseRequest, SubscriberInfo
from duebus_server.domain.schedules import ScheduleRecord
from duebus_server.domain.views import TopicConfig
from duebus_server.engine.local import LocalEngine
from duebus_server.scheduling.rules import Every, Rule
from duebus_server.wire.schedule_codec import ScheduleCodec, put_command, schedule_info
from support.engines import START_US
from support.workers import settle_down

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from duebus_server.domain.model import LeasedEvent
    from duebus_server.domain.schedules import Firing, FiringOutcome
    from duebus_server.scheduling.schedule import Schedule

TOPIC, NAME = "reports", "report"
MOST = 10_000


def command(**fields: Any) -> PutCommand:
    """A schedule that fires each hour, or as the fields say."""
    schedule = schedules_pb2.Schedule(name=NAME, topic=TOPIC, event=event_bus_pb2.Event(data=b"data"))
    if "every" in fields:
        schedule.every.FromMicroseconds(fields.pop("every"))
    elif "cron" not in fields:
        schedule.cron = "0 * * * *"
    for name, value in fields.items():
        if hasattr(getattr(schedule, name), "FromMicroseconds"):
            getattr(schedule, name).FromMicroseconds(value)
        elif name == "event":
            schedule.event.CopyFrom(value)
        else:
            setattr(schedule, name, value)
    return put_command(schedules_pb2.PutScheduleRequest(schedule=schedule))


class Bus:
    """A local engine with its scheduler and the use cases of schedules."""

    def __init__(self, config: TopicConfig) -> None:
        self.clock = ManualClock(START_US)
        self.engine = LocalEngine(self.clock, config)
        self.codec = ScheduleCodec()
        self.running = RunningEngine.of(self.engine, self.clock, self.codec)
        self.running.status = EngineStatus.SERVING
        engines = Engines([self.running])
        self.scheduling = Scheduling(engines, Dispatching(engines), self.codec, MOST)
        self._run: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.engine.start()
        await self.engine.join(TOPIC, "default", SubscriberInfo("worker", "", START_US))
        await self.run()

    async def run(self) -> None:
        """Fire schedules from now on."""
        self._run = asyncio.create_task(self.running.scheduler.run())
        await settle_down()

    async def halt(self) -> None:
        """Fire nothing, as if no server ran."""
        if self._run is not None:
            self._run.cancel()
            await asyncio.wait((self._run,))

    async def put(self, **fields: Any) -> bool:
        _, changed = await self.scheduling.put(None, command(**fields), None)
        return changed

    async def record(self) -> ScheduleRecord:
        return await self.engine.get_schedule(NAME)

    async def advance(self, by_us: int) -> None:
        """Move the clock to its end, timer by timer, and let the scheduler fire."""
        await self.running.scheduler.advance(self.clock, by_us)
        await settle_down()

    async def lease(self) -> list[LeasedEvent]:
        return list((await self.engine.lease(TOPIC, "default", "worker", LeaseRequest(10_000, 1 << 30))).events)

    async def fired(self) -> list[str]:
        """The times of the events since the last call, which are acked."""
        events = await self.lease()
        await self.engine.ack(TOPIC, "default", [LeaseRef(one.event_id, one.fencing_token) for one in events])
        return [one.event_id.removeprefix(f"{NAME}@") for one in events]


@pytest.fixture
async def bus() -> AsyncIterator[Bus]:
    async with started(TopicConfig()) as bus:
        yield bus


@pytest.fixture
async def small_bus() -> AsyncIterator[Bus]:
    """A bus whose topics hold one event."""
    async with started(TopicConfig(max_queued=1)) as bus:
        yield bus


@asynccontextmanager
async def started(config: TopicConfig) -> AsyncIterator[Bus]:
    bus = Bus(config)
    await bus.start()
    yield bus
    await bus.halt()
    await bus.engine.stop()


def hours(*numbers: int) -> list[str]:
    return [f"2026-01-01T{number:02}:00:00Z" for number in numbers]


# --- firing -----------------------------------------------------------------------------------------------------------


async def test_each_nominal_time_fires_at_its_time(bus: Bus) -> None:
    await bus.put()

    await bus.advance(HOUR - 1)
    assert await bus.fired() == []
    await bus.advance(1)
    assert await bus.fired() == hours(1)
    await bus.advance(3 * HOUR)
    assert await bus.fired() == hours(2, 3, 4)


async def test_a_timer_wakes_the_scheduler_and_nothing_else_does(bus: Bus) -> None:
    await bus.put()
    assert len([timer for timer in bus.clock._timers if timer[2]._callback]) == 1

    bus.clock.advance(HOUR)
    await settle_down()

    assert await bus.fired() == hours(1)


async def test_an_event_names_its_schedule_and_its_nominal_time(bus: Bus) -> None:
    await bus.put(jitter=10 * MINUTE)
    await bus.advance(2 * HOUR - 1)

    (leased,) = await bus.lease()
    event = event_bus_pb2.Event.FromString(leased.body)
    assert event.data == b"data"
    assert dict(event.attributes) == {
        "duebus-schedule": NAME,
        "duebus-scheduled-for": "2026-01-01T01:00:00Z",
    }
    assert leased.deliver_at_us >= START_US + HOUR


async def test_a_schedule_ends_after_its_runs(bus: Bus) -> None:
    await bus.put(max_runs=2)
    await bus.advance(DAY)

    assert await bus.fired() == hours(1, 2)
    assert (await bus.record()).next_us is None


async def test_many_schedules_of_one_moment_all_fire(bus: Bus) -> None:
    for number in range(180):
        await bus.put(name=f"report.{number}")

    await bus.advance(HOUR)

    assert len(await bus.lease()) == 180


async def test_schedules_that_are_spread_over_time_fire_together(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand that fired each minute, one by one, cost an idle server a tenth of a core."""
    steps: list[int] = []
    fire = bus.engine.fire_schedules

    async def counted(firings: Sequence[Firing]) -> list[FiringOutcome]:
        steps.append(len(firings))
        return await fire(firings)

    monkeypatch.setattr(bus.engine, "fire_schedules", counted)
    for ms in range(1, 81):
        await bus.put(name=f"report.{ms}", every=HOUR, start=START_US + ms * MILLISECOND)
    for _ in range(120):
        bus.clock.advance(MILLISECOND)
        await settle_down()

    assert steps == [1, 40, 39], "the first one fires at once"


async def test_what_was_missed_while_nobody_ran_is_caught_up(bus: Bus) -> None:
    await bus.put()
    await bus.halt()
    bus.clock.advance(5 * HOUR + MINUTE)

    await bus.run()

    assert await bus.fired() == hours(5)
    record = await bus.record()
    assert (record.runs, record.missed) == (1, 4)


async def test_all_that_was_missed_is_caught_up(bus: Bus) -> None:
    await bus.put(catch_up=schedules_pb2.Schedule.CATCH_UP_ALL, catch_up_window=3 * HOUR)
    await bus.halt()
    bus.clock.advance(5 * HOUR)

    await bus.run()

    assert await bus.fired() == hours(2, 3, 4, 5)
    assert (await bus.record()).missed == 1


async def test_a_clock_that_is_set_forward_loses_no_firing(bus: Bus) -> None:
    await bus.put()
    bus.clock.set_host(HOUR)
    await bus.engine.expire_leases()
    await settle_down()

    assert await bus.fired() == hours(1)


async def test_a_clock_that_is_set_back_repeats_no_firing(bus: Bus) -> None:
    await bus.put()
    await bus.advance(HOUR)
    assert await bus.fired() == hours(1)

    bus.clock.set_host(-HOUR)
    await bus.advance(HOUR + MINUTE)
    assert await bus.fired() == []
    await bus.advance(HOUR)
    assert await bus.fired() == hours(2)


async def test_a_clock_that_is_set_forward_and_back_fires_each_nominal_time_once(bus: Bus) -> None:
    await bus.put(every=SECOND)
    await bus.advance(5 * SECOND)
    assert len(await bus.fired()) == 5

    bus.clock.set_host(HOUR)
    await bus.advance(5 * SECOND)
    assert await bus.fired() == [f"2026-01-01T01:00:{second:02}Z" for second in range(5, 11)]
    bus.clock.set_host(-HOUR)
    await bus.advance(HOUR)
    assert await bus.fired() == []
    await bus.advance(SECOND)

    assert await bus.fired() == ["2026-01-01T01:00:11Z"]
    record = await bus.record()
    assert record.runs + record.missed == (HOUR + 11 * SECOND) // SECOND


async def test_new_rules_of_a_zone_change_the_next_time_at_the_start(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await bus.put()
    await bus.halt()
    decode = bus.codec.decode

    def moved(body: bytes) -> Schedule:
        return replace(decode(body), rule=Rule(Every(HOUR, 20 * MINUTE)))

    monkeypatch.setattr(bus.codec, "decode", moved)
    await bus.run()

    assert (await bus.record()).next_us == START_US + 20 * MINUTE
    assert "next time of a schedule has changed" in capsys.readouterr().out


async def test_a_schedule_that_cannot_be_read_does_not_stop_the_others(bus: Bus) -> None:
    due_us = START_US + HOUR
    await bus.engine.save_schedule(ScheduleRecord("broken", TOPIC, "", b"\xff", next_us=due_us, due_us=due_us), 0, MOST)
    await bus.put()

    await bus.advance(2 * HOUR)

    assert await bus.fired() == hours(1, 2)


@pytest.mark.parametrize("body", [b"\xff", schedules_pb2.Schedule(cron="0 9 * * 1#9").SerializeToString()])
def test_a_schedule_that_cannot_be_read_is_told(body: bytes) -> None:
    """One of them made every list of schedules fail."""
    info = schedule_info(ScheduleRecord("broken", TOPIC, "", body, paused=True, runs=3), with_data=True)

    assert (info.schedule.name, info.schedule.topic, info.schedule.paused) == ("broken", TOPIC, True)
    assert (info.runs, len(info.next)) == (3, 0)
    assert info.description.startswith("this server can't read it: ")


# --- a full topic -----------------------------------------------------------------------------------------------------


async def test_a_full_topic_is_tried_again_within_the_period(small_bus: Bus) -> None:
    await small_bus.put()
    await small_bus.advance(2 * HOUR + 10 * MINUTE)
    assert await small_bus.fired() == hours(1)

    await small_bus.advance(2 * MINUTE)

    assert await small_bus.fired() == hours(2)
    record = await small_bus.record()
    assert (record.runs, record.missed) == (2, 0)


@pytest.mark.parametrize("catch_up", ["CATCH_UP_LAST", "CATCH_UP_ALL"])
async def test_a_topic_that_stays_full_misses_the_nominal_time(
    small_bus: Bus, catch_up: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await small_bus.put(catch_up=schedules_pb2.Schedule.CatchUp.Value(catch_up))
    await small_bus.advance(4 * HOUR + MINUTE)

    assert await small_bus.fired() == hours(1)
    await small_bus.advance(2 * MINUTE)
    assert await small_bus.fired() == hours(4)
    record = await small_bus.record()
    assert (record.runs, record.missed) == (2, 2)
    said = capsys.readouterr().out
    assert said.count("its topic is full") == 3
    assert "missed nominal times" in said


# --- put, pause, resume -----------------------------------------------------------------------------------------------


async def test_an_equal_schedule_changes_nothing(bus: Bus) -> None:
    assert await bus.put()
    before = await bus.record()

    assert not await bus.put()
    assert not await bus.put(paused=True)
    assert await bus.record() == before
    assert await bus.put(note="another")


def test_replaced_schedules_do_not_fill_memory() -> None:
    """Each large schedule that was ever put stayed in a cache of decoded ones."""
    codec = ScheduleCodec()
    tracemalloc.start()
    try:
        for number in range(20):
            event = event_bus_pb2.Event(data=b"x" * 100_000, key=str(number))
            assert codec.decode(command(event=event).body).event.key == str(number)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 500_000


async def test_twenty_workers_put_a_schedule_at_once(bus: Bus) -> None:
    changed = await asyncio.gather(*[bus.put() for _ in range(20)])
    assert changed.count(True) == 1

    await bus.advance(HOUR)
    assert await bus.fired() == hours(1)


async def test_a_replaced_schedule_keeps_its_counters_and_goes_on(bus: Bus) -> None:
    await bus.put()
    await bus.advance(2 * HOUR)
    assert await bus.fired() == hours(1, 2)

    await bus.put(cron="*/30 * * * *")
    await bus.advance(HOUR)

    assert await bus.fired() == ["2026-01-01T02:30:00Z", "2026-01-01T03:00:00Z"]
    assert (await bus.record()).runs == 4


async def test_a_schedule_that_would_never_fire_is_refused(bus: Bus) -> None:
    """One whose end had passed was stored, and nobody noticed."""
    for end_us in (START_US - 1, START_US + HOUR - 1):
        with pytest.raises(InvalidArgument, match="has passed") as refused:
            await bus.put(end=end_us)
        assert refused.value.violation.field == "schedule.end"
    assert await bus.put(end=START_US + HOUR)
    await bus.advance(HOUR)
    assert await bus.fired() == hours(1)

    assert not await bus.put(end=START_US + HOUR), "a worker that starts puts it again"
    with pytest.raises(InvalidArgument, match="has passed"):
        await bus.put(end=START_US + HOUR, note="changed")
    assert await bus.put(end=START_US + 2 * HOUR)


async def test_a_schedule_that_is_replaced_by_one_with_no_runs_left_ends(bus: Bus) -> None:
    await bus.put()
    await bus.advance(3 * HOUR)

    assert await bus.put(max_runs=2)
    assert (await bus.record()).next_us is None
    assert await bus.put(max_runs=4)
    await bus.advance(DAY)

    assert await bus.fired() == hours(1, 2, 3, 4)


async def test_a_nominal_time_that_is_due_is_not_lost_by_a_put(bus: Bus) -> None:
    """celery beat: a schedule that is changed at its time skips a run."""
    await bus.put()
    await bus.halt()
    bus.clock.advance(HOUR)
    await bus.put(note="a new version of the worker")
    await bus.run()

    assert await bus.fired() == hours(1)


async def test_a_put_does_not_repeat_a_nominal_time_after_the_clock_was_set_back(bus: Bus) -> None:
    await bus.put()
    await bus.advance(HOUR)
    await bus.fired()
    bus.clock.set_host(-MINUTE)

    await bus.put(note="changed")

    assert (await bus.record()).next_us == START_US + 2 * HOUR


async def test_another_topic_is_refused(bus: Bus) -> None:
    await bus.put()
    with pytest.raises(TopicHasSchedules):
        await bus.put(topic="another")


async def test_paused_time_is_not_caught_up(bus: Bus) -> None:
    await bus.put(catch_up=schedules_pb2.Schedule.CATCH_UP_ALL)
    await bus.scheduling.pause(None, NAME, None)
    await bus.advance(3 * HOUR + MINUTE)
    assert await bus.fired() == []

    await bus.scheduling.resume(None, NAME, None)
    await bus.advance(HOUR)

    assert await bus.fired() == hours(4)
    assert (await bus.record()).missed == 0


async def test_a_schedule_can_be_made_paused(bus: Bus) -> None:
    await bus.put(paused=True)
    await bus.advance(2 * HOUR)
    assert await bus.fired() == []

    await bus.scheduling.resume(None, NAME, None)
    await bus.advance(HOUR)
    assert await bus.fired() == hours(3)


async def test_resuming_what_is_not_paused_changes_nothing(bus: Bus) -> None:
    await bus.put()
    before = await bus.record()
    await bus.scheduling.resume(None, NAME, None)
    assert await bus.record() == before


# --- trigger, backfill ------------------------------------------------------------------------------------------------


async def test_a_trigger_fires_once_and_changes_nothing_else(bus: Bus) -> None:
    await bus.put(paused=True)
    before = await bus.record()

    for _ in range(2):
        assert await bus.scheduling.trigger(None, NAME, "by-hand", None) == f"{NAME}@trigger@by-hand"

    assert await bus.fired() == ["trigger@by-hand"]
    assert await bus.record() == before


async def test_triggers_without_a_request_id_are_different(bus: Bus) -> None:
    await bus.put()
    ids = {await bus.scheduling.trigger(None, NAME, "", None) for _ in range(3)}
    assert len(ids) == len(await bus.fired()) == 3


async def test_a_backfill_dispatches_each_nominal_time_once(bus: Bus) -> None:
    await bus.put()
    span = (START_US - 3 * HOUR, START_US)

    for _ in range(2):
        ids = await bus.scheduling.backfill(None, NAME, span, "again", None)

    expected = [f"2025-12-31T{hour}:00:00Z@again" for hour in (21, 22, 23)]
    assert list(ids) == [f"{NAME}@{one}" for one in expected]
    assert await bus.fired() == expected


async def test_a_backfill_of_too_much_is_refused(bus: Bus) -> None:
    await bus.put()
    assert len(await bus.scheduling.backfill(None, NAME, (START_US, START_US + 1_000 * HOUR), "r", None)) == 1_000
    with pytest.raises(InvalidArgument, match="1000 nominal times"):
        await bus.scheduling.backfill(None, NAME, (START_US, START_US + 1_000 * HOUR + 1), "r", None)


async def test_a_backfill_that_is_too_large_makes_no_events(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000 events of 1 MiB were made before they were refused."""
    await bus.put(event=event_bus_pb2.Event(data=b"x" * 5_000))
    monkeypatch.setattr(bus.codec, "event", _no_event)
    with pytest.raises(InvalidArgument, match="exceed 4 MiB") as refused:
        await bus.scheduling.backfill(None, NAME, (START_US, START_US + 1_000 * HOUR), "r", None)
    assert refused.value.violation.field == "end"


def _no_event(*_: object) -> None:
    raise AssertionError("an event was made")


async def test_a_request_id_that_makes_an_id_too_long_is_refused(bus: Bus) -> None:
    name = "n" * 200
    await bus.put(name=name)
    assert await bus.scheduling.trigger(None, name, "", None)
    assert await bus.scheduling.backfill(None, name, (START_US, START_US + DAY), "", None)
    with pytest.raises(InvalidArgument) as refused:
        await bus.scheduling.trigger(None, name, "r" * 50, None)
    assert refused.value.violation.field == "request_id"


# --- advancing --------------------------------------------------------------------------------------------------------


async def test_a_second_apart(bus: Bus) -> None:
    await bus.put(every=SECOND)
    await bus.advance(90 * SECOND)
    assert len(await bus.fired()) == 90
