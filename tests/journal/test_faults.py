"""Disks that are full or broken, and directories that can't be used."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.errors import DispatcherNotWorking, DuplicateInitialized, UnusableStorage
from duebus_server.domain.model import DispatchAnswer, DispatchRequest, LeaseRequest, Reservation
from duebus_server.engine.local.journal import Fsync, commit
from journal.disks import SIGNAL_TIMEOUT_S, FaultyDisk, broken, no_space, out_of_memory
from journal.engines import JournaledEngine, opened
from structlog.testing import capture_logs
from support.builders import new_event
from support.redis_bus import until
from support.topics import PLENTY, ids
from support.workers import settle_down

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from support.topics import TopicDriver


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is tried again at once."""
    monkeypatch.setattr(commit, "TRY_AGAIN_S", 0.01)


class SmallDisk(FaultyDisk):
    """A disk with little space, of which the reserve takes up some.

    Attributes:
        left: how many bytes can still be written, besides the reserve.
        reserve: how many bytes are freed with the reserve.
    """

    def __init__(self, left: int, reserve: int) -> None:
        super().__init__()
        self.left = left
        self.reserve = reserve
        self.on_write = self._use
        self.on_allocate = self._allocate

    def remove(self, path: Path) -> None:
        """The space of the reserve is free again."""
        if path.name == "reserve" and path.exists():
            self.left += self.reserve
        super().remove(path)

    def _use(self, data: bytes) -> None:
        if len(data) > self.left:
            no_space()
        self.left -= len(data)

    def _allocate(self) -> None:
        if self.left < self.reserve:
            no_space()
        self.left -= self.reserve


async def until_accepted(call: Callable[[], Awaitable[object]]) -> None:
    """Repeat a call until the engine no longer refuses it."""
    async with asyncio.timeout(SIGNAL_TIMEOUT_S):
        while True:
            try:
                await call()
            except DispatcherNotWorking:
                await asyncio.sleep(0)
            else:
                return


async def dispatch_forever(one: JournaledEngine) -> None:
    """Dispatch one event after the other."""
    while True:
        await one.topic.dispatch("event")
        await asyncio.sleep(0)


async def test_a_full_disk_refuses_dispatches_and_goes_on_with_acks_until_there_is_space(tmp_path: Path) -> None:
    disk = SmallDisk(left=20_000, reserve=4_000)
    async with opened(tmp_path, disk=disk) as one:
        await one.topic.join()
        await one.topic.dispatch("a", "b", "c")
        leased = await one.topic.lease(max_events=2)

        # when: nothing is left but the reserve
        disk.left = 0
        with capture_logs() as logs:
            assert await one.topic.ack(leased[0]) == [None]
        assert [log["event"] for log in logs] == ["the disk is full: dispatches are refused"]

        # then: dispatches are refused, and the rest goes on
        with pytest.raises(DispatcherNotWorking, match="the disk is full"):
            await one.topic.dispatch("refused")
        assert await one.topic.nack(leased[1]) == [None]
        assert ids(await one.topic.lease()) == ["c"]

        # when: there is space again
        disk.left = 20_000
        await until_accepted(lambda: one.topic.dispatch("d"))
    async with opened(tmp_path) as again:
        held = await again.topic.group()
        assert sum(held.counts.values()) == 3
        with pytest.raises(Exception, match="refused"):
            await again.topic.group_info("refused")


async def test_without_any_space_all_is_refused_and_what_was_recorded_is_written_later(tmp_path: Path) -> None:
    disk = SmallDisk(left=20_000, reserve=4_000)
    async with opened(tmp_path, disk=disk) as one:
        await one.topic.join()
        await one.topic.dispatch("a", "b")
        first, second = await one.topic.lease()
        disk.left = disk.reserve = 0

        with pytest.raises(DispatcherNotWorking, match="the disk is full"):
            await one.topic.ack(first)
        with pytest.raises(DispatcherNotWorking, match="the disk is full"):
            await one.topic.ack(second)
        assert not one.failures

        disk.left = 20_000
        await until_accepted(lambda: one.topic.ack(second))
    async with opened(tmp_path) as again:
        assert await again.engine.queued() == 0


