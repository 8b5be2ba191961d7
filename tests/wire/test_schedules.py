"""Schedules over a real socket: what is stored and told, what is refused, who may do what."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from duebus.v1 import admin_pb2, event_bus_pb2, schedules_pb2, schedules_pb2_grpc, test_clock_pb2, test_clock_pb2_grpc
from google.protobuf.timestamp_pb2 import Timestamp
from support.builders import unique_name
from support.secured import make_secured, rule
from support.wire import connect, duration, failure_of, us

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.server_process import ServerProcess
    from support.wire import Wire

HOUR_S = 3_600


def new(topic: str, **fields: Any) -> schedules_pb2.Schedule:
    """A schedule that fires each hour, or as the fields say."""
    given: dict[str, Any] = {
        "name": unique_name("schedule"),
        "topic": topic,
        "event": event_bus_pb2.Event(data=b"data"),
    } | fields
    if "every" not in given:
        given.setdefault("cron", "0 * * * *")
    return schedules_pb2.Schedule(**given)


class Schedules:
    """The calls of EventBusSchedules."""

    def __init__(self, wire: Wire) -> None:
        self.stub: Any = schedules_pb2_grpc.EventBusSchedulesStub(wire.channel)  # type: ignore[no-untyped-call]  # generated

    async def put(self, schedule: schedules_pb2.Schedule, **options: Any) -> schedules_pb2.PutScheduleResponse:
        request = schedules_pb2.PutScheduleRequest(schedule=schedule)
        answer: schedules_pb2.PutScheduleResponse = await self.stub.PutSchedule(request, **options)
        return answer

    async def get(self, name: str) -> schedules_pb2.ScheduleInfo:
        answer: schedules_pb2.GetScheduleResponse = await self.stub.GetSchedule(
            schedules_pb2.GetScheduleRequest(name=name)
        )
        return answer.schedule


@pytest.fixture
def schedules(wire: Wire) -> Schedules:
    return Schedules(wire)


async def test_a_schedule_is_told_as_it_was_put(schedules: Schedules, topic: str) -> None:
    schedule = new(
        topic,
        event=event_bus_pb2.Event(data=b"\x00data", key="a key", attributes={"a": "b"}, max_retries=2),
        cron="0 9 * * MON-FRI",
        time_zone="Europe/Berlin",
        start=Timestamp(seconds=1_000_000_000),
        end=Timestamp(seconds=4_000_000_000),
        max_runs=7,
        jitter=duration(60),
        overlap=schedules_pb2.Schedule.OVERLAP_SKIP,
        catch_up=schedules_pb2.Schedule.CATCH_UP_ALL,
        catch_up_window=duration(120),
        paused=True,
        note="for the accountants",
    )

    answer = await schedules.put(schedule)

    assert answer.changed
    info = await schedules.get(schedule.name)
    assert info == answer.schedule
    assert info.schedule == schedule
    assert info.description == "at 09:00, Monday to Friday (Europe/Berlin)"
    assert (list(info.next), info.runs, info.skipped, info.missed) == ([], 0, 0, 0)
    assert not info.HasField("last_fired_at")


async def test_the_next_ten_times_are_told(schedules: Schedules, topic: str) -> None:
    info = (await schedules.put(new(topic, every=duration(90)))).schedule

    times = [us(each) // 1_000_000 for each in info.next]
    assert len(times) == 10
    assert all(time % 90 == 0 for time in times)
    assert times == list(range(times[0], times[0] + 900, 90))
    assert info.description == "every 90 seconds"


async def test_an_equal_put_changes_nothing(schedules: Schedules, topic: str) -> None:
    schedule = new(topic, event=event_bus_pb2.Event(attributes={str(number): "" for number in range(20)}))
    assert (await schedules.put(schedule)).changed
    schedule.overlap = schedules_pb2.Schedule.OVERLAP_ALLOW
    assert not (await schedules.put(schedule)).changed


async def test_a_schedule_fires_and_tells_it(wire: Wire, schedules: Schedules, topic: str) -> None:
    stream = await wire.subscribe(topic)
    schedule = new(topic, cron="* * * * * *")
    await schedules.put(schedule)

    delivery = await stream.one()

    assert dict(delivery.event.attributes)["duebus-schedule"] == schedule.name
    assert delivery.event.id == f"{schedule.name}@{dict(delivery.event.attributes)['duebus-scheduled-for']}"
    info = await schedules.get(schedule.name)
    assert info.runs >= 1
    assert info.last_fired_at.seconds >= delivery.deliver_at.seconds
    await schedules.stub.DeleteSchedule(schedules_pb2.DeleteScheduleRequest(name=schedule.name))


async def test_pages_of_schedules(wire: Wire, schedules: Schedules, topic: str) -> None:
    prefix = unique_name("page")
    for number in range(5):
        await schedules.put(new(topic, name=f"{prefix}.{number}"))

    names: list[str] = []
    request = schedules_pb2.ListSchedulesRequest(page_size=2)
    while True:
        page = await schedules.stub.ListSchedules(request)
        names += [info.schedule.name for info in page.schedules]
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    assert [name for name in names if name.startswith(prefix)] == [f"{prefix}.{number}" for number in range(5)]
    wrong = schedules_pb2.ListSchedulesRequest(page_token="x")
    assert (await failure_of(schedules.stub.ListSchedules(wrong))).fields == ["page_token"]


async def test_pause_trigger_backfill_delete(wire: Wire, schedules: Schedules, topic: str) -> None:
    stub = schedules.stub
    name = (await schedules.put(new(topic, paused=True))).schedule.schedule.name
    await stub.ResumeSchedule(schedules_pb2.ResumeScheduleRequest(name=name))
    assert len((await schedules.get(name)).next) == 10
    await stub.PauseSchedule(schedules_pb2.PauseScheduleRequest(name=name))
    assert not (await schedules.get(name)).next

    triggered = await stub.TriggerSchedule(schedules_pb2.TriggerScheduleRequest(name=name, request_id="r"))
    backfilled = await stub.BackfillSchedule(
        schedules_pb2.BackfillScheduleRequest(
            name=name, request_id="r", start=Timestamp(seconds=0), end=Timestamp(seconds=2 * HOUR_S)
        )
    )

    assert triggered.event_id == f"{name}@trigger@r"
    assert list(backfilled.event_ids) == [f"{name}@1970-01-01T00:00:00Z@r", f"{name}@1970-01-01T01:00:00Z@r"]
    stream = await wire.subscribe(topic)
    assert len(await stream.take(3)) == 3
    assert (await failure_of(wire.admin.DeleteTopic(admin_pb2.DeleteTopicRequest(topic=topic)))).reason == (
        "TOPIC_HAS_SCHEDULES"
    )
    await stub.DeleteSchedule(schedules_pb2.DeleteScheduleRequest(name=name))
    assert (await failure_of(schedules.get(name))).reason == "NOT_FOUND"


async def test_a_preview_needs_nothing_stored(schedules: Schedules) -> None:
    rule = schedules_pb2.Schedule(cron="30 2 * * *", time_zone="Europe/Berlin")
    answer = await schedules.stub.PreviewSchedule(
        schedules_pb2.PreviewScheduleRequest(schedule=rule, count=2, after=Timestamp(seconds=1_774_700_000))
    )
    assert [each.ToJsonString() for each in answer.times] == ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
    assert answer.description == "at 02:30 every day (Europe/Berlin)"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "two words"}, "name"),
        ({"topic": ""}, "topic"),
        ({"topic": "a topic"}, "topic"),
        ({"event": None}, "event"),
        ({"event": event_bus_pb2.Event(id="chosen")}, "event.id"),
        ({"event": event_bus_pb2.Event(delay=duration(1))}, "event.delay"),
        ({"event": event_bus_pb2.Event(data=b"x" * ((1 << 20) + 1))}, "event.data"),
        ({"event": event_bus_pb2.Event(attributes={"duebus-schedule": "x"})}, "event.attributes"),
        ({"cron": None}, "rule"),
        ({"cron": "every day"}, "cron"),
        ({"cron": "0 0 30 2 *"}, "cron"),
        ({"every": duration(0.5)}, "every"),
        ({"every": duration(367 * 86_400)}, "every"),
        ({"every": duration(60), "time_zone": "Europe/Berlin"}, "time_zone"),
        ({"time_zone": "Europe/Atlantis"}, "time_zone"),
        ({"start": Timestamp(seconds=7_300_000_000)}, "start"),
        ({"start": Timestamp(seconds=100), "end": Timestamp(seconds=99)}, "end"),
        ({"start": Timestamp(seconds=1), "end": Timestamp(seconds=3_599)}, "end"),
        ({"end": Timestamp(seconds=1_700_000_000)}, "end"),
        ({"jitter": duration(86_401)}, "jitter"),
        ({"catch_up_window": duration(0)}, "catch_up_window"),
        ({"overlap": 9}, "overlap"),
        ({"catch_up": 9}, "catch_up"),
        ({"note": "n" * 1_001}, "note"),
    ],
)
async def test_what_is_wrong_is_named(schedules: Schedules, topic: str, fields: dict[str, Any], field: str) -> None:
    failure = await failure_of(schedules.put(new(**{"topic": topic} | fields)))

    assert (failure.code, failure.fields) == (grpc.StatusCode.INVALID_ARGUMENT, [f"schedule.{field}"])


async def test_the_number_of_schedules_is_limited(start_server: Callable[..., ServerProcess], topic: str) -> None:
    async with connect(start_server("--max-schedules", "2").address) as wire:
        schedules = Schedules(wire)
        first = new(topic)
        for schedule in (first, new(topic)):
            await schedules.put(schedule)
        failure = await failure_of(schedules.put(new(topic)))
        assert (failure.code, failure.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["schedule"])
        first.note = "changed"
        assert (await schedules.put(first)).changed


RULES = rule("shop", "dispatch", topics="order.*") + rule("viewer", "view", topics="order.*")


async def test_who_may_dispatch_to_the_topic_may_write_and_who_may_view_it_may_read(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    secured = make_secured(tmp_path, "shop", "viewer")
    audit = tmp_path / "audit.jsonl"
    server = start_server(*secured.token_flags(), *secured.acl_flags(RULES), "--audit-log", str(audit))
    async with connect(server.address) as wire:
        schedules = Schedules(wire)
        shop, viewer = ([("authorization", f"Bearer {secured.tokens[name]}")] for name in ("shop", "viewer"))
        put = new("order.made")

        await schedules.put(put, metadata=shop)
        assert (await failure_of(schedules.put(new("audit"), metadata=shop))).reason == "PERMISSION_DENIED"
        assert (await failure_of(schedules.put(put, metadata=viewer))).reason == "PERMISSION_DENIED"
        get, delete = (
            schedules_pb2.GetScheduleRequest(name=put.name),
            schedules_pb2.DeleteScheduleRequest(name=put.name),
        )
        seen = (await schedules.stub.GetSchedule(get, metadata=viewer)).schedule
        assert (seen.schedule.name, seen.schedule.event.data) == (put.name, b"")
        assert (await failure_of(schedules.stub.GetSchedule(get, metadata=shop))).reason == "PERMISSION_DENIED"
        assert (await failure_of(schedules.stub.DeleteSchedule(delete, metadata=viewer))).reason == "PERMISSION_DENIED"
        listing = schedules_pb2.ListSchedulesRequest()
        assert (await failure_of(schedules.stub.ListSchedules(listing, metadata=viewer))).reason == "PERMISSION_DENIED"
        await schedules.stub.DeleteSchedule(delete, metadata=shop)

    lines = [json.loads(line) for line in audit.read_text().splitlines()]
    recorded = [
        (line["identity"], line["verb"], line["topic"], line.get("schedule"), line["outcome"]) for line in lines
    ]
    assert recorded[0] == ("shop", "PutSchedule", "order.made", put.name, "OK")
    assert recorded[-3:] == [
        ("viewer", "DeleteSchedule", "", put.name, "PERMISSION_DENIED"),
        ("viewer", "ListSchedules", "", None, "PERMISSION_DENIED"),
        ("shop", "DeleteSchedule", "", put.name, "OK"),
    ]


# --- restarts, and a clock that is moved ------------------------------------------------------------------------------


async def test_schedules_survive_a_killed_server(
    start_server: Callable[..., ServerProcess], tmp_path: Path, topic: str
) -> None:
    """BullMQ: schedules that vanish."""
    server = start_server("--data-dir", str(tmp_path / "data"))
    async with connect(server.address) as wire:
        schedule = new(topic, cron="* * * * * *")
        await Schedules(wire).put(schedule)
        stream = await wire.subscribe(topic)
        seen = [await stream.one()]
        server.process.kill()
        server.process.wait()
    again = start_server("--data-dir", str(tmp_path / "data"))
    async with connect(again.address) as wire:
        info = await Schedules(wire).get(schedule.name)
        assert info.runs >= 1
        stream = await wire.subscribe(topic)
        while len({delivery.event.id for delivery in seen}) < 3:
            seen.append(await stream.one())
            await wire.ack(seen[-1])


async def test_time_is_moved_by_a_client(start_server: Callable[..., ServerProcess], topic: str) -> None:
    server = start_server("--test-clock", listen="0.0.0.0:0")  # as in a container
    async with connect(server.address) as wire:
        clock = test_clock_pb2_grpc.TestClockStub(wire.channel)  # type: ignore[no-untyped-call]  # generated
        now = (await clock.AdvanceTime(test_clock_pb2.AdvanceTimeRequest(by=duration(0)))).now.seconds
        stream = await wire.subscribe(topic)
        await Schedules(wire).put(new(topic))
        await wire.dispatch(topic, event_bus_pb2.Event(id="later", delay=duration(HOUR_S)))

        first_us = (now // HOUR_S + 1) * HOUR_S
        to = Timestamp(seconds=first_us + 2 * HOUR_S)
        assert (await clock.AdvanceTime(test_clock_pb2.AdvanceTimeRequest(to=to))).now.seconds >= to.seconds

        seen: set[str] = set()
        while len(seen) < 4:  # leases run out on the way, so some come twice
            delivery = await stream.one()
            seen.add(delivery.event.id)
            await wire.ack(delivery)
        assert "later" in seen
        assert (await failure_of(clock.AdvanceTime(test_clock_pb2.AdvanceTimeRequest(to=to)))).fields == ["to"]
        assert (await failure_of(clock.AdvanceTime(test_clock_pb2.AdvanceTimeRequest()))).fields == ["target"]


async def test_a_client_waits_until_what_is_due_is_handled(
    start_server: Callable[..., ServerProcess], topic: str
) -> None:
    async with connect(start_server("--test-clock").address) as wire:
        clock = test_clock_pb2_grpc.TestClockStub(wire.channel)  # type: ignore[no-untyped-call]  # generated
        stream = await wire.subscribe(topic)
        await wire.dispatch(
            topic, event_bus_pb2.Event(id="now"), event_bus_pb2.Event(id="later", delay=duration(HOUR_S))
        )
        delivery = await stream.one()

        unsettled = await clock.Settle(test_clock_pb2.SettleRequest())
        assert list(unsettled.unsettled) == [f"{topic}/default (0 ready, 1 leased)"]
        settling = clock.Settle(test_clock_pb2.SettleRequest(timeout=duration(HOUR_S)))
        await wire.ack(delivery)
        assert list((await settling).unsettled) == []  # an event that is not due is not waited for
        too_long = clock.Settle(test_clock_pb2.SettleRequest(timeout=duration(HOUR_S + 1)))
        assert (await failure_of(too_long)).fields == ["timeout"]


async def test_each_firing_is_handled_before_the_clock_is_moved_further(
    start_server: Callable[..., ServerProcess], topic: str
) -> None:
    async with connect(start_server("--test-clock").address) as wire:
        clock = test_clock_pb2_grpc.TestClockStub(wire.channel)  # type: ignore[no-untyped-call]  # generated
        stream = await wire.subscribe(topic)
        await Schedules(wire).put(new(topic))
        request = test_clock_pb2.AdvanceTimeRequest(by=duration(2 * HOUR_S), settle_timeout=duration(HOUR_S))
        moving = asyncio.ensure_future(clock.AdvanceTime(request))
        times = []
        for _ in range(2):
            delivery = await stream.one()
            times.append(delivery.event.attributes["duebus-scheduled-for"])
            assert not moving.done()
            await wire.ack(delivery)
        assert list((await moving).unsettled) == []
        assert len(set(times)) == 2

        request.settle_timeout.Clear()
        now = (await clock.AdvanceTime(test_clock_pb2.AdvanceTimeRequest(by=duration(0)))).now.seconds
        stuck = await clock.AdvanceTime(request)
        assert list(stuck.unsettled) == [f"{topic}/default (0 ready, 1 leased)"]
        assert stuck.now.seconds <= now + HOUR_S  # the clock has not gone past the firing


async def test_no_other_server_has_a_clock_that_is_moved(wire: Wire) -> None:
    clock = test_clock_pb2_grpc.TestClockStub(wire.channel)  # type: ignore[no-untyped-call]  # generated
    call = clock.AdvanceTime(test_clock_pb2.AdvanceTimeRequest(by=duration(1)))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
