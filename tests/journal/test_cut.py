"""A crash at every byte of the journal: nothing answered is lost, and nothing acked comes again."""

from __future__ import annotations

import asyncio
import os
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

    from journal.history import Checkpoint

STEP = int(os.environ.get("JOURNAL_STEP", "31"))
"""A crash, or a flipped bit, at every so many bytes. ``make journal`` takes every byte."""


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    """A history that has ended."""
    history = History(tmp_path_factory.mktemp("history"))
    asyncio.run(history.run())
    return history


def recovered(path: Path) -> dict[str, int]:
    """How many copies of each event a start on this directory finds."""
    topics = Topics(TopicConfig())
    journal = Journal(path, Fsync.ALWAYS, disk=QuickDisk())
    recovery = journal.recover(topics, START_US)
    journal.close()
    recovery.finish(recovery.last_us)
    counts: dict[str, int] = {}
    for topic in topics:
        for group in topic.all_groups():
            if group.name != "instance":
                for event_id in group.entries:
                    counts[event_id] = counts.get(event_id, 0) + 1
    return counts


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


def checkpoints_around(history: History, position: int) -> tuple[Checkpoint | None, Checkpoint | None]:
    """The last checkpoint before a crash, and that of the verb that was running."""
    before = [each for each in history.checkpoints if each.position <= position]
    after = history.checkpoints[len(before) : len(before) + 1]
    return (before[-1] if before else None), (after[0] if after else None)


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
            counts = recovered(tmp_path)
        before, after = checkpoints_around(history, position)
        outcomes = before.outcomes if before else {}
        running = (after.outcomes if after else {}).items() - outcomes.items()
        may_differ = {event_id for event_id, _ in running}
        for event_id, outcome in outcomes.items():
            if event_id not in may_differ:
                assert counts.get(event_id, 0) == (outcome is Outcome.HELD), (position, event_id, outcome)
        assert max(counts.values(), default=1) == 1
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