async def test_the_disk_is_still_full_if_the_reserve_is_taken_and_freed_again_at_once(tmp_path: Path) -> None:
    disk, writes, may_fail = FaultyDisk(), threading.Event(), threading.Event()

    def fail_later(_: bytes) -> None:
        disk.on_write = lambda _: None
        writes.set()
        assert may_fail.wait(SIGNAL_TIMEOUT_S)
        no_space()

    def fail(_: bytes) -> None:
        disk.on_write = fail_later
        no_space()

    def take_once() -> None:
        disk.on_allocate = no_space

    async with opened(tmp_path, disk=disk) as one:
        # given: a full disk that has no space for the second write either
        writing = one.engine._journal.recording.running().commit._writing  # type: ignore[union-attr]  # it has a journal
        disk.on_write, disk.on_allocate = fail, take_once
        joining = asyncio.create_task(one.topic.join())
        assert await asyncio.to_thread(writes.wait, SIGNAL_TIMEOUT_S)

        # when: the reserve is taken between that write and its error, which frees it
        await until(lambda: writing._work_queue.qsize() == 1, "the reserve to be taken next")
        may_fail.set()
        await joining

        # then
        assert not (tmp_path / "reserve").exists()
        with pytest.raises(DispatcherNotWorking, match="the disk is full"):
            await one.topic.dispatch("refused")


async def test_a_lease_whose_cause_could_not_be_saved_is_taken_back(tmp_path: Path) -> None:
    disk = SmallDisk(left=20_000, reserve=4_000)
    async with opened(tmp_path, disk=disk) as one:
        await one.topic.join()
        disk.left = disk.reserve = 0
        dispatching = asyncio.create_task(one.topic.dispatch("a"))
        await asyncio.sleep(0)
        with pytest.raises(DispatcherNotWorking):
            await one.topic.lease()
        with pytest.raises(DispatcherNotWorking):
            await dispatching
        assert not one.engine._topics.known_group("topic", "default").leases.held


@pytest.mark.parametrize(
    "delete",
    [
        pytest.param(lambda topic: topic.engine.delete_group(topic.name, "second"), id="group"),
        pytest.param(lambda topic: topic.engine.delete_topic(topic.name), id="topic"),
    ],
)
async def test_a_dispatch_is_answered_although_its_group_is_deleted_before_it_is_saved(
    tmp_path: Path, delete: Callable[[TopicDriver], Awaitable[int]]
) -> None:
    disk, began, go_on = FaultyDisk(), threading.Event(), threading.Event()
    request = DispatchRequest([new_event("event")])
    async with opened(tmp_path, disk=disk) as one:
        for group in ("first", "second"):
            await one.topic.join(f"worker of {group}", group)
        rooms = [Reservation(group, f"worker of {group}", LeaseRequest(1, PLENTY)) for group in ("first", "second")]
        disk.on_sync = lambda: (began.set(), go_on.wait(SIGNAL_TIMEOUT_S))  # type: ignore[assignment,func-returns-value]

        dispatching = asyncio.create_task(one.engine.dispatch(one.topic.name, [request], rooms))
        assert await asyncio.to_thread(began.wait, SIGNAL_TIMEOUT_S)
        deleting = asyncio.ensure_future(delete(one.topic))
        later = asyncio.create_task(one.engine.dispatch("another", [request]))  # is saved after the first one
        await settle_down()
        go_on.set()

        assert await dispatching == [DispatchAnswer(["event"], [])]
        assert await deleting == 1
        await later


