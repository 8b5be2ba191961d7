"""The journal of one engine: records its steps, and says when they are saved."""

from __future__ import annotations

import gc
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import structlog

from duebus_server.domain.clock import MILLISECOND, MINUTE
from duebus_server.domain.errors import DispatcherNotWorking, NotFound, UnusableStorage
from duebus_server.domain.states import EventState
from duebus_server.engine.local.journal import records
from duebus_server.engine.local.journal.appender import Appender
from duebus_server.engine.local.journal.bodies import Bodies, is_far_off, locations
from duebus_server.engine.local.journal.commit import GroupCommit, Space, disk_is_full
from duebus_server.engine.local.journal.compaction import Compaction
from duebus_server.engine.local.journal.directory import DataDirectory
from duebus_server.engine.local.journal.disk import Disk
from duebus_server.engine.local.journal.frames import HEADER_BYTES
from duebus_server.engine.local.journal.recovery import Recovery
from duebus_server.engine.local.journal.segments import SEGMENT_BYTES, Segments

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from duebus_server.domain.model import DispatchRequest, LeasedEvent
    from duebus_server.engine.local.group import Group
    from duebus_server.engine.local.host_time import HostTime
    from duebus_server.engine.local.journal.commit import Fsync
    from duebus_server.engine.local.journal.directory import Manifest
    from duebus_server.engine.local.journal.reading import BadPart
    from duebus_server.engine.local.journal.records import Record
    from duebus_server.engine.local.journal.segments import Segment
    from duebus_server.engine.local.records import Entry, Lease, StoredEvent
    from duebus_server.engine.local.topic import Topic
    from duebus_server.engine.local.topics import Topics

log = structlog.get_logger()

TOKENS_AHEAD_US = MINUTE
"""How far the mark of the fencing tokens is ahead of the time when it is recorded."""


class _Running(NamedTuple):
    """What there is between ``start`` and ``stop``."""

    commit: GroupCommit
    compaction: Compaction
    bodies: Bodies


