"""What is reported before it is on the disk, and what is not; and where a restart continues."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from duebus_server.domain.clock import HOUR, SECOND, ManualClock
from duebus_server.domain.model import DispatchRequest, LeaseRequest, Reservation
from duebus_server.domain.states import EventState
from duebus_server.engine.local.journal import Fsync, commit
from duebus_server.engine.local.journal.records import ENTRY_BYTES
from duebus_server.engine.local.records import EVENT_BYTES
from journal.disks import SIGNAL_TIMEOUT_S, FaultyDisk, MeasuredDisk
from journal.engines import opened
from support.builders import new_event, new_events
from support.engines import START_US
from support.recorder import Recorder
from support.topics import PLENTY, WORKER, TopicDriver, ids

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from pathlib import Path


class BlockingDisk(FaultyDisk):
    """A disk whose syncs can be blocked.

    Attributes:
        is_blocked: set while a sync is blocked.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_blocked = threading.Event()
        self._may_sync = threading.Event()
        self._may_sync.set()
        self.on_sync = self._sync

    @contextmanager
    def blocked(self) -> Iterator[None]:
        """Block every sync until the end."""
        self._may_sync.clear()
        try:
            yield
        finally:
            self._may_sync.set()

    def _sync(self) -> None:
        self.is_blocked.set()
        assert self._may_sync.wait(SIGNAL_TIMEOUT_S)
        self.is_blocked.clear()


async def until_blocked(disk: BlockingDisk) -> None:
    """Wait until a sync is blocked."""
    assert await asyncio.to_thread(disk.is_blocked.wait, SIGNAL_TIMEOUT_S)


async def leased_once_saved(topic: TopicDriver, disk: BlockingDisk, settle: Coroutine[Any, Any, Any]) -> list[str]:
    """Settle an event and lease: nothing may be leased before the disk has the settle. Returns what is leased then."""
    with disk.blocked():
        settling = asyncio.create_task(settle)
        await until_blocked(disk)
        leasing = asyncio.create_task(topic.lease())
        await asyncio.sleep(0)
        assert not leasing.done()
    await settling
    return ids(await leasing)


async def test_an_event_is_leased_only_once_its_dispatch_is_on_the_disk(tmp_path: Path) -> None:
    disk = BlockingDisk()
    async with opened(tmp_path, disk=disk) as one:
        await one.topic.join()
        await one.topic.dispatch("old")
        with disk.blocked():
            dispatching = asyncio.create_task(one.topic.dispatch("new"))
            await until_blocked(disk)

            # then: what is saved is leased at once, and what is not has to wait
            assert ids(await one.topic.lease(max_events=1)) == ["old"]
            leasing = asyncio.create_task(one.topic.lease())
            await asyncio.sleep(0)
            assert not dispatching.done()
            assert not leasing.done()
        assert ids(await leasing) == ["new"]
        await dispatching


async def test_a_hand_over_is_told_only_once_its_dispatch_is_on_the_disk(tmp_path: Path) -> None:
    disk = BlockingDisk()
    async with opened(tmp_path, disk=disk) as one:
        recorder = Recorder(timeout_s=0)
        one.engine.watch(recorder)
        await one.topic.join()
        room = Reservation("default", WORKER, LeaseRequest(10, PLENTY))
        with disk.blocked():
            request = DispatchRequest([new_event("event")])
            dispatching = asyncio.create_task(one.engine.dispatch("topic", [request], [room]))
            await until_blocked(disk)
            assert not recorder.batches
        await dispatching
        (batch,) = recorder.batches[WORKER]
        assert ids(batch.events) == ["event"]


async def test_a_dispatch_that_is_cancelled_takes_back_what_it_has_handed_over(tmp_path: Path) -> None:
    disk = BlockingDisk()
    async with opened(tmp_path, disk=disk) as one:
        await one.topic.join()
        room = Reservation("default", WORKER, LeaseRequest(10, PLENTY))
        with disk.blocked():
            request = DispatchRequest([new_event("event")])
            dispatching = asyncio.create_task(one.engine.dispatch("topic", [request], [room]))
            await until_blocked(disk)
            dispatching.cancel()
            await asyncio.wait((dispatching,))
        leased = await one.topic.lease_one()
        assert (leased.event_id, leased.attempt) == ("event", 1)


async def test_a_released_event_is_leased_again_only_once_the_release_is_on_the_disk(tmp_path: Path) -> None:
    disk = BlockingDisk()
    async with opened(tmp_path, disk=disk) as one:
        await one.topic.join()
        await one.topic.dispatch("event")
        leased = await one.topic.lease_one()
        assert await leased_once_saved(one.topic, disk, one.topic.release(leased)) == ["event"]


async def test_the_next_event_of_a_key_is_leased_only_once_the_ack_is_on_the_disk(tmp_path: Path) -> None:
    disk = BlockingDisk()
    async with opened(tmp_path, disk=disk) as one:
        await one.topic.join()
        await one.topic.dispatch(new_event("first", key="key"), new_event("next", key="key"))
        leased = await one.topic.lease_one()
        assert await leased_once_saved(one.topic, disk, one.topic.ack(leased)) == ["next"]


