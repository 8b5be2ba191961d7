"""Bodies that are on the disk only: they come back intact, in time, and wherever something else needs them."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR, MINUTE, SECOND
from duebus_server.domain.errors import DispatcherNotWorking, NotFound
from duebus_server.domain.states import EventState
from duebus_server.engine.local.journal import Fsync
from duebus_server.engine.local.journal.contents import exported
from journal.disks import SIGNAL_TIMEOUT_S, FaultyDisk, MeasuredDisk, broken
from journal.engines import JournaledEngine, opened
from support.builders import new_event, new_events
from support.topics import ids

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from duebus_server.domain.model import NewEvent

FAR_OFF = HOUR


def far_off(event_id: str, delay_us: int = FAR_OFF) -> NewEvent:
    """An event whose body is not the start of another one's."""
    return new_event(event_id, body=f"<body of {event_id}>".encode(), delay_us=delay_us)


def on_disk(one: JournaledEngine) -> set[str]:
    """The events whose bodies are not in memory."""
    topic = one.engine._topics.known(one.topic.name)
    return {name for group in topic.all_groups() for name, entry in group.entries.items() if entry.event.is_on_disk}


def segment_of(one: JournaledEngine, event_id: str) -> int:
    """The number of the segment that an event is in."""
    segment = one.engine._topics.known(one.topic.name).event(event_id).arrival.segment
    assert segment is not None
    return segment.number


async def pass_time(one: JournaledEngine, by_us: int) -> None:
    """Move the clock."""
    one.clock.advance(by_us)  # type: ignore[union-attr]  # these tests have a manual one


async def until_in_memory(one: JournaledEngine) -> None:
    """Wait until the bodies that are being read are there."""
    assert one.engine._journal is not None
    reading = one.engine._journal.recording.running().bodies._task
    assert reading is not None
    await asyncio.wait_for(reading, SIGNAL_TIMEOUT_S)


@pytest.mark.parametrize("fsync", Fsync)
async def test_only_what_is_not_due_soon_leaves_memory_and_it_arrives_intact(tmp_path: Path, fsync: Fsync) -> None:
    async with opened(tmp_path, fsync) as one:
        await one.topic.join()
        await one.topic.dispatch("now", far_off("soon", MINUTE), far_off("later"), far_off("empty"), far_off("last"))
        assert on_disk(one) == {"later", "empty", "last"}

        await pass_time(one, FAR_OFF)
        leased = await one.topic.lease()

        assert ids(leased) == ["now", "soon", "later", "empty", "last"]
        assert [event.body for event in leased[1:]] == [f"<body of {name}>".encode() for name in ids(leased[1:])]


async def test_an_event_without_any_bytes_is_delivered(tmp_path: Path) -> None:
    async with opened(tmp_path) as one:
        await one.topic.join()
        await one.topic.dispatch(new_event("empty", body=b"", delay_us=FAR_OFF))
        await pass_time(one, FAR_OFF)
        assert (await one.topic.lease_one()).body == b""


@pytest.mark.parametrize("keys", [("", "", ""), ("a", "b", "c")])
async def test_a_body_is_in_memory_before_its_event_is_due(tmp_path: Path, keys: tuple[str, str, str]) -> None:
    disk = FaultyDisk()
    async with opened(tmp_path, disk=disk) as one:
        await one.topic.join()
        events = far_off("first"), far_off("second", FAR_OFF + HOUR)
        due_us = one.clock.host_us() + FAR_OFF
        by_host = new_event("by the host", body=b"<host>", deliver_at_us=due_us)
        for event, key in zip((*events, by_host), keys, strict=True):
            event.key = key
        await one.topic.dispatch(*events)
        await one.topic.dispatch(by_host)
        await one.engine.expire_leases()
        assert on_disk(one) == {"first", "second", "by the host"}

        await pass_time(one, FAR_OFF - MINUTE)
        await one.engine.expire_leases()
        await until_in_memory(one)

        assert on_disk(one) == {"second"}
        disk.on_read = broken  # nothing is read when they are due
        await pass_time(one, MINUTE)
        assert [event.body for event in await one.topic.lease()] == [b"<body of first>", b"<host>"]


async def test_a_jump_of_the_hosts_clock_does_not_need_a_sweep(tmp_path: Path) -> None:
    async with opened(tmp_path) as one:
        await one.topic.join()
        host_us = one.clock.host_us()
        await one.topic.dispatch(new_event("event", body=b"<host>", deliver_at_us=host_us + FAR_OFF))
        assert on_disk(one) == {"event"}

        one.clock.set_host(FAR_OFF)  # type: ignore[union-attr]  # a manual one

        assert (await one.topic.lease_one()).body == b"<host>"


