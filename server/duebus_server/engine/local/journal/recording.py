"""Turns what the engine does into records, in the order in which it does it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from duebus_server.domain.clock import MINUTE
from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.domain.states import EventState
from duebus_server.engine.local.journal import records
from duebus_server.engine.local.journal.bodies import is_far_off, locations
from duebus_server.engine.local.journal.frames import HEADER_BYTES
from duebus_server.engine.local.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.domain.model import DispatchRequest, LeasedEvent
    from duebus_server.domain.schedules import ScheduleRecord
    from duebus_server.engine.local.group_core import GroupCore
    from duebus_server.engine.local.host_time import HostTime
    from duebus_server.engine.local.journal.bodies import Bodies
    from duebus_server.engine.local.journal.commit import GroupCommit
    from duebus_server.engine.local.journal.compaction import Compaction
    from duebus_server.engine.local.journal.records import Record
    from duebus_server.engine.local.journal.segments import Segments
    from duebus_server.engine.local.records import Entry, Lease, Segment, StoredEvent
    from duebus_server.engine.local.topic import Topic

TOKENS_AHEAD_US = MINUTE
"""How far the mark of the fencing tokens is ahead of the time when it is recorded."""


class Running(NamedTuple):
    """The parts that exist between ``start`` and ``stop``."""

    commit: GroupCommit
    compaction: Compaction
    bodies: Bodies


class Recording(Recorder["GroupCore"]):
    """Appends a record of each step to the current segment. The engine calls it in the step itself, so it never waits.

    Attributes:
        segments: all segments.
        mark: the last mark that was appended.
        mark_end: where it ends.

    Args:
        segments: without any, until ``continue_from``.
    """

    def __init__(self, segments: Segments) -> None:
        self.segments = segments
        self.mark = records.Mark(0, 0)
        self.mark_end = 0
        self._parts: Running | None = None
        # Changes of one group that are not appended yet: changed entries by ``seq``, or removed ones, whether one of
        # those has a key, and until when their ids are remembered.
        self._open_group: GroupCore | None = None
        self._changed: dict[int, Entry] = {}
        self._removed: list[int] = []
        self._removed_keyed = False
        self._removed_until_us = 0
        # Dispatches that may not be saved: where the record ends, and its first ``seq``.
        self._dispatches: deque[tuple[int, int]] = deque()

    def continue_from(self, segments: Segments, mark: records.Mark) -> None:
        """Append to these segments, which a restart has read up to this mark."""
        self.segments, self.mark = segments, mark

    def start(self, parts: Running) -> None:
        """Append with these parts from now on. ``begin_segment`` must follow."""
        self._parts = parts

    def stop(self) -> None:
        """Append nothing anymore."""
        self._parts = None

    @property
    def is_running(self) -> bool:
        """Whether it is between ``start`` and ``stop``."""
        return self._parts is not None

    def running(self) -> Running:
        """The parts of the journal between start and stop.

        Raises:
            DispatcherNotWorking: it is not running.
        """
        if self._parts is None:
            raise DispatcherNotWorking("the journal is closed")
        return self._parts

    def dispatch_end(self, group: GroupCore, leased: Sequence[LeasedEvent]) -> int:
        """The end of the dispatch record that stored the last of these events; 0 if that is saved."""
        self._forget_saved_dispatches()
        if not self._dispatches:
            return 0
        last_seq = max([group.entries[event.event_id].seq for event in leased])
        ends = [end for end, first_seq in self._dispatches if first_seq <= last_seq]
        return ends[-1] if ends else 0

    def _forget_saved_dispatches(self) -> None:
        waiting, saved = self._dispatches, self.running().commit.saved
        while waiting and waiting[0][0] <= saved:
            waiting.popleft()

    # --- the steps of the engine --------------------------------------------------------------------------------------

    def dispatched(
        self,
        topic: str,
        groups: Sequence[GroupCore],
        stored: Sequence[StoredEvent],
        request: DispatchRequest,
        duplicates: Sequence[str],
        until_us: int,
    ) -> None:
        """See ``Recorder``."""
        now_us = stored[0].arrival.dispatched_us if stored else 0
        is_scheduled = any(event.state is EventState.SCHEDULED for event in stored)
        limits, keys = [event.arrival.max_retries for event in stored], [event.arrival.key for event in stored]
        priorities = [event.arrival.priority for event in stored]
        answered = records.Answered()
        if request.request_id:
            ids = [event.id for event in request.events] if duplicates else ()
            answered = records.Answered(request.request_id, request.identity(), until_us, ids, duplicates)
        bodies = [event.body for event in stored]
        segment = self._append(
            records.Dispatched(
                topic,
                now_us,
                stored[0].seq if stored else 0,
                request.origin,
                [(group.name, group.ephemeral) for group in groups] if stored else [],
                [event.id for event in stored],
                bodies,
                [event.arrival.id_is_generated for event in stored],
                [] if limits.count(None) == len(limits) else limits,
                [event.at_us for event in stored] if is_scheduled else [],
                [event.by_host_clock for event in stored] if is_scheduled else [],
                answered,
                keys if any(keys) else (),
                priorities if any(priorities) else (),
            )
        )
        for event in stored:
            event.enters(segment)
        if is_scheduled:
            located = zip(stored, locations(segment.size, bodies), strict=True)
            far_off = [one for one in located if is_far_off(one[0], now_us, self.mark.ahead_us)]
            self.running().bodies.evict(segment, far_off)
        if stored:
            self._forget_saved_dispatches()
            self._dispatches.append((self.running().commit.position, stored[0].seq))

    def leased(self, group: GroupCore, entries: Sequence[Entry], lease: Lease, expires_us: int) -> None:
        """See ``Recorder``."""
        self._append(
            records.Leased(
                group.topic,
                group.name,
                lease.session_id,
                lease.consumer,
                lease.grace_us,
                lease.stalled,
                lease.started_us,
                expires_us,
                lease.fencing_token,
                [entry.seq for entry in entries],
            )
        )

    def changed(self, group: GroupCore, entry: Entry) -> None:
        """See ``Recorder``."""
        if self._open_group is not group or self._removed:
            self.append_open()
            self._open_group = group
        self._changed[entry.seq] = entry

    def paused(self, group: GroupCore, key: str | None) -> None:
        """See ``Recorder``."""
        found = None if key is None else group.indexes.keys.find(key)
        self._append(records.GroupState.of(group) if found is None else records.KeyTimes.of(group, [found]))

    def removed(self, group: GroupCore, entries: Sequence[Entry], until_us: int) -> None:
        """See ``Recorder``."""
        if self._open_group is not group or self._changed or self._removed_until_us != until_us:
            self.append_open()
            self._open_group, self._removed_until_us = group, until_us
        self._removed += [entry.seq for entry in entries]
        self._removed_keyed = self._removed_keyed or any(entry.event.arrival.key for entry in entries)

    def group_changed(self, group: GroupCore, *, claims: bool = False) -> None:
        """A group is new or has new settings. A new one ``claims`` the unclaimed events, unless it is ephemeral."""
        self._append(records.GroupState.of(group, claims=claims))
        group.cause_end = self.running().commit.position

    def group_deleted(self, group: GroupCore, until_us: int) -> None:
        """A group was deleted."""
        self._append(records.GroupDeleted(group.topic, group.name, until_us))

    def topic_configured(self, topic: Topic) -> None:
        """A topic's settings have changed."""
        self._append(records.TopicState(topic.name, topic.changes))

    def topic_deleted(self, topic: Topic) -> None:
        """A topic was deleted."""
        self._append(records.TopicDeleted(topic.name))

    def schedule_saved(self, schedule: ScheduleRecord) -> None:
        """A schedule is new or has changed."""
        self._append(records.ScheduleState(schedule))

    def schedule_advanced(self, schedule: ScheduleRecord) -> None:
        """A schedule has moved on to its next time."""
        self._append(records.ScheduleAdvanced.of(schedule))

    def schedule_deleted(self, name: str) -> None:
        """A schedule was deleted."""
        self._append(records.ScheduleDeleted(name))

    # --- appending ----------------------------------------------------------------------------------------------------

    def append_open(self) -> None:
        """Append the changes of one group."""
        group, changed, removed = self._open_group, self._changed, self._removed
        if group is None:
            return
        self._open_group, self._changed, self._removed = None, {}, []
        if removed:
            self._append_record(records.Removed(group.topic, group.name, self._removed_until_us, removed))
            if self._removed_keyed:
                self._removed_keyed = False
                group.cause_end = self.running().commit.position
            return
        states = [records.EntryState.of(entry) for entry in changed.values()]
        self._append_record(records.Changed(group.topic, group.name, states))
        if any(entry.lease is None for entry in changed.values()):
            group.cause_end = self.running().commit.position

    def _append(self, record: Record) -> Segment:
        self.append_open()
        return self._append_record(record)

    def append_copy(self, record: Record) -> tuple[Segment, int]:
        """Append a copy from the oldest segment. Returns the segment that it is in now, and its size."""
        before = self.running().commit.position
        return self._append(record), self.running().commit.position - before

    def _append_record(self, record: Record) -> Segment:
        body = record.body()
        if not self.segments.has_room(HEADER_BYTES + len(body)):
            self.begin_segment()
        self._add(record.kind, body)
        return self.segments.current

    def begin_segment(self) -> None:
        """Begin a segment with the mark as it is."""
        segment = self.segments.add()
        start = records.SegmentStart(segment.number, self.mark.token, self.mark.ahead_us)
        self._add(start.kind, start.body())
        self.running().compaction.start_if_needed()

    def _add(self, kind: int, body: bytes) -> None:
        size = HEADER_BYTES + len(body)
        self.segments.current.size += size
        self.running().commit.append(self.segments.current.number, kind, body, size)

    def mark_tokens(self, host: HostTime) -> None:
        """Append a mark that is ahead of the host's clock."""
        token = max(self.mark.token, host.now_us + TOKENS_AHEAD_US)
        self.append_mark(records.Mark(token, host.ahead_us))

    def append_mark(self, mark: records.Mark) -> None:
        """Append a mark, which replaces the last one."""
        self.mark = mark
        self._append(mark)
        self.mark_end = self.running().commit.position