async def test_dispatches_that_are_saved_are_forgotten_though_nobody_leases(tmp_path: Path) -> None:
    async with opened(tmp_path) as one:
        for number in range(20):
            await one.topic.dispatch(f"event-{number}")
        assert one.engine._journal is not None
        assert len(one.engine._journal.recording._dispatches) <= 1


@pytest.mark.parametrize("fsync", Fsync)
async def test_a_failed_sync_is_never_repeated(tmp_path: Path, fsync: Fsync, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "SYNC_EVERY_S", 0)
    disk = FaultyDisk()
    async with opened(tmp_path, fsync, disk=disk) as one:
        await one.topic.join()
        disk.on_sync, disk.syncs = broken, 0
        with capture_logs() as logs, pytest.raises(DispatcherNotWorking, match="Input/output error"):
            await dispatch_forever(one)  # with EVERYSEC, until the sync has failed

        # when: the disk seems to work again
        disk.on_sync = lambda: None
        with pytest.raises(DispatcherNotWorking, match="Input/output error"):
            await one.topic.dispatch("b")
        with pytest.raises(DispatcherNotWorking):
            await one.engine.expire_leases()

    # then: no sync was tried again, and the failure was reported once
    assert disk.syncs == 1
    assert len(one.failures) == 1
    assert [log["log_level"] for log in logs] == ["critical"]


async def test_a_write_that_fails_ends_the_engine(tmp_path: Path) -> None:
    disk = FaultyDisk()
    async with opened(tmp_path, disk=disk) as one:
        await one.topic.dispatch("a")
        disk.on_write = broken
        with pytest.raises(DispatcherNotWorking, match="Input/output error"):
            await one.topic.dispatch("b")
        assert len(one.failures) == 1
    async with opened(tmp_path) as again:  # half of "b" was written
        assert await again.engine.queued() == 1


async def test_an_error_that_is_not_the_disks_ends_the_engine_too(tmp_path: Path) -> None:
    disk = FaultyDisk()
    async with opened(tmp_path, disk=disk) as one:
        disk.on_write = out_of_memory
        with pytest.raises(DispatcherNotWorking, match="no memory"):
            async with asyncio.timeout(SIGNAL_TIMEOUT_S):
                await one.topic.dispatch("a")
        assert len(one.failures) == 1


async def test_a_directory_is_used_by_one_process_at_a_time(tmp_path: Path) -> None:
    async with opened(tmp_path):
        with pytest.raises(DuplicateInitialized, match=r"is in use by process \d+ on "):
            await JournaledEngine(tmp_path).engine.start()
    async with opened(tmp_path):
        pass


async def test_a_newer_layout_is_refused_in_one_line(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"layout": 2}))
    with pytest.raises(UnusableStorage, match="has layout 2, and this build reads up to 1: start the newer DueBus"):
        await JournaledEngine(tmp_path).engine.start()


async def test_a_path_that_is_no_directory_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnusableStorage, match=r"file: (file exists|not a directory)"):
        await JournaledEngine(tmp_path / "file").engine.start()


class DirectoryDisk(FaultyDisk):
    """Remembers which directories were synced."""

    def __init__(self) -> None:
        super().__init__()
        self.synced: list[Path] = []

    def sync_directory(self, path: Path) -> None:
        self.synced.append(path)
        super().sync_directory(path)


async def test_a_new_directory_is_on_the_disk_before_anything_is_answered(tmp_path: Path) -> None:
    disk = DirectoryDisk()
    async with opened(tmp_path / "new" / "data", disk=disk):
        assert {tmp_path, tmp_path / "new", tmp_path / "new" / "data"} <= set(disk.synced)


async def test_a_missing_segment_is_refused_with_its_name(tmp_path: Path) -> None:
    for _ in range(2):
        async with opened(tmp_path) as one:
            await one.topic.dispatch("event")
    (tmp_path / "0000000001.log").unlink()
    with pytest.raises(UnusableStorage, match=r"0000000001\.log"):
        await JournaledEngine(tmp_path).engine.start()