class Journal:
    """Records what the engine does, in the order in which it does it.

    A verb changes memory and records that in one step, and then waits with ``saved``. So nothing is reported to callers
    or workers before its cause is saved.

    Attributes:
        secret: the key that signs lease tokens; set by ``recover``.

    Args:
        path: the data directory.
        fsync: when a record is saved.
        on_failure: called once if the disk fails for good. The engine then refuses everything.
        disk: the operating system.
        segment_bytes: the size of a segment.
    """

    def __init__(
        self,
        path: Path,
        fsync: Fsync,
        on_failure: Callable[[DispatcherNotWorking], None] = lambda _: None,
        *,
        disk: Disk | None = None,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self.secret = b""
        self._fsync = fsync
        self._on_failure = on_failure
        self._disk = disk or Disk()
        self._directory = DataDirectory(path, self._disk)
        self._segment_bytes = segment_bytes
        self._segments = Segments([], segment_bytes)
        self._parts: _Running | None = None
        # Changes of one group that are not appended yet: changed entries by ``seq``, or removed ones, whether one of
        # those has a key, and until when their ids are remembered.
        self._open_group: Group | None = None
        self._changed: dict[int, Entry] = {}
        self._removed: list[int] = []
        self._removed_keyed = False
        self._removed_until_us = 0
        # Dispatches that may not be saved: where the record ends, and its first ``seq``.
        self._dispatches: deque[tuple[int, int]] = deque()
        # The last mark that was appended, where it ends, and the highest token of a mark that is on the disk.
        self._mark = records.Mark(0, 0)
        self._mark_end = 0
        self._safe_token = 0

    # --- start and stop -----------------------------------------------------------------------------------------------

    def recover(self, topics: Topics, host_us: int) -> Recovery:
        """Open the directory, and apply what it holds to ``topics``. ``start`` must follow, or ``close``.

        Args:
            topics: empty.
            host_us: the host's clock.

        Raises:
            DuplicateInitialized: a process uses the directory.
            UnusableStorage: it can't be used, is damaged, or has a newer layout.
        """
        self._directory.open()
        try:
            with self._directory.naming_errors():
                return self._recover(topics, host_us)
        except BaseException:
            self._directory.close()
            raise

    def _recover(self, topics: Topics, host_us: int) -> Recovery:
        manifest = self._directory.read_manifest()
        if not manifest:  # a new directory has a manifest before it has a segment
            self._directory.write_manifest({})
        self.secret = self._directory.secret()
        self._directory.remove_strays(manifest)
        recovery, known = Recovery(topics, host_us), []
        collecting = gc.isenabled()
        gc.disable()  # it would scan a million objects again and again, and free nothing
        try:
            for number, size in manifest.items():
                known.append(recovery.apply_segment(self._directory, number, size, self._cut))
        finally:
            if collecting:
                gc.enable()
        self._segments = Segments(known, self._segment_bytes)
        self._mark = records.Mark(recovery.token, recovery.ahead_us)
        return recovery

    def _cut(self, part: BadPart) -> None:
        """Cut off a torn end."""
        log.warning(
            "the end of the journal was incomplete, and was cut off",
            file=str(part.path),
            offset=part.offset,
            bytes=part.size,
        )
        self._disk.truncate(part.path, part.offset)

    async def start(self, topics: Topics, host: HostTime, now_us: Callable[[], int]) -> None:
        """Begin to record.

        Args:
            topics: what the engine holds.
            host: the host's clock.
            now_us: the engine's clock.

        Raises:
            UnusableStorage: the directory can't be written to.
        """
        known: Manifest = {segment.number: segment.size for segment in self._segments}
        appender = Appender(self._directory, self._disk, known)
        commit = GroupCommit(appender, self._fsync, self._on_failure)
        bodies = Bodies(self._directory, self._disk, commit)
        compaction = Compaction(topics, self._segments, self._directory, self._append_copy, commit, bodies, now_us)
        self._parts = _Running(commit, compaction, bodies)
        with self._directory.naming_errors():
            commit.reserve_space()
        self._begin_segment()
        commit.start()
        self._mark_tokens(host)
        try:
            await commit.wait_synced(self._mark_end)
        except DispatcherNotWorking as error:
            raise UnusableStorage(f"data directory {self._directory.path}: {error}") from error

    def close(self) -> None:
        """Release the directory, if nothing was recorded since ``recover``."""
        self._directory.close()

    async def stop(self) -> None:
        """Write what was recorded, and release the directory. Harmless if it is not started."""
        if self._parts is not None:
            await self._parts.compaction.stop()
            await self._parts.bodies.stop()
            self._append_open()
            await self._parts.commit.stop()
        self._parts = None
        self._directory.close()

    # --- saved --------------------------------------------------------------------------------------------------------

    def check(self, *, dispatches: bool = False) -> None:
        """Return if a verb can be recorded.

        Args:
            dispatches: the verb stores events, so it needs more than the reserve of a full disk.

        Raises:
            DispatcherNotWorking: it can't.
        """
        commit = self._running().commit
        if commit.failure is not None:
            raise commit.failure
        if commit.space is Space.NONE or (dispatches and commit.space is Space.SCARCE):
            raise disk_is_full()

    async def saved(self) -> None:
        """Return when all that was recorded is saved.

        Raises:
            DispatcherNotWorking: it can't be, or not now.
        """
        self._append_open()
        running = self._running()
        await running.commit.wait_saved(running.commit.position)
        running.bodies.leave_written()

    async def causes_saved(self, batches: Sequence[tuple[Group, Sequence[LeasedEvent]]]) -> None:
        """Return when the events leased in these groups may be sent to sessions: what made them leasable is saved, and
        a restart will hand out higher fencing tokens. The leases themselves are not waited for.

        Raises:
            DispatcherNotWorking: it can't be saved, or not now.
        """
        self._append_open()
        leased = [(group, events) for group, events in batches if events]
        if leased:
            # Looked up before the first wait: groups may be deleted meanwhile.
            ends = [max(group.cause_end, self._dispatch_end(group, events)) for group, events in leased]
            on_disk = [pair for group, events in leased for pair in _on_disk(group, events)]
            await self._running().commit.wait_saved(max(ends))
            await self._tokens_saved(max(events[-1].fencing_token for _, events in leased))
            await self._load(on_disk)

    async def read_bodies(self, events: Sequence[StoredEvent]) -> list[bytes | None]:
        """The bodies of events, which stay on the disk; None for an event that is gone meanwhile.

        Raises:
            DispatcherNotWorking: they can't be read.
        """
        return await self._running().bodies.read(events)

    def prefetch(self, group: Group, now_us: int, ahead_us: int) -> None:
        """Begin to read the bodies of events of a group that are due soon."""
        self._running().bodies.prefetch(group, now_us, ahead_us)

    async def _load(self, on_disk: Sequence[tuple[LeasedEvent, StoredEvent]]) -> None:
        """Give these leased events their bodies.

        Raises:
            DispatcherNotWorking: they can't be read.
            NotFound: one was deleted meanwhile.
        """
        if on_disk:
            await self._running().bodies.load([event for _, event in on_disk])
        for leased, event in on_disk:
            if event.is_on_disk:
                raise NotFound("event", event.id)
            leased.body = event.body

    def _dispatch_end(self, group: Group, leased: Sequence[LeasedEvent]) -> int:
        """The end of the dispatch record that stored the last of these events; 0 if that is saved."""
        self._forget_saved_dispatches()
        if not self._dispatches:
            return 0
        last_seq = max([group.entries[event.event_id].seq for event in leased])
        ends = [end for end, first_seq in self._dispatches if first_seq <= last_seq]
        return ends[-1] if ends else 0

    def _forget_saved_dispatches(self) -> None:
        waiting, saved = self._dispatches, self._running().commit.saved
        while waiting and waiting[0][0] <= saved:
            waiting.popleft()

    async def _tokens_saved(self, token: int) -> None:
        """Return when a mark of at least this fencing token is on the disk; nearly always at once."""
        commit = self._running().commit
        if commit.synced >= self._mark_end:
            self._safe_token = self._mark.token
        if token + TOKENS_AHEAD_US // 2 > self._mark.token:
            self._append_mark(records.Mark(token + TOKENS_AHEAD_US, self._mark.ahead_us))
        if token > self._safe_token:
            await commit.wait_synced(self._mark_end)

    def sweep(self, host: HostTime) -> None:
        """Record how the clocks differ, if that has changed, and remove segments that are not needed."""
        self._append_open()
        self._running().bodies.leave_written()
        if abs(host.ahead_us - self._mark.ahead_us) > MILLISECOND:
            self._mark_tokens(host)
        self._running().compaction.start_if_needed()

    # --- what the engine records --------------------------------------------------------------------------------------

    def dispatched(
        self,
        topic: Topic,
        groups: Sequence[Group],
        stored: Sequence[StoredEvent],
        request: DispatchRequest,
        duplicates: Sequence[str],
        until_us: int,
    ) -> None:
        """A request has stored events, or is only remembered. Called before the events are put into the groups.

        Args:
            topic: their topic.
            groups: the groups that get the events.
            stored: the events, in order of ``seq``.
            request: the request that they arrived in.
            duplicates: the ids of events in the request that added nothing.
            until_us: until when the request is remembered, if it has an id.
        """
        now_us = stored[0].arrival.dispatched_us if stored else 0
        is_scheduled = any(event.state is EventState.SCHEDULED for event in stored)
        limits, keys = [event.arrival.max_retries for event in stored], [event.arrival.key for event in stored]
        answered = records.Answered()
        if request.request_id:
            ids = [event.id for event in request.events] if duplicates else ()
            answered = records.Answered(request.request_id, request.identity(), until_us, ids, duplicates)
        bodies = [event.body for event in stored]
        segment = self._append(
            records.Dispatched(
                topic.name,
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
            )
        )
        for event in stored:
            event.enters(segment)
        if is_scheduled:
            located = zip(stored, locations(segment.size, bodies), strict=True)
            far_off = [one for one in located if is_far_off(one[0], now_us, self._mark.ahead_us)]
            self._running().bodies.leave(segment, far_off)
        if stored:
            self._forget_saved_dispatches()
            self._dispatches.append((self._running().commit.position, stored[0].seq))

    def leased(self, group: Group, entries: Sequence[Entry], lease: Lease, expires_us: int) -> None:
        """Events are leased; ``lease`` is that of the first. Called before the entries are changed."""
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

    def changed(self, group: Group, entry: Entry) -> None:
        """An event of a group has changed. Its state is recorded once the step has finished with the group."""
        if self._open_group is not group or self._removed:
            self._append_open()
            self._open_group = group
        self._changed[entry.seq] = entry

    def removed(self, group: Group, entries: Sequence[Entry], until_us: int) -> None:
        """A group is done with these events. Ids that no other group holds are remembered until ``until_us``.

        Those with a key may make others leasable.
        """
        if self._open_group is not group or self._changed or self._removed_until_us != until_us:
            self._append_open()
            self._open_group, self._removed_until_us = group, until_us
        self._removed += [entry.seq for entry in entries]
        self._removed_keyed = self._removed_keyed or any(entry.event.arrival.key for entry in entries)

    def group_changed(self, group: Group, *, claims: bool = False) -> None:
        """A group is new or has new settings. A new one ``claims`` the unclaimed events, unless it is ephemeral."""
        self._append(records.GroupState.of(group, claims=claims))
        group.cause_end = self._running().commit.position

    def group_deleted(self, group: Group, until_us: int) -> None:
        """A group is gone."""
        self._append(records.GroupDeleted(group.topic, group.name, until_us))

    def topic_configured(self, topic: Topic) -> None:
        """A topic's settings have changed."""
        self._append(records.TopicState(topic.name, topic.changes))

    def topic_deleted(self, topic: Topic) -> None:
        """A topic is gone."""
        self._append(records.TopicDeleted(topic.name))

    # --- appending ----------------------------------------------------------------------------------------------------

    def _append_open(self) -> None:
        """Append the changes of one group."""
        group, changed, removed = self._open_group, self._changed, self._removed
        if group is None:
            return
        self._open_group, self._changed, self._removed = None, {}, []
        if removed:
            self._append_record(records.Removed(group.topic, group.name, self._removed_until_us, removed))
            if self._removed_keyed:
                self._removed_keyed = False
                group.cause_end = self._running().commit.position
            return
        states = [records.EntryState.of(entry) for entry in changed.values()]
        self._append_record(records.Changed(group.topic, group.name, states))
        if any(entry.lease is None for entry in changed.values()):
            group.cause_end = self._running().commit.position

    def _append(self, record: Record) -> Segment:
        self._append_open()
        return self._append_record(record)

    def _append_copy(self, record: Record) -> tuple[Segment, int]:
        """Append a copy from the oldest segment. Returns the segment that it is in now, and its size."""
        before = self._running().commit.position
        return self._append(record), self._running().commit.position - before

    def _append_record(self, record: Record) -> Segment:
        body = record.body()
        if not self._segments.has_room(HEADER_BYTES + len(body)):
            self._begin_segment()
        self._add(record.kind, body)
        return self._segments.current

    def _begin_segment(self) -> None:
        segment = self._segments.add()
        start = records.SegmentStart(segment.number, self._mark.token, self._mark.ahead_us)
        self._add(start.kind, start.body())
        self._running().compaction.start_if_needed()

    def _add(self, kind: int, body: bytes) -> None:
        size = HEADER_BYTES + len(body)
        self._segments.current.size += size
        self._running().commit.append(self._segments.current.number, kind, body, size)

    def _mark_tokens(self, host: HostTime) -> None:
        token = max(self._mark.token, host.now_us + TOKENS_AHEAD_US)
        self._append_mark(records.Mark(token, host.ahead_us))

    def _append_mark(self, mark: records.Mark) -> None:
        self._mark = mark
        self._append(mark)
        self._mark_end = self._running().commit.position

    def _running(self) -> _Running:
        if self._parts is None:
            raise DispatcherNotWorking("the journal is closed")
        return self._parts


def _on_disk(group: Group, leased: Sequence[LeasedEvent]) -> list[tuple[LeasedEvent, StoredEvent]]:
    """The leased events whose bodies are on the disk, each as it is stored."""
    pairs = [(one, group.entries[one.event_id].event) for one in leased if not one.body]
    return [pair for pair in pairs if pair[1].is_on_disk]