async def test_what_shows_an_event_reads_its_body_and_leaves_it_on_the_disk(tmp_path: Path) -> None:
    async with opened(tmp_path) as one:
        await one.topic.join()
        await one.topic.dispatch(*[far_off(f"event-{number}", FAR_OFF + number) for number in range(5)])

        info = await one.engine.get_event(one.topic.name, "event-3")
        page = await one.topic.page(EventState.SCHEDULED, 10)
        short = await one.topic.page(EventState.SCHEDULED, 10, max_bytes=2 * len(b"<body of event-0>"))

        assert info.body == b"<body of event-3>"
        assert [event.body for event in page.events] == [f"<body of event-{number}>".encode() for number in range(5)]
        assert ids(short.events) == ["event-0", "event-1"]
        assert len(on_disk(one)) == 5
    with exported(tmp_path) as held:
        assert b"<body of event-4>" in [getattr(one, "body", b"") for one in held]


@pytest.mark.parametrize("restart", [False, True])
async def test_an_event_that_is_rescheduled_to_now_has_its_body(tmp_path: Path, restart: bool) -> None:
    async with opened(tmp_path) as one:
        await one.topic.join()
        await one.topic.dispatch(far_off("event"))
        await one.topic.reschedule("event")
        if not restart:
            assert (await one.topic.lease_one()).body == b"<body of event>"
    if restart:
        async with opened(tmp_path, clock=one.clock) as again:
            await again.topic.join()
            assert (await again.topic.lease_one()).body == b"<body of event>"


async def test_every_group_gets_it_and_so_does_one_that_comes_later(tmp_path: Path) -> None:
    async with opened(tmp_path) as one:
        await one.topic.dispatch(far_off("unclaimed"))
        await one.topic.join()
        await one.topic.join("worker-2", "other")
        await one.topic.dispatch(far_off("for both"))
        await pass_time(one, FAR_OFF)

        first, second = await one.topic.lease(), await one.topic.lease("worker-2", "other")

        assert [event.body for event in first] == [b"<body of unclaimed>", b"<body of for both>"]
        assert [event.body for event in second] == [b"<body of for both>"]