async def test_leases_and_extends_wait_for_nothing(tmp_path: Path) -> None:
    disk = BlockingDisk()
    async with opened(tmp_path, disk=disk) as one:
        await one.topic.join()
        await one.topic.dispatch("event")
        with disk.blocked():
            leased = await one.topic.lease_one()
            assert await one.topic.extend(leased, lease_us=HOUR) == [None]


async def test_what_waits_for_a_sync_goes_to_the_disk_with_one(tmp_path: Path) -> None:
    disk = BlockingDisk()
    async with opened(tmp_path, disk=disk) as one:
        with disk.blocked():
            first = asyncio.create_task(one.topic.dispatch("first"))
            await until_blocked(disk)
            others = [asyncio.create_task(one.topic.dispatch(f"other {number}")) for number in range(20)]
            await asyncio.sleep(0)
            disk.syncs = 0
        await asyncio.gather(first, *others)
        assert disk.syncs == 1


async def test_fencing_tokens_grow_across_a_restart_with_the_clock_set_back(tmp_path: Path) -> None:
    clock = ManualClock(START_US)
    async with opened(tmp_path, clock=clock) as one:
        await one.topic.join()
        await one.topic.dispatch("event")
        before = await one.topic.lease_one()
        await one.topic.release(before)
    async with opened(tmp_path, clock=ManualClock(START_US - HOUR)) as again:
        await again.topic.join()
        after = await again.topic.lease_one()
        assert after.fencing_token > before.fencing_token


async def test_fencing_tokens_are_never_above_the_mark_on_the_disk(tmp_path: Path) -> None:
    clock = ManualClock(START_US)
    disk = BlockingDisk()
    async with opened(tmp_path, clock=clock, disk=disk) as one:
        await one.topic.join()
        await one.topic.dispatch("event")
        clock.advance(HOUR)
        with disk.blocked():
            leasing = asyncio.create_task(one.topic.lease())
            await until_blocked(disk)
            assert not leasing.done()
        assert ids(await leasing) == ["event"]


async def test_a_delay_keeps_its_length_if_the_clock_was_set_before_a_restart(tmp_path: Path) -> None:
    # given: an event that is due in an hour, and a host whose clock is set forward by a day
    clock = ManualClock(START_US)
    async with opened(tmp_path, clock=clock) as one:
        await one.topic.join()
        await one.topic.dispatch(new_event("event", delay_us=HOUR))
        clock.set_host(24 * HOUR)
        await one.engine.expire_leases()

    # when: the server starts again, and takes the host's clock for the time
    clock = ManualClock(START_US + 24 * HOUR)
    async with opened(tmp_path, clock=clock) as again:
        await again.topic.join()
        clock.advance(HOUR - 1)
        assert await again.topic.lease() == []
        clock.advance(1)
        assert ids(await again.topic.lease()) == ["event"]


async def test_leases_last_until_their_workers_could_come_again(tmp_path: Path) -> None:
    clock = ManualClock(START_US)
    async with opened(tmp_path, clock=clock) as one:
        await one.topic.join("patient", "a", grace_us=20 * SECOND)
        await one.topic.join("hasty", "b", grace_us=SECOND)
        await one.topic.dispatch("event")
        await one.topic.lease_one("patient", "a")
        await one.topic.lease_one("hasty", "b", lease_us=SECOND)
    clock.advance(HOUR)
    async with opened(tmp_path, clock=clock) as again:
        expiries = {name: (await again.topic.group_info("event", name)).lease_expires_us for name in "ab"}
        assert expiries == {"a": clock.now_us() + 20 * SECOND, "b": clock.now_us() + 5 * SECOND}


class Writers(FaultyDisk):
    """A disk that notes which thread makes each write."""

    def __init__(self) -> None:
        super().__init__()
        self.on_write = self.note
        self.threads: list[int] = []

    def note(self, _: bytes) -> None:
        self.threads.append(threading.get_ident())

    def note_slowly(self, _: bytes) -> None:
        self.threads.append(threading.get_ident())
        time.sleep(2 * commit.SLOW_WRITE_S)  # as a disk that stalls


async def test_with_everysec_the_event_loop_writes_unless_the_last_write_was_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A busy machine interrupts a write for long, and a call between two.
    for name, value_s in (("SLOW_WRITE_S", 0.5), ("SLOW_FOR_S", 60.0), ("SYNC_EVERY_S", 60.0)):
        monkeypatch.setattr(commit, name, value_s)
    disk, loop_thread = Writers(), threading.get_ident()
    async with opened(tmp_path, Fsync.EVERYSEC, disk=disk) as one:
        disk.threads.clear()
        await one.topic.dispatch("first")
        disk.on_write = disk.note_slowly
        await one.topic.dispatch("slow")
        assert disk.threads == [loop_thread, loop_thread]

        disk.on_write = disk.note
        await one.topic.dispatch("next")
        assert loop_thread not in disk.threads[2:]
    async with opened(tmp_path) as again:
        assert await again.engine.queued() == 3


