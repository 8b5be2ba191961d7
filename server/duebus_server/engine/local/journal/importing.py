"""Makes a data directory from what another engine held."""

from __future__ import annotations

import shutil
import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from duebus_server.domain.errors import UnusableStorage
from duebus_server.domain.schedules import ScheduleRecord
from duebus_server.domain.states import EventState
from duebus_server.domain.transfer import HeldEvent, HeldGroup, HeldTopic
from duebus_server.engine.local.due_index import sort_key
from duebus_server.engine.local.journal import records
from duebus_server.engine.local.journal.appender import Appender, Run
from duebus_server.engine.local.journal.directory import DataDirectory
from duebus_server.engine.local.journal.disk import Disk
from duebus_server.engine.local.journal.frames import HEADER_BYTES
from duebus_server.engine.local.journal.segments import SEGMENT_BYTES, Segments
from duebus_server.engine.local.records import Arrival, StoredEvent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from duebus_server.domain.transfer import Held, HeldCopy
    from duebus_server.engine.local.journal.records import Record


def import_held(path: Path, held: Iterable[Held], segment_bytes: int = SEGMENT_BYTES) -> int:
    """Write topics, groups and events to a new data directory. It is there only once all of them are on the disk.

    A leased event is stored as if its holder had released it.

    Args:
        path: the directory; it must not exist, or be empty.
        held: each topic before its groups, and these before its events.
        segment_bytes: the size of a segment.

    Returns:
        How many events there are.

    Raises:
        UnusableStorage: the directory is not empty, or can't be written.
    """
    disk = Disk()
    with DataDirectory(path, disk).naming_errors():
        if path.exists() and any(path.iterdir()):
            raise UnusableStorage(f"{path} is not empty: an import makes a new data directory")
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(mkdtemp(prefix=f"{path.name}.", dir=path.parent))
        try:
            events = _write(DataDirectory(fresh, disk), disk, held, segment_bytes)
            fresh.rename(path)
            disk.sync_directory(path.parent)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        return events


def _write(directory: DataDirectory, disk: Disk, held: Iterable[Held], segment_bytes: int) -> int:
    writer = _Writer(Appender(directory, disk, {}), Segments([], segment_bytes))
    directory.write_manifest({})
    now_us = time.time_ns() // 1_000
    seq = 0
    try:
        for one in held:
            if isinstance(one, HeldEvent):
                seq += 1
                writer.add(_event(one, seq, now_us))
            else:
                writer.add(_settings(one))
        writer.sync()
    finally:
        writer.close()
    return seq


class _Writer:
    """Writes records to segments, one after the other."""

    def __init__(self, appender: Appender, segments: Segments) -> None:
        self._appender = appender
        self._segments = segments

    def add(self, record: Record) -> None:
        """Write a record, to a new segment if the last one is full."""
        body = record.body()
        if not len(self._segments) or not self._segments.has_room(HEADER_BYTES + len(body)):
            start = records.SegmentStart(self._segments.add().number, token=0, ahead_us=0)
            self._append(start.kind, start.body())
        self._append(record.kind, body)

    def sync(self) -> None:
        """Return when everything is on the disk."""
        self._appender.write(deque(), sync=True)

    def close(self) -> None:
        self._appender.close()

    def _append(self, kind: int, body: bytes) -> None:
        segment = self._segments.current
        self._appender.write(deque([Run(segment.number, [(kind, body)])]), sync=False)
        segment.size += HEADER_BYTES + len(body)


def _settings(held: HeldTopic | HeldGroup | ScheduleRecord) -> Record:
    if isinstance(held, ScheduleRecord):
        return records.ScheduleState(replace(held, version=1))  # 0 stands for none
    if isinstance(held, HeldTopic):
        return records.TopicState(held.topic, held.changes)
    return records.GroupState(
        held.topic,
        held.group,
        claims=False,
        ephemeral=False,
        kept_us=0,
        paused=held.paused,
        changes=held.changes,
    )


def _event(held: HeldEvent, seq: int, now_us: int) -> records.Copied:
    """An event with its state in its groups. Its id counts as chosen, so it is remembered once the event is gone."""
    arrival = Arrival(
        held.dispatched_us,
        held.max_retries,
        id_is_generated=False,
        key=held.key,
        priority=held.priority,
        origin=held.origin,
    )
    event = StoredEvent(held.event_id, held.body, arrival, EventState.READY, sort_key(held.dispatched_us, seq))
    copies = [copy.released(now_us) for copy in held.copies]
    groups = [records.CopiedGroup(copy.group, ephemeral=False, entries=[_state(copy, seq)]) for copy in copies]
    return records.Copied(held.topic, [event], [held.body], groups)


def _state(copy: HeldCopy, seq: int) -> records.EntryState:
    return records.EntryState(
        seq,
        copy.state,
        at_us=copy.deliver_at_us if copy.dead_us is None else copy.dead_us,
        deliver_at_us=copy.deliver_at_us,
        attempt=copy.attempts,
        free_attempts=copy.free_attempts,
        by_host_clock=False,
        last_error=copy.last_error,
        lease=None,
        history=copy.history,
        pinned=copy.pinned,
    )