async def test_a_restart_leaves_bodies_on_the_disk(tmp_path: Path) -> None:
    async with opened(tmp_path) as one:
        await one.topic.join()
        await one.topic.dispatch(far_off("later"), far_off("soon", FAR_OFF - HOUR // 2), "now")
        await pass_time(one, HOUR // 2 - SECOND)
    async with opened(tmp_path, clock=one.clock) as again:
        await again.topic.join()
        assert on_disk(again) == {"later"}
        assert (await again.topic.queued()) == 3
        await pass_time(again, FAR_OFF)
        bodies = {event.event_id: event.body for event in await again.topic.lease()}
        assert bodies["later"] == b"<body of later>"
        assert bodies["soon"] == b"<body of soon>"


async def test_bodies_that_compaction_has_moved_arrive_intact(tmp_path: Path) -> None:
    """Twice over, and after a restart between and behind."""
    disk = MeasuredDisk()
    made = partial(opened, tmp_path, Fsync.EVERYSEC, disk=disk, segment_bytes=4_000)
    names = [f"kept-{number}" for number in range(12)]
    async with made() as one:
        await one.topic.join()
        await one.topic.dispatch(*map(far_off, names))
        first = segment_of(one, names[0])
        await fill_until_gone(one, disk, first)
        assert on_disk(one) >= set(names)
        second = segment_of(one, names[0])
        assert second > first
        await fill_until_gone(one, disk, second)
        assert (await one.engine.get_event(one.topic.name, "kept-7")).body == b"<body of kept-7>"
    async with made(clock=one.clock) as again:
        assert on_disk(again) >= set(names)
        await again.topic.join()
        third = segment_of(again, names[0])
        await fill_until_gone(again, disk, third)
        await pass_time(again, FAR_OFF)
        leased = {event.event_id: event.body for event in await again.topic.lease()}
        assert leased == {name: f"<body of {name}>".encode() for name in names}


async def test_a_body_is_there_while_its_copy_is_not_yet_written(tmp_path: Path) -> None:
    disk, began, go_on = FaultyDisk(), threading.Event(), threading.Event()
    async with opened(tmp_path, Fsync.EVERYSEC, disk=disk, segment_bytes=4_000) as one:
        await one.topic.join()
        await one.topic.dispatch(far_off("event"))
        first = segment_of(one, "event")
        disk.on_write = lambda data: held(began, go_on)() if b"<body of event>" in data else None
        filling = asyncio.ensure_future(fill_for_ever(one))
        assert await asyncio.to_thread(began.wait, SIGNAL_TIMEOUT_S)

        # when: the event belongs to the new segment, which does not have it yet
        assert segment_of(one, "event") > first
        assert (await one.engine.get_event(one.topic.name, "event")).body == b"<body of event>"

        go_on.set()
        filling.cancel()
        await asyncio.gather(filling, return_exceptions=True)
        await one.topic.dispatch("last")
        assert on_disk(one) == {"event"}
        assert (await one.engine.get_event(one.topic.name, "event")).body == b"<body of event>"


async def fill_for_ever(one: JournaledEngine) -> None:
    """Dispatch and ack, so that the oldest segment has to go."""
    while True:
        await one.topic.dispatch(*new_events(20))
        await one.topic.ack(*await one.topic.lease())
        await one.engine.expire_leases()


async def fill_until_gone(one: JournaledEngine, disk: MeasuredDisk, segment: int) -> None:
    """Dispatch and ack until a segment is removed."""
    name = f"{segment:010}.log"
    while name in disk.sizes:
        await one.topic.dispatch(*new_events(20))
        await one.topic.ack(*await one.topic.lease())
        await one.engine.expire_leases()
    assert one.engine._journal is not None
    await one.engine._journal.saved()


# --- faults -----------------------------------------------------------------------------------------------------------


def flip_a_bit(path: Path) -> None:
    """Damage the body of ``event``."""
    (segment,) = [file for file in path.glob("*.log") if b"<body of event>" in file.read_bytes()]
    data = segment.read_bytes()
    segment.write_bytes(data.replace(b"<body of event>", b"<body of evenu>"))


@pytest.mark.parametrize("needs", ["lease", "view", "prefetch"])
@pytest.mark.parametrize("fault", ["broken disk", "damaged body"])
async def test_a_body_that_cannot_be_read_stops_the_engine(tmp_path: Path, needs: str, fault: str) -> None:
    disk = FaultyDisk()
    async with opened(tmp_path, disk=disk) as one:
        await one.topic.join()
        await one.topic.dispatch(far_off("event"))
        if fault == "broken disk":
            disk.on_read = broken
        else:
            flip_a_bit(tmp_path)

        if needs == "lease":
            await pass_time(one, FAR_OFF)
            with pytest.raises(DispatcherNotWorking, match="the journal could not be read"):
                await one.topic.lease()
        elif needs == "view":
            with pytest.raises(DispatcherNotWorking, match="the journal could not be read"):
                await one.engine.get_event(one.topic.name, "event")
        else:
            await pass_time(one, FAR_OFF - MINUTE)
            await one.engine.expire_leases()
            with pytest.raises(DispatcherNotWorking):
                await until_in_memory(one)

        assert len(one.failures) == 1
        with pytest.raises(DispatcherNotWorking):
            await one.topic.dispatch("later")
    if fault == "broken disk":
        one.clock.advance(FAR_OFF)  # type: ignore[union-attr]  # a manual one
        async with opened(tmp_path, clock=one.clock) as again:
            await again.topic.join()
            await pass_time(again, MINUTE)  # the lease that failed may be in the journal
            assert (await again.topic.lease_one()).body == b"<body of event>"


@pytest.mark.parametrize("delete", ["cancel", "delete_group", "delete"])
async def test_an_event_that_goes_while_its_body_is_read_is_not_found(tmp_path: Path, delete: str) -> None:
    disk, began, go_on = FaultyDisk(), threading.Event(), threading.Event()
    async with opened(tmp_path, disk=disk) as one:
        await one.topic.join()
        await one.topic.dispatch(far_off("event"))
        disk.on_read = held(began, go_on)
        async with one.engine._journal.recording.running().bodies._files:  # type: ignore[union-attr]  # as a removal does
            asking = asyncio.ensure_future(one.engine.get_event(one.topic.name, "event"))
            await asyncio.sleep(0)
            await (one.topic.cancel("event") if delete == "cancel" else getattr(one.topic, delete)())
        go_on.set()

        with pytest.raises(NotFound):
            await asking


def held(began: threading.Event, go_on: threading.Event) -> Callable[[], None]:
    """Wait in the reading thread until the test goes on."""

    def wait() -> None:
        began.set()
        assert go_on.wait(SIGNAL_TIMEOUT_S)

    return wait


async def test_other_verbs_go_on_while_a_body_is_read(tmp_path: Path) -> None:
    disk, began, go_on = FaultyDisk(), threading.Event(), threading.Event()
    async with opened(tmp_path, disk=disk) as one:
        await one.topic.join()
        await one.topic.join("worker-2", "other")
        await one.topic.dispatch(far_off("event"))
        await pass_time(one, FAR_OFF)
        disk.on_read = held(began, go_on)
        leasing = asyncio.ensure_future(one.topic.lease())
        assert await asyncio.to_thread(began.wait, SIGNAL_TIMEOUT_S)

        await one.topic.dispatch("meanwhile")
        await one.topic.delete_group("other")
        assert not leasing.done()
        go_on.set()

        assert [event.body for event in await leasing] == [b"<body of event>"]


async def test_a_group_that_is_deleted_during_a_lease_gets_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as one:
        await one.topic.join()
        await one.topic.dispatch(far_off("event"))
        await pass_time(one, FAR_OFF)
        assert one.engine._journal is not None
        async with one.engine._journal.recording.running().bodies._files:  # as a removal of a segment does
            leasing = asyncio.ensure_future(one.topic.lease())
            await asyncio.sleep(0)
            deleting = asyncio.ensure_future(one.topic.delete_group())
            await asyncio.sleep(0)
        with pytest.raises(NotFound):
            await leasing
        await deleting
