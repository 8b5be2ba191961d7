"""A crash at every byte of the journal: nothing answered is lost, and nothing acked comes again.

Schedules are as they were answered, each firing has its event, and a paused key stays paused.
"""

from __future__ import annotations

import asyncio
import os
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.errors import UnusableStorage
from duebus_server.domain.views import TopicConfig
from duebus_server.engine.local.journal import Fsync, Journal
from duebus_server.engine.local.journal.frames import HEADER, Frame, read_frames
from duebus_server.engine.local.topics import Topics
from journal.disks import Files, QuickDisk
from journal.history import KINDS, History, Outcome
from structlog.testing import capture_logs
from support.engines import START_US

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from duebus_server.domain.schedules import ScheduleRecord
    from journal.history import Checkpoint

STEP = int(os.environ.get("JOURNAL_STEP", "31"))
"""A crash, or a flipped bit, at every so many bytes. ``make journal`` takes every byte."""


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    """A history that has ended."""
    history = History(tmp_path_factory.mktemp("history"))
    asyncio.run(history.run())
    return history


@dataclass
class Recovered:
    """What a start on a directory finds.

    Attributes:
        copies: how many copies of each event.
        schedules: the schedules, by name.
        pauses: until when keys are paused, by key.
    """

    copies: Counter[str]
    schedules: dict[str, ScheduleRecord]
    pauses: dict[str, int]


def recovered(path: Path) -> Recovered:
    """What a start on this directory finds."""
    topics = Topics(TopicConfig())
    journal = Journal(path, Fsync.ALWAYS, disk=QuickDisk())
    recovery = journal.recover(topics, START_US)
    journal.close()
    recovery.finish(recovery.last_us)
    groups = [group for topic in topics for group in topic.all_groups() if group.name != "instance"]
    keys = [key for group in groups for key in group.indexes.keys if key.paused_until_us]
    return Recovered(
        Counter(event_id for group in groups for event_id in group.entries),
        {record.name: record for record in topics.schedules},
        {key.name: key.paused_until_us for key in keys},
    )


def why_refused(path: Path) -> str:
    """Why an engine does not start on this directory; empty if it does."""
    try:
        recovered(path)
    except UnusableStorage as error:
        return str(error)
    return ""


def write(path: Path, files: Files) -> None:
    """Make the directory hold these files, as a crash has left them."""
    for old in path.glob("*.log"):
        old.unlink()  # to overwrite it would cost more
    for name, data in files.items():
        (path / name).write_bytes(data)


def crashes(history: History, step: int) -> Iterator[tuple[int, Files]]:
    """What is in the directory after a crash at each position of the log, or at every so many."""
    files: Files = {}
    position = 0
    for change in history.disk.log:
        for steps in range(1, change.steps + 1):
            position += 1
            if position % step == 0 or steps == change.steps:
                change.apply(files, steps)
                yield position, files


def checkpoints_around(history: History, position: int) -> tuple[Checkpoint, Checkpoint]:
    """The last checkpoint before a crash, and that of the verb that was running; the same if none was."""
    count = bisect_right(history.checkpoints, position, key=lambda each: each.position)
    around = history.checkpoints[count - 1 : count + 1]
    return around[0], around[-1]


def assert_holds(found: Recovered, before: Checkpoint, after: Checkpoint) -> None:
    """Assert that what was answered holds, and that the verb that was running has happened or has not."""
    running = {event_id for event_id, _ in after.outcomes.items() - before.outcomes.items()}
    for event_id, outcome in before.outcomes.items():
        if event_id not in running:
            assert found.copies[event_id] == (outcome is Outcome.HELD), (event_id, outcome)
    assert max(found.copies.values(), default=1) == 1
    for name in found.schedules | before.schedules | after.schedules:
        assert found.schedules.get(name) in (before.schedules.get(name), after.schedules.get(name))
    for key in found.pauses | before.pauses | after.pauses:
        assert found.pauses.get(key) in (before.pauses.get(key), after.pauses.get(key))
    fired = {event_id for record in found.schedules.values() for event_id in record.last_event_ids}
    assert all(found.copies[event_id] == 1 for event_id in fired - before.outcomes.keys())


def test_the_history_has_every_kind_of_record(history: History) -> None:
    kinds: set[int] = set()
    files: Files = {}
    for change in history.disk.log:
        if change.data and change.offset is not None:
            kinds |= {found.kind for found in read_frames(change.data) if isinstance(found, Frame)}
        change.apply(files, change.steps)
    assert kinds == KINDS
    assert "0000000001.log" not in files  # the first segment was removed


def test_a_crash_at_any_byte_loses_nothing_answered_and_brings_nothing_acked_back(
    history: History, tmp_path: Path
) -> None:
    checked = 0
    for position, files in crashes(history, STEP):
        write(tmp_path, files)
        with capture_logs():
            found = recovered(tmp_path)
        assert_holds(found, *checkpoints_around(history, position))
        checked += 1
    assert checked > 500


def test_a_flipped_bit_is_refused_unless_it_is_after_the_last_sync(history: History, tmp_path: Path) -> None:
    files: Files = {}
    for change in history.disk.log:
        change.apply(files, change.steps)
    last_write = next(change for change in reversed(history.disk.log) if change.offset is not None)
    synced = HEADER.unpack_from(last_write.data or b"")[-1]  # what was on the disk before it
    refused = cut = 0
    for name in [name for name in files if name.endswith(".log")]:
        for index in range(0, len(files[name]), STEP):
            files[name][index] ^= 1 << (index % 8)
            write(tmp_path, files)
            with capture_logs() as logs:
                refusal = why_refused(tmp_path)
            if refusal:
                assert f"{name}: " in refusal
                assert "at offset" in refusal
                refused += 1
            else:
                assert name == last_write.name
                assert index >= synced
                assert [log["log_level"] for log in logs] == ["warning"]
                assert logs[0]["offset"] <= index
                cut += 1
            files[name][index] ^= 1 << (index % 8)
    assert refused > cut > 0