async def test_what_may_take_long_is_not_written_on_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With many bytes, to a new segment, and with a sync."""
    monkeypatch.setattr(commit, "QUICK_BYTES", 2_000)
    disk, loop_thread, body = Writers(), threading.get_ident(), bytes(1_500)
    async with opened(tmp_path, Fsync.EVERYSEC, disk=disk, segment_bytes=4_000) as one:
        disk.threads.clear()
        await one.topic.dispatch(*[new_event(f"large {number}", body=body) for number in range(2)])
        assert loop_thread not in disk.threads

        disk.threads.clear()
        await one.topic.dispatch(new_event("another segment", body=body))
        assert loop_thread not in disk.threads
    async with opened(tmp_path, Fsync.ALWAYS, disk=disk) as one:
        disk.threads.clear()
        await one.topic.dispatch("synced")
        assert loop_thread not in disk.threads


async def test_with_everysec_a_sync_that_hangs_holds_up_no_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write beside it may hang too, so a thread makes it."""
    monkeypatch.setattr(commit, "SYNC_EVERY_S", 0)
    disk, threads = BlockingDisk(), list[int]()
    async with opened(tmp_path, Fsync.EVERYSEC, disk=disk) as one:
        with disk.blocked():
            await one.topic.dispatch("first")
            await until_blocked(disk)
            disk.on_write = lambda _: threads.append(threading.get_ident())
            await one.topic.dispatch("beside it")
            assert threads
            assert threading.get_ident() not in threads


async def test_the_files_stay_within_twice_what_is_needed_and_one_segment(tmp_path: Path) -> None:
    # given: events that wait for long, among many that come and go
    segment_bytes = 20_000
    disk = MeasuredDisk()
    async with opened(tmp_path, Fsync.EVERYSEC, disk=disk, segment_bytes=segment_bytes) as one:
        await one.topic.join()
        kept = 0
        for turn in range(200):
            await one.topic.dispatch(*new_events(10), new_event(f"kept {turn}", delay_us=HOUR))
            kept += EVENT_BYTES + ENTRY_BYTES + len(f"kept {turn}") + len(f"body of kept {turn}, 1234")
            await one.topic.ack(*await one.topic.lease())
            await one.engine.expire_leases()
            await disk.until(partial(is_within, 2 * kept + segment_bytes))
    async with opened(tmp_path) as again:
        assert (await again.topic.counts()) == {EventState.SCHEDULED: 200}


def is_within(limit: int, sizes: dict[str, int]) -> bool:
    """Whether the segments take up no more than this."""
    return sum(sizes.values()) <= limit


@pytest.mark.parametrize("fsync", Fsync)
async def test_ids_are_remembered_after_their_segments_are_gone(tmp_path: Path, fsync: Fsync) -> None:
    clock, disk = ManualClock(START_US), MeasuredDisk()
    async with opened(tmp_path, fsync, clock=clock, disk=disk, segment_bytes=4_000) as one:
        await one.topic.join()
        await one.topic.dispatch("known", request_id="request")
        await one.topic.ack(await one.topic.lease_one())
        await one.topic.dispatch(new_event("copied", delay_us=HOUR))
        for _ in range(50):
            await one.topic.dispatch(*new_events(5))
            await one.topic.ack(*await one.topic.lease())
            await one.engine.expire_leases()
        await disk.until(lambda sizes: "0000000001.log" not in sizes)
    async with opened(tmp_path, clock=clock) as again:
        await again.topic.cancel("copied")
        answer = await again.topic.dispatch("known", "copied")
        assert list(answer.duplicate_event_ids) == ["known", "copied"]
        answer = await again.topic.dispatch("known", request_id="request")
        assert (list(answer.event_ids), list(answer.duplicate_event_ids)) == (["known"], [])


async def test_ids_of_a_deleted_group_are_remembered_though_a_segment_goes_before_its_memory_is_released(
    tmp_path: Path,
) -> None:
    # given: a deletion that was interrupted between the events of one state and those of the next
    clock, disk = ManualClock(START_US), MeasuredDisk()
    async with opened(tmp_path, clock=clock, disk=disk, segment_bytes=4_000) as one:
        await one.topic.join()
        await one.topic.dispatch(new_event("released", delay_us=HOUR), "still there")
        deleting = asyncio.ensure_future(one.topic.delete_group())
        await asyncio.sleep(0)
        deleting.cancel()
        await asyncio.wait((deleting,))

        # when: the segment that holds their dispatch is removed, and the server starts again
        other = TopicDriver(one.topic.harness)
        await other.join()
        for _ in range(50):
            await other.dispatch(*new_events(5))
            await other.ack(*await other.lease())
        await disk.until(lambda sizes: "0000000001.log" not in sizes)
    async with opened(tmp_path, clock=clock) as again:
        answer = await again.topic.dispatch("released", "still there")
        assert list(answer.duplicate_event_ids) == ["released", "still there"]
